//! The events of a roll-out, as a stream: progress, waves, tenants that failed, the end.
//!
//! Deliberately looks at the registry and not at the driver, which may run in another process.
//! Invariants: a listener that falls behind misses counts and never a failed tenant; a stream ends
//! with its roll-out, or with this process.

use std::collections::{HashSet, VecDeque};
use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::Sse;
use axum::response::sse::{Event, KeepAlive};
use contract::operator::rollout::{RolloutTally, RolloutView, TenantProgress};
use contract::{OperationId, TenantId};
use futures::{Stream, StreamExt as _, stream};
use kit::error::{Result, chain};
use kit::extract::Path;
use serde::Serialize;
use serde_json::json;
use utoipa_axum::router::OpenApiRouter;

use super::no_such;
use super::store::{self, TenantsFilter};
use crate::operators::{Operator, RolloutsRead};
use crate::platform::Platform;

/// How often the registry is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// Failed tenants that are told of at a look.
const FAILED_AT_ONCE: i64 = 100;

/// Follow a roll-out: server-sent events.
///
/// `progress` with the tally whenever it changes; `wave` when another one begins; `tenant` for each
/// tenant that failed; `end` with the roll-out when it is over. Comments keep the connection alive.
#[utoipa::path(
    get,
    path = "/v1/rollouts/{id}/events",
    operation_id = "rollouts.events",
    tag = "roll-outs",
    params(("id" = OperationId, Path, example = "op_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f")),
    responses((status = 200, description = "The events, until its end.", body = RolloutEvent, content_type = "text/event-stream"))
)]
pub(crate) async fn events(
    _operator: Operator<RolloutsRead>,
    State(platform): State<Platform>,
    Path(id): Path<OperationId>,
) -> Result<Sse<impl Stream<Item = std::result::Result<Event, Infallible>>>> {
    let rollout = {
        let mut registry = platform.registry.acquire().await?;
        store::find(&mut registry, id).await?.ok_or_else(no_such)?
    };
    let follower = Follower::new(platform, rollout);
    let events = stream::unfold(follower, |mut follower| async move {
        let event = follower.next().await?;
        Some((Ok(event.into()), follower))
    })
    .fuse();
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}

/// What an event is about.
#[derive(Debug, Clone, Copy, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
enum EventName {
    Progress,
    Wave,
    Tenant,
    End,
}

impl EventName {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Progress => "progress",
            Self::Wave => "wave",
            Self::Tenant => "tenant",
            Self::End => "end",
        }
    }
}

/// An event as the stream says it.
#[derive(Debug, utoipa::ToSchema)]
struct RolloutEvent {
    event: EventName,
    /// JSON. Of `progress`: `state`, `wave`, `tally` and `halted_reason`. Of `wave`: `wave`, from 0, and
    /// `of` how many. Of `tenant`: one of `GET /v1/rollouts/{id}/tenants`. Of `end`: the roll-out.
    #[schema(example = r#"{"wave":0,"of":3}"#)]
    data: String,
}

impl RolloutEvent {
    /// None for what cannot be said in JSON, which our types can.
    fn of(event: EventName, data: &impl Serialize) -> Option<Self> {
        let data = serde_json::to_string(data).ok()?;
        Some(Self { event, data })
    }
}

impl From<RolloutEvent> for Event {
    fn from(RolloutEvent { event, data }: RolloutEvent) -> Self {
        Self::default().event(event.as_str()).data(data)
    }
}

/// One listener.
struct Follower {
    platform: Platform,
    id: OperationId,
    /// As it was looked at last.
    rollout: RolloutView,
    told: Told,
    waiting: VecDeque<RolloutEvent>,
    failed: HashSet<TenantId>,
}

/// What the listener knows.
#[derive(PartialEq)]
enum Told {
    Nothing,
    Standing(u32, RolloutTally, &'static str),
    End,
}

impl Follower {
    fn new(platform: Platform, rollout: RolloutView) -> Self {
        Self {
            id: rollout.id,
            platform,
            rollout,
            told: Told::Nothing,
            waiting: VecDeque::new(),
            failed: HashSet::new(),
        }
    }

    /// The next event; none after the end.
    async fn next(&mut self) -> Option<RolloutEvent> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Some(event);
            }
            if self.told == Told::End {
                return None;
            }
            if self.told != Told::Nothing {
                let stopping = self.platform.stopping.cancelled();
                if tokio::time::timeout(LOOK, stopping).await.is_ok() {
                    return None;
                }
            }
            if let Err(error) = self.look().await {
                tracing::warn!(rollout = %self.id, cause = chain(&error), "a roll-out cannot be followed");
                return None;
            }
        }
    }

    async fn look(&mut self) -> Result<(), sqlx::Error> {
        let mut registry = self.platform.registry.acquire().await?;
        let Some(rollout) = store::find(&mut registry, self.id).await? else {
            self.told = Told::End;
            return Ok(());
        };
        let known = usize::try_from(rollout.tally.failed).unwrap_or(usize::MAX);
        if known > 0 {
            self.tell_failed(&mut registry).await?;
        }
        drop(registry);
        self.rollout = rollout;
        self.tell();
        Ok(())
    }

    async fn tell_failed(&mut self, registry: &mut sqlx::PgConnection) -> Result<(), sqlx::Error> {
        let mut filter = TenantsFilter {
            state: Some(TenantProgress::Failed),
            wave: None,
            after: None,
        };
        loop {
            let page = store::tenants(registry, self.id, &filter, FAILED_AT_ONCE).await?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            filter.after = Some(last.tenant.clone());
            for tenant in page {
                if self.failed.insert(tenant.tenant.clone()) {
                    self.waiting
                        .extend(RolloutEvent::of(EventName::Tenant, &tenant));
                }
            }
        }
    }

    fn tell(&mut self) {
        let rollout = &self.rollout;
        let now = Told::Standing(rollout.current_wave, rollout.tally, rollout.state.as_str());
        if now != self.told {
            let before = match self.told {
                Told::Standing(wave, ..) => Some(wave),
                Told::Nothing | Told::End => None,
            };
            if before != Some(rollout.current_wave) {
                let wave = json!({ "wave": rollout.current_wave, "of": rollout.waves.len() + 1 });
                self.waiting
                    .extend(RolloutEvent::of(EventName::Wave, &wave));
            }
            let progress = json!({
                "state": rollout.state, "wave": rollout.current_wave, "tally": rollout.tally,
                "halted_reason": rollout.halted_reason,
            });
            self.waiting
                .extend(RolloutEvent::of(EventName::Progress, &progress));
            self.told = now;
        }
        if rollout.state.is_over() && rollout.finished_at.is_some() {
            self.waiting
                .extend(RolloutEvent::of(EventName::End, rollout));
            self.told = Told::End;
        }
    }
}

pub(crate) fn router() -> OpenApiRouter<Platform> {
    kit::operations!(events)
}
