//! New passwords for the roles of many tenants: a rotation of each, some at once.
//!
//! Deliberately sets no password itself: each rotation is an operation of its own, and one that fails stops
//! no other. Invariant: the rotations themselves say which tenants have had their turn, so a run that
//! breaks off goes on with the rest; a tenant that a stuck operation holds, or that is not served, is left
//! out, named and counted.

use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::State;
use axum::response::Response;
use contract::operator::fleet::Selection;
use contract::operator::operation::OperationView;
use contract::operator::upkeep::NewRotation;
use contract::{OperationId, TenantId, TenantStatus};
use kit::error::{Problem, Result};
use kit::extract::{Json, Query};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::PgConnection;
use utoipa_axum::router::OpenApiRouter;

use super::begin::{Begin, Planned, Started, WaitQuery, begin, spawn};
use super::saga::{Cancel, Progress, Saga, Traits};
use super::{Head, Step, Stop, Subject, children, rotate, store};
use crate::audit::Actor;
use crate::keys::store::{Turn, turns};
use crate::operators::{Operator, TenantsWrite};
use crate::platform::Platform;
use crate::tenants;
use crate::tenants::idempotency::MaybeIdempotencyKey;

/// Rotations at once where nobody says otherwise.
const AT_ONCE: u32 = 4;
const MOST_AT_ONCE: u32 = 16;
/// Tenants that one look is about.
const WINDOW: i64 = 100;
/// Tenants that a result names.
const NAMED: usize = 100;

/// Whose passwords, and how far it is.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RotateFleetPlan {
    selection: Selection,
    at_once: u32,
    /// Tenants that were selected at the start.
    total: u64,
    /// Up to this one every tenant has had its turn: a hint that spares looks.
    #[serde(default)]
    after: Option<TenantId>,
    #[serde(default)]
    rotated: u64,
    #[serde(default)]
    failed: u64,
    /// Tenants that were left out because a stuck operation holds them, or because they are not served.
    #[serde(default)]
    left_out: Vec<TenantId>,
}

impl Saga for RotateFleetPlan {
    const STEPS: &'static [Step] = &[Step::Rotate];

    fn point_of_no_return(&self) -> Step {
        Step::Rotate
    }

    fn traits(&self) -> Traits {
        Traits {
            cancel: Cancel::Heeded,
            ..Traits::FLEET
        }
    }

    async fn act(&mut self, platform: &Platform, head: &Head) -> Result<(), Stop> {
        let tally = store::tally(&mut *platform.registry.acquire().await?, head.id).await?;
        (self.rotated, self.failed) = (tally.done, tally.failed);
        let looked: Arc<Mutex<Looked>> = Arc::default();
        let turns = Turns {
            platform: platform.clone(),
            parent: head.id,
            selection: self.selection.clone(),
            after: self.after.clone(),
            looked: Arc::clone(&looked),
        };
        let at_once = u64::from(self.at_once);
        let ended = children::advance(platform, head, at_once, move |connection, room| {
            Box::pin(turns.begin(connection, room))
        })
        .await;
        let looked = std::mem::take(&mut *looked.lock().unwrap_or_else(PoisonError::into_inner));
        self.after = looked.after.or(self.after.take());
        for tenant in looked.left_out {
            if !self.left_out.contains(&tenant) {
                self.left_out.push(tenant);
            }
        }
        let tally = ended?;
        (self.rotated, self.failed) = (tally.done, tally.failed);
        Ok(())
    }

    // Each rotation stands for itself.
    async fn undo(&mut self, _platform: &Platform, _head: &Head) -> Result<(), Stop> {
        Ok(())
    }

    fn result(&self) -> Option<Value> {
        let named: Vec<_> = self.left_out.iter().take(NAMED).collect();
        Some(json!({
            "tenants": self.total,
            "rotated": self.rotated,
            "failed": self.failed,
            "left_out": named,
            "left_out_count": self.left_out.len(),
        }))
    }

    fn progress(&self) -> Option<Progress> {
        Some(Progress {
            done: self.rotated + self.failed,
            total: self.total,
            unit: "tenants".to_owned(),
            note: None,
        })
    }
}

/// What one look found.
#[derive(Debug, Default)]
struct Looked {
    after: Option<TenantId>,
    left_out: Vec<TenantId>,
}

/// Rotations that can begin.
struct Turns {
    platform: Platform,
    parent: OperationId,
    selection: Selection,
    after: Option<TenantId>,
    looked: Arc<Mutex<Looked>>,
}

impl Turns {
    /// Begins up to `room` rotations; gives how many tenants of the window still want one.
    async fn begin(mut self, connection: &mut PgConnection, room: u64) -> Result<u64, Stop> {
        loop {
            let after = self.after.as_ref();
            let page = tenants::store::select_ids(&mut *connection, &self.selection, after, WINDOW)
                .await?;
            let Some(last) = page.last().cloned() else {
                return Ok(0);
            };
            let taken = turns(&mut *connection, self.parent, &page).await?;
            let (mut wanting, mut begun) = (0, 0);
            for tenant in page {
                match taken.get(&tenant).copied().unwrap_or(Turn::Free) {
                    Turn::Had => {}
                    Turn::Barred => self.leave_out(tenant),
                    Turn::Busy => wanting += 1,
                    Turn::Free if begun == room => wanting += 1,
                    Turn::Free => {
                        wanting += 1;
                        begun += u64::from(self.rotate(&mut *connection, tenant).await?);
                    }
                }
            }
            if wanting > 0 {
                return Ok(wanting);
            }
            self.note(|looked| looked.after = Some(last.clone()));
            self.after = Some(last);
        }
    }

    /// Whether it began.
    async fn rotate(&self, connection: &mut PgConnection, tenant: TenantId) -> Result<bool, Stop> {
        let row = tenants::store::find_for_update(&mut *connection, &tenant).await?;
        let served = row.is_some_and(|row| {
            matches!(row.status, TenantStatus::Active | TenantStatus::Suspended)
        });
        if !served {
            self.leave_out(tenant);
            return Ok(false);
        }
        let plan = rotate::plan(&self.platform, &mut *connection, &tenant).await?;
        let (actor, subject) = (Actor::Platform, Subject::Tenant(tenant));
        let started = spawn(connection, actor, Some(self.parent), subject, plan.into()).await?;
        Ok(matches!(started, Started::New(_)))
    }

    fn leave_out(&self, tenant: TenantId) {
        self.note(|looked| looked.left_out.push(tenant));
    }

    fn note(&self, change: impl FnOnce(&mut Looked)) {
        change(&mut self.looked.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Replace the passwords of many tenants' roles.
///
/// Each tenant's is an operation of its own, as `POST /v1/tenants/{id}/rotate` begins one; some run at
/// once. No request fails. A tenant whose rotation fails keeps its password and is counted as `failed` in the
/// result; so does one that a stuck operation holds, or that is not served any more: `left_out_count` says
/// how many, and `left_out` names up to 100.
#[utoipa::path(
    post,
    path = "/v1/keys/credentials/rotate",
    operation_id = "keys.rotate_credentials",
    tag = "upkeep",
    params(WaitQuery),
    request_body = NewRotation,
    responses(
        (status = 200, description = "Every tenant has had its turn.", body = OperationView),
        (status = 202, description = "It is under way.", body = OperationView,
            headers(("location" = String), ("retry-after" = u32))),
    )
)]
pub(crate) async fn rotate_credentials(
    operator: Operator<TenantsWrite>,
    State(platform): State<Platform>,
    key: MaybeIdempotencyKey,
    Query(query): Query<WaitQuery>,
    Json(new): Json<NewRotation>,
) -> Result<Response> {
    let at_once = new.at_once.unwrap_or(AT_ONCE);
    if !(1..=MOST_AT_ONCE).contains(&at_once) {
        return Err(Problem::field(
            "/at_once",
            format!("is 1 to {MOST_AT_ONCE}"),
        ));
    }
    let selection = new.filter;
    if !selection.is_of_living() {
        let rule = "is active or suspended: others have no password in use";
        return Err(Problem::field("/filter/status", rule));
    }
    let asked = Begin {
        actor: operator.actor(),
        key,
        request: json!({ "rotate": selection, "at_once": at_once }),
        wait: query.wait,
    };
    begin(&platform, asked, move |connection, _| {
        Box::pin(async move {
            tenants::named::selection(connection, &selection).await?;
            let selected = tenants::store::select_all(connection, &selection).await?;
            let total = selected.len() as u64;
            let detail = json!({ "tenants": total });
            let plan = RotateFleetPlan {
                selection,
                at_once,
                total,
                after: None,
                rotated: 0,
                failed: 0,
                left_out: Vec::new(),
            };
            Ok(Planned {
                subject: Subject::Fleet,
                plan: plan.into(),
                detail,
            })
        })
    })
    .await
}

pub(crate) fn router() -> OpenApiRouter<Platform> {
    kit::operations!(rotate_credentials)
}
