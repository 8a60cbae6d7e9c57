//! Operators delete a backup or an export.
//!
//! Deliberately whatever its time: that is what makes it theirs to keep. Invariant: what is destroyed is
//! confirmed by its id.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use contract::Code;
use contract::operator::backup::{BackupDeleted, BackupId, BackupView};
use contract::operator::operation::OperationView;
use kit::error::{Problem, Result};
use kit::extract::{Json, Path, Query};
use serde_json::json;
use sqlx::PgConnection;
use utoipa_axum::router::OpenApiRouter;

use super::store::BackupRow;
use super::{found, store};
use crate::confirm::{DeleteQuery, confirmed};
use crate::operations::begin::{Begin, Planned, begin};
use crate::operations::{ForgetBackupPlan, OperationKind, Subject};
use crate::operators::{BackupsWrite, Operator};
use crate::platform::Platform;
use crate::tenants::idempotency::MaybeIdempotencyKey;

/// Delete a backup or an export.
///
/// For good: its object is removed, and then it is forgotten. `confirm` names its id. With `dry_run` it
/// answers with the backup that would go, and changes nothing.
///
/// Where the object store does not remove it in time, the operation ends `undone`: the backup is `deleting`
/// if its object was not seen any more, and is removed later by itself. One whose removal was cancelled is as
/// before, or `corrupt` if the store did not show its object: nothing removes that later but what its time
/// or its tier says, and `POST /v1/backups/{id}/verify` makes it `ready` again if it can be restored.
#[utoipa::path(
    delete,
    path = "/v1/backups/{id}",
    operation_id = "backups.delete",
    tag = "backups",
    params(("id" = BackupId, Path, example = "bak_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f"), DeleteQuery),
    responses(
        (status = 200, description = "It is gone; or what would go, for a dry run.", body = BackupDeleted),
        (status = 202, description = "It is being removed.", body = OperationView, headers(("location" = String), ("retry-after" = u32))),
    )
)]
pub(crate) async fn delete(
    operator: Operator<BackupsWrite>,
    State(platform): State<Platform>,
    Path(id): Path<BackupId>,
    key: MaybeIdempotencyKey,
    Query(query): Query<DeleteQuery>,
) -> Result<Response> {
    if query.dry_run {
        let preview = preview(&platform, id).await?;
        return Ok(Json(BackupDeleted::Preview(Box::new(preview))).into_response());
    }
    let name = id.to_string();
    confirmed(
        "confirm",
        query.confirm.as_deref(),
        ("the backup's id", &name),
    )?;
    let request = Begin {
        actor: operator.actor(),
        key,
        request: json!({ "forget": id }),
        wait: query.wait,
    };
    begin(&platform, request, move |db, _| {
        Box::pin(async move {
            store::hold(db, id).await?;
            let row = deletable(db, id).await?;
            Ok(Planned {
                subject: Subject::Tenant(row.tenant.clone()),
                plan: ForgetBackupPlan::of(&row).into(),
                detail: json!({ "backup": id }),
            })
        })
    })
    .await
}

async fn preview(platform: &Platform, id: BackupId) -> Result<BackupView> {
    let mut connection = platform.registry.acquire().await?;
    Ok(deletable(&mut connection, id).await?.view())
}

/// A backup that nothing is being made of.
async fn deletable(connection: &mut PgConnection, id: BackupId) -> Result<BackupRow> {
    let row = found(&mut *connection, id).await?;
    match store::used_by(connection, id, OperationKind::Clone).await? {
        None => Ok(row),
        Some(operation) => Err(Problem::new(Code::Conflict).detail(format!(
            "The operation {operation} makes a new tenant of the backup; wait for its end, or look at it if \
             it is stuck."
        ))),
    }
}

pub(super) fn router() -> OpenApiRouter<Platform> {
    kit::operations!(delete)
}
