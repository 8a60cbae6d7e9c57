//! Steering an operation by hand: trying a stuck one again after somebody looked, and cancelling one.
//!
//! Deliberately tries nothing again but what is stuck: everything else goes on by itself. Invariants: it
//! goes on where it stopped, with the step or the undo that failed; what is past its point of no return is
//! not cancelled.

use axum::extract::State;
use contract::{Code, OperationId};
use http::StatusCode;
use kit::error::{Problem, Result};
use kit::extract::Path;
use utoipa_axum::router::OpenApiRouter;

use super::store;
use crate::audit::{self, Action};
use crate::operators::{OperationsWrite, Operator};
use crate::platform::Platform;

/// Try a stuck operation again.
///
/// It goes on with the step or the undo that failed; read the operation to see how far it comes.
#[utoipa::path(
    post,
    path = "/v1/operations/{id}/retry",
    operation_id = "operations.retry",
    tag = "operations",
    params(("id" = OperationId, Path, example = "op_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f")),
    responses((status = 202, description = "It goes on."))
)]
pub(crate) async fn retry(
    operator: Operator<OperationsWrite>,
    State(platform): State<Platform>,
    Path(id): Path<OperationId>,
) -> Result<StatusCode> {
    let mut transaction = platform.registry.begin().await?;
    let row = store::find(&mut transaction, id)
        .await?
        .ok_or_else(|| Problem::new(Code::NotFound))?;
    if store::resume(&mut transaction, id).await? == store::Resumed::NotStuck {
        let detail = format!(
            "Only a stuck operation is tried again; this one is {}.",
            row.state.as_str()
        );
        return Err(Problem::new(Code::Conflict).detail(detail));
    }
    let detail = serde_json::json!({ "operation": id });
    let tenant = row.subject.tenant();
    audit::record(
        &mut transaction,
        operator.actor(),
        Action::OperationRetried,
        tenant,
        detail,
    )
    .await?;
    transaction.commit().await?;
    platform.runner.nudge();
    Ok(StatusCode::ACCEPTED)
}

/// Cancel an operation.
///
/// It undoes what it did, or comes to an early end; read it to see how far that is. One that is past its
/// point of no return is refused with `not-cancellable`.
#[utoipa::path(
    post,
    path = "/v1/operations/{id}/cancel",
    operation_id = "operations.cancel",
    tag = "operations",
    params(("id" = OperationId, Path, example = "op_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f")),
    responses((status = 202, description = "It is told."))
)]
pub(crate) async fn cancel(
    operator: Operator<OperationsWrite>,
    State(platform): State<Platform>,
    Path(id): Path<OperationId>,
) -> Result<StatusCode> {
    let mut transaction = platform.registry.begin().await?;
    let found = store::find_for_cancel(&mut transaction, id)
        .await?
        .ok_or_else(|| Problem::new(Code::NotFound))?;
    let may = found
        .way
        .is_some_and(|way| way.may_be_cancelled(found.state, found.step));
    if !may {
        let detail = format!(
            "The operation is {} at the step {:?}.",
            found.state.as_str(),
            found.step.as_str()
        );
        return Err(Problem::new(Code::NotCancellable).detail(detail));
    }
    store::request_cancel(&mut transaction, id).await?;
    let detail = serde_json::json!({ "operation": id, "kind": found.kind.as_str() });
    audit::record(
        &mut transaction,
        operator.actor(),
        Action::OperationCancelled,
        found.subject.tenant(),
        detail,
    )
    .await?;
    transaction.commit().await?;
    platform.runner.nudge();
    Ok(StatusCode::ACCEPTED)
}

pub(crate) fn router() -> OpenApiRouter<Platform> {
    kit::operations!(retry, cancel)
}
