//! Steering a roll-out: pause, resume, abort, another turn for those that failed.
//!
//! Deliberately writes what is wanted and waits for nothing but, a little, for the end of what is aborted:
//! the driver sees it before its next turns.
//! Invariant: a change of state commits with its audit row.

use std::time::{Duration, Instant};

use axum::extract::State;
use contract::operator::rollout::{RolloutState, RolloutView};
use contract::{Code, OperationId};
use kit::db::OnConstraint;
use kit::error::{Problem, Result};
use kit::extract::{Json, Path};
use serde_json::json;
use sqlx::PgConnection;
use utoipa_axum::router::OpenApiRouter;

use super::{begun_meanwhile, no_such, refuse_second, store};
use crate::audit::{self, Action, Actor};
use crate::operations::begin::{Started, spawn};
use crate::operations::rollout::{RolloutPlan, Start};
use crate::operations::{self, Subject};
use crate::operators::{Operator, RolloutsWrite};
use crate::platform::Platform;

/// The longest wait of an abort for the roll-out's operation to be over, and how often it is looked at.
const ABORT_WAIT: Duration = Duration::from_secs(5);
const ABORT_LOOK: Duration = Duration::from_millis(25);

/// What an operator wants of a roll-out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Pause,
    Resume,
    Abort,
    RetryFailed,
}

impl Order {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Abort => "abort",
            Self::RetryFailed => "retry-failed",
        }
    }

    /// Where a roll-out that stands there stands after it; `None` where that makes no sense.
    const fn leads_to(self, from: RolloutState) -> Option<RolloutState> {
        use RolloutState::{Aborted, Done, Halted, Paused, Running};
        match (self, from) {
            (Self::Pause, Running | Paused | Halted) => Some(Paused),
            (Self::Resume | Self::RetryFailed, Running | Paused | Halted)
            | (Self::RetryFailed, Done) => Some(Running),
            (Self::Abort, Running | Paused | Halted | Aborted) => Some(Aborted),
            (Self::Pause | Self::Resume, Done | Aborted)
            | (Self::Abort, Done)
            | (Self::RetryFailed, Aborted) => None,
        }
    }
}

async fn steer(
    platform: &Platform,
    actor: Actor,
    id: OperationId,
    order: Order,
) -> Result<Json<RolloutView>> {
    let mut transaction = platform.registry.begin().await?;
    let from = store::lock(&mut transaction, id)
        .await?
        .ok_or_else(no_such)?;
    let to = order.leads_to(from).ok_or_else(|| {
        Problem::new(Code::Conflict).detail(format!("The roll-out is {}.", from.as_str()))
    })?;
    if order == Order::RetryFailed {
        let again = store::retry_failed(&mut transaction, id).await?;
        if again == 0 && from.is_over() {
            return Err(Problem::new(Code::Conflict).detail("No tenant of it failed."));
        }
    }
    let goes_on = from.is_over() && !to.is_over();
    if goes_on {
        refuse_second(&mut transaction).await?;
    }
    store::set_state(&mut transaction, id, to)
        .await
        .on_constraint("rollout_live_key", begun_meanwhile)?;
    if goes_on {
        go_on(&mut transaction, actor, id).await?;
    }
    let detail = json!({ "rollout": id, "order": order.as_str() });
    audit::record(
        &mut transaction,
        actor,
        Action::RolloutSteered,
        None,
        detail,
    )
    .await?;
    let view = store::find(&mut transaction, id)
        .await?
        .ok_or_else(no_such)?;
    transaction.commit().await?;
    platform.runner.nudge();
    if order == Order::Abort {
        // So that another one can be started right after the answer.
        over(platform, view.operation).await?;
    }
    Ok(Json(view))
}

/// Waits a little for an operation to be over. Migrations that run come to their end, which may take
/// longer than anybody waits for an answer.
async fn over(platform: &Platform, operation: OperationId) -> Result<()> {
    let began = Instant::now();
    while began.elapsed() < ABORT_WAIT {
        let found = {
            let mut registry = platform.registry.acquire().await?;
            operations::store::find(&mut registry, operation).await?
        };
        if found.is_none_or(|row| row.state.is_over()) {
            return Ok(());
        }
        tokio::time::sleep(ABORT_LOOK).await;
    }
    Ok(())
}

/// Begins an operation that goes on with a roll-out that was over.
async fn go_on(connection: &mut PgConnection, actor: Actor, id: OperationId) -> Result<()> {
    let plan = RolloutPlan::new(id, Start::Again);
    match spawn(connection, actor, None, Subject::Fleet, plan.into()).await? {
        Started::New(operation) => Ok(store::set_operation(connection, id, operation).await?),
        Started::Busy => Err(begun_meanwhile()),
    }
}

/// Pause a roll-out: the tenants whose turn it is come to their end, and no others begin.
///
/// Quick migrations of up to 16 tenants have their turn together: of these, no further one begins after half
/// a second (`migrations.call_budget` of app-service).
#[utoipa::path(
    post,
    path = "/v1/rollouts/{id}/pause",
    operation_id = "rollouts.pause",
    tag = "roll-outs",
    params(("id" = OperationId, Path, example = "op_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f")),
    responses((status = 200, description = "The roll-out.", body = RolloutView))
)]
pub(crate) async fn pause(
    operator: Operator<RolloutsWrite>,
    State(platform): State<Platform>,
    Path(id): Path<OperationId>,
) -> Result<Json<RolloutView>> {
    steer(&platform, operator.actor(), id, Order::Pause).await
}

/// Resume a roll-out that is paused or has halted.
///
/// The failures so far do not halt it again; the tenants that failed stay as they are.
#[utoipa::path(
    post,
    path = "/v1/rollouts/{id}/resume",
    operation_id = "rollouts.resume",
    tag = "roll-outs",
    params(("id" = OperationId, Path, example = "op_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f")),
    responses((status = 200, description = "The roll-out.", body = RolloutView))
)]
pub(crate) async fn resume(
    operator: Operator<RolloutsWrite>,
    State(platform): State<Platform>,
    Path(id): Path<OperationId>,
) -> Result<Json<RolloutView>> {
    steer(&platform, operator.actor(), id, Order::Resume).await
}

/// Abort a roll-out: what was migrated stays, and no further tenant has its turn.
///
/// Those whose turn it is come to their end, as for a pause: of up to 16 tenants that have their turn together, no
/// further one begins after half a second (`migrations.call_budget` of app-service).
#[utoipa::path(
    post,
    path = "/v1/rollouts/{id}/abort",
    operation_id = "rollouts.abort",
    tag = "roll-outs",
    params(("id" = OperationId, Path, example = "op_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f")),
    responses((status = 200, description = "The roll-out.", body = RolloutView))
)]
pub(crate) async fn abort(
    operator: Operator<RolloutsWrite>,
    State(platform): State<Platform>,
    Path(id): Path<OperationId>,
) -> Result<Json<RolloutView>> {
    steer(&platform, operator.actor(), id, Order::Abort).await
}

/// Give the tenants that failed another turn; a roll-out that is paused, halted or done goes on.
#[utoipa::path(
    post,
    path = "/v1/rollouts/{id}/retry-failed",
    operation_id = "rollouts.retry_failed",
    tag = "roll-outs",
    params(("id" = OperationId, Path, example = "op_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f")),
    responses((status = 200, description = "The roll-out.", body = RolloutView))
)]
pub(crate) async fn retry_failed(
    operator: Operator<RolloutsWrite>,
    State(platform): State<Platform>,
    Path(id): Path<OperationId>,
) -> Result<Json<RolloutView>> {
    steer(&platform, operator.actor(), id, Order::RetryFailed).await
}

pub(crate) fn router() -> OpenApiRouter<Platform> {
    kit::operations!(pause, resume, abort, retry_failed)
}
