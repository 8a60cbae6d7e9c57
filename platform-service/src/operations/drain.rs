//! Emptying a cluster: it gets no new tenants, and those that it has are moved to others, some at once.
//!
//! Deliberately moves nothing itself: each move is an operation of its own. Invariants: a tenant that
//! cannot go, or whose move fails, stays where it is and does not stop the others; the drain ends when
//! every tenant has left or has twice been found unable to, and says which stayed and why, and which
//! databases are left that no tenant is served from.

mod preview;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use contract::operator::cluster::{Drained, MoveVariant, NewDrain};
use contract::operator::operation::OperationView;
use contract::{ClusterName, Code, OperationId, TenantId};
use kit::error::{Problem, Result};
use kit::extract::{Json, Path, Query};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::PgConnection;
use utoipa_axum::router::OpenApiRouter;

use super::begin::{Begin, Planned, Started, TryQuery, begin, spawn};
use super::move_tenant::{Measured, Wanted, plan_move};
use super::saga::{Cancel, Head, Progress, Saga, Traits, Wish};
use super::{Step, Stop, Subject, children};
use crate::audit::Actor;
use crate::clusters::postgres::{self, Name};
use crate::clusters::store as clusters;
use crate::clusters::store::moves::{self, KeptDatabase, Leaver, LeaverState};
use crate::operators::{ClustersWrite, Operator};
use crate::platform::Platform;
use crate::tenants::idempotency::MaybeIdempotencyKey;
use crate::tools;

/// Moves at once where nobody says otherwise.
const AT_ONCE: u32 = 4;
/// The most moves at once.
const MOST_AT_ONCE: u32 = 16;
/// Tenants, and databases, that a result names.
const NAMED: usize = 100;
/// Tenants that are looked at together once some could not go.
const LOOKED_AT: usize = 64;
const CANCELLED: &str = "It was cancelled: moves that had begun went on, and no more were begun.";

/// What a drain needs for its steps.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct DrainPlan {
    at_once: u32,
    variant: Option<MoveVariant>,
    /// Tenants that were there at the start.
    #[serde(default)]
    total: u64,
    /// Tenants that are still there.
    #[serde(default)]
    left: u64,
    /// Of those, the ones that no other cluster takes, by the reason.
    #[serde(default)]
    refused: BTreeMap<String, BTreeSet<TenantId>>,
    /// Some of those that are still there, with the reason.
    #[serde(default)]
    staying: Vec<Staying>,
    /// Whether those that no other cluster took were tried once more.
    #[serde(default)]
    again: Again,
    /// Databases that are there from which no tenant is served.
    #[serde(default)]
    kept: u64,
    /// Some of them.
    #[serde(default)]
    kept_databases: Vec<KeptDatabase>,
    #[serde(default)]
    note: Option<String>,
}

/// Whether tenants that no other cluster took were tried once more, when the others had left: there may
/// be room by then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Again {
    #[default]
    ToCome,
    Tried,
}

/// A tenant that is still there.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Staying {
    tenant: TenantId,
    reason: String,
}

impl Saga for DrainPlan {
    const STEPS: &'static [Step] = &[Step::Mark, Step::Moves];

    fn point_of_no_return(&self) -> Step {
        Step::Mark
    }

    fn traits(&self) -> Traits {
        Traits {
            cancel: Cancel::Heeded,
            ..Traits::FLEET
        }
    }

    fn concerns_keepers(&self) -> bool {
        false
    }

    async fn act(&mut self, platform: &Platform, head: &Head) -> Result<(), Stop> {
        match head.step {
            Step::Moves => self.move_some(platform, head).await,
            Step::Mark => Ok(()),
            other => Err(other.unexpected()),
        }
    }

    async fn record(
        &self,
        connection: &mut PgConnection,
        head: &Head,
        step: Step,
    ) -> Result<(), Stop> {
        if step == Step::Mark {
            moves::mark_draining(connection, head.cluster()?).await?;
        }
        Ok(())
    }

    async fn undo(&mut self, _platform: &Platform, _head: &Head) -> Result<(), Stop> {
        Ok(())
    }

    fn result(&self) -> Option<Value> {
        Some(json!({
            "tenants": self.total,
            "moved": self.total.saturating_sub(self.left),
            "left": self.left,
            "remaining": self.staying,
            "kept": self.kept,
            "kept_databases": self.kept_databases,
            "note": self.note,
        }))
    }

    fn progress(&self) -> Option<Progress> {
        Some(Progress {
            done: self.total.saturating_sub(self.left),
            total: self.total,
            unit: "tenants".to_owned(),
            note: self.note.clone(),
        })
    }
}

impl DrainPlan {
    /// Begins as many moves as there is room for, and waits for them.
    async fn move_some(&mut self, platform: &Platform, head: &Head) -> Result<(), Stop> {
        let cluster = head.cluster()?;
        let leavers = {
            let mut registry = platform.registry.acquire().await?;
            moves::leavers(&mut registry, cluster, head.id).await?
        };
        self.left = leavers.len() as u64;
        self.total = self.total.max(self.left);
        let busy = leavers.iter().filter(|l| l.state == LeaverState::Busy);
        let busy = busy.count() as u64;
        let free: Vec<&TenantId> = leavers
            .iter()
            .filter(|leaver| leaver.state == LeaverState::Free)
            .map(|leaver| &leaver.tenant)
            .filter(|tenant| self.refusal_of(tenant).is_none())
            .collect();
        let now = match head.wish {
            Wish::GoOn => free.len().min(self.looked_at_once()),
            Wish::End => 0,
        };
        let refused: Refused = Arc::default();
        let batch = Batch {
            platform: platform.clone(),
            drain: head.id,
            variant: self.variant,
            ready: measured(platform, cluster, &free[..now], &refused).await?,
            refused: Arc::clone(&refused),
        };
        let waiting = busy + (free.len() - now) as u64;
        let at_once = u64::from(self.at_once);
        let looked = children::advance(platform, head, at_once, move |connection, room| {
            Box::pin(async move { Ok(batch.begin(connection, room).await? + waiting) })
        })
        .await;
        let refused = std::mem::take(&mut *refused.lock().unwrap_or_else(PoisonError::into_inner));
        for (tenant, reason) in refused {
            self.note = Some(reason.clone());
            self.refused.entry(reason).or_default().insert(tenant);
        }
        if head.wish == Wish::End {
            self.note = Some(CANCELLED.to_owned());
        }
        self.staying = self.reasons(leavers);
        looked?;
        if head.wish == Wish::GoOn && self.again == Again::ToCome && !self.refused.is_empty() {
            self.again = Again::Tried;
            self.refused.clear();
            self.note = None;
            return Err(Stop::Later {
                wait: Duration::ZERO,
                reason: "Those that no other cluster took are tried once more.".into(),
            });
        }
        let mut registry = platform.registry.acquire().await?;
        let most = i64::try_from(NAMED).unwrap_or(i64::MAX);
        (self.kept, self.kept_databases) =
            moves::kept_databases(&mut registry, cluster, most).await?;
        Ok(())
    }

    /// How many tenants are looked at together: where some cannot go, whether others can is found
    /// out soon.
    fn looked_at_once(&self) -> usize {
        let at_once = usize::try_from(self.at_once).unwrap_or(1);
        if self.refused.is_empty() {
            at_once
        } else {
            at_once.max(LOOKED_AT)
        }
    }

    /// Why no other cluster takes a tenant, where that was found.
    fn refusal_of(&self, tenant: &TenantId) -> Option<&str> {
        let mut refused = self.refused.iter();
        let (reason, _) = refused.find(|(_, tenants)| tenants.contains(tenant))?;
        Some(reason)
    }

    /// Why tenants are still there; as many as a result names, those that were found to stay first.
    fn reasons(&self, leavers: Vec<Leaver>) -> Vec<Staying> {
        let (mut known, mut others) = (Vec::new(), Vec::new());
        for Leaver { tenant, state } in leavers {
            let refusal = self.refusal_of(&tenant).map(str::to_owned);
            match (state, refusal) {
                (LeaverState::Failed(reason), _) | (LeaverState::Free, Some(reason)) => {
                    known.push(Staying { tenant, reason });
                }
                (LeaverState::Free, None) => others.push(Staying {
                    tenant,
                    reason: "Its move was not begun.".to_owned(),
                }),
                (LeaverState::Busy, _) => others.push(Staying {
                    tenant,
                    reason: "Something else is being done to it.".to_owned(),
                }),
            }
        }
        known.append(&mut others);
        known.truncate(NAMED);
        known
    }
}

/// Tenants that cannot go, and why.
type Refused = Arc<Mutex<Vec<(TenantId, String)>>>;

/// A refusal in words.
fn reason(problem: &Problem) -> String {
    let document = problem.document(None);
    document.detail.unwrap_or(document.title)
}

fn refuse(refused: &Refused, tenant: &TenantId, problem: &Problem) {
    let reason = reason(problem);
    let mut refused = refused.lock().unwrap_or_else(PoisonError::into_inner);
    refused.push((tenant.clone(), reason));
}

/// Looks at the tenants that may go next.
async fn measured(
    platform: &Platform,
    cluster: &ClusterName,
    tenants: &[&TenantId],
    refused: &Refused,
) -> Result<Vec<(TenantId, Measured)>, Stop> {
    if tenants.is_empty() {
        return Ok(Vec::new());
    }
    let names: Vec<Name> = tenants
        .iter()
        .map(|&tenant| Name::Tenant(tenant.clone()))
        .collect();
    let server = platform.server(cluster).await?;
    let sizes = postgres::moving::sizes_of(&mut *server.acquire().await?, &names).await?;
    let tools = tools::find(&platform.settings.tools).await;
    let mut ready = Vec::new();
    for (&tenant, size) in tenants.iter().zip(sizes) {
        let Some(bytes) = size else {
            let detail = format!("The cluster {cluster} has no database {tenant}.");
            let gone = Problem::new(Code::TenantUnavailable).detail(detail);
            tracing::warn!(tenant.id = %tenant, "a tenant that is to leave has no database");
            refuse(refused, tenant, &gone);
            continue;
        };
        let tools = tools.clone();
        ready.push((tenant.clone(), Measured { bytes, tools }));
    }
    Ok(ready)
}

/// Moves that can begin.
struct Batch {
    platform: Platform,
    drain: OperationId,
    variant: Option<MoveVariant>,
    ready: Vec<(TenantId, Measured)>,
    refused: Refused,
}

impl Batch {
    /// Begins up to `room` moves; gives how many it began or would still have to begin.
    async fn begin(self, connection: &mut PgConnection, room: u64) -> Result<u64, Stop> {
        let (mut begun, mut waiting) = (0, 0);
        for (tenant, measured) in self.ready {
            if begun == room {
                waiting += 1;
                continue;
            }
            let wanted = Wanted {
                tenant: tenant.clone(),
                to: None,
                variant: self.variant,
            };
            let planned = plan_move(&self.platform, &mut *connection, &wanted, &measured).await;
            let plan = match planned {
                Ok(plan) => plan,
                Err(problem) if problem.code() == Code::Internal => return Err(problem.into()),
                Err(problem) if problem.code().is_retryable() => return Err(problem.into()),
                Err(problem) => {
                    refuse(&self.refused, &tenant, &problem);
                    continue;
                }
            };
            let subject = Subject::Tenant(tenant.clone());
            let parent = Some(self.drain);
            let moving = plan.clone().into();
            match spawn(&mut *connection, Actor::Platform, parent, subject, moving).await? {
                Started::New(id) => {
                    plan.expect_target(&mut *connection, &tenant, id).await?;
                    begun += 1;
                }
                Started::Busy => waiting += 1,
            }
        }
        Ok(begun + waiting)
    }
}

/// Empty a cluster: move all its tenants to others of their region.
///
/// It gets nothing new from now on. Its operation counts the tenants that have left; a tenant that
/// cannot be moved, because no other cluster takes it or because its move failed, stays where it is,
/// and the result names it with the reason (`remaining`). What no tenant is served from stays for its
/// time: databases of deleted tenants, which can be restored there, and copies that moves and restores
/// left; the result counts them (`kept`) and names them (`kept_databases`). Cancelled, it begins no more moves and ends
/// when those that run are over. A dry run says who would go where and who would stay. Give the cluster another status to use it again.
#[utoipa::path(
    post,
    path = "/v1/clusters/{name}/drain",
    operation_id = "clusters.drain",
    tag = "clusters",
    params(("name" = ClusterName, Path, example = "main"), TryQuery),
    request_body = NewDrain,
    responses(
        (status = 200, description = "No tenant is served from it, or who is left is named; what is kept there is, too. Or what would happen, for a dry run.", body = Drained),
        (
            status = 202,
            description = "It is being emptied.",
            body = OperationView,
            headers(("location" = String), ("retry-after" = u32))
        ),
    )
)]
pub(crate) async fn drain(
    operator: Operator<ClustersWrite>,
    State(platform): State<Platform>,
    Path(cluster): Path<ClusterName>,
    Query(query): Query<TryQuery>,
    key: MaybeIdempotencyKey,
    Json(new): Json<NewDrain>,
) -> Result<Response> {
    let at_once = new.at_once.unwrap_or(AT_ONCE);
    if !(1..=MOST_AT_ONCE).contains(&at_once) {
        return Err(Problem::field("/at_once", "is 1 to 16"));
    }
    if query.dry_run {
        let preview = preview::of(&platform, &cluster, new.variant).await?;
        return Ok(Json(preview).into_response());
    }
    let begun = Begin {
        actor: operator.actor(),
        key,
        request: json!({ "drain": cluster, "request": new }),
        wait: query.wait,
    };
    begin(&platform, begun, move |connection, _| {
        Box::pin(async move {
            let row = clusters::find_for_update(connection, &cluster).await?;
            row.ok_or_else(|| Problem::new(Code::NotFound))?;
            let plan = DrainPlan {
                at_once,
                variant: new.variant,
                total: 0,
                left: 0,
                refused: BTreeMap::new(),
                staying: Vec::new(),
                again: Again::ToCome,
                kept: 0,
                kept_databases: Vec::new(),
                note: None,
            };
            Ok(Planned {
                detail: json!({ "at_once": at_once, "variant": new.variant }),
                subject: Subject::Cluster(cluster),
                plan: plan.into(),
            })
        })
    })
    .await
}

pub(crate) fn router() -> OpenApiRouter<Platform> {
    kit::operations!(drain)
}
