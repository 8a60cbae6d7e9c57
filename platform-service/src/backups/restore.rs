//! Asking for a restore.
//!
//! Deliberately apart from backups: it destroys, so it needs another scope and the tenant's id once
//! more. Invariant: what was replaced can be had back as long as it is kept.

use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use contract::operator::backup::{NewRestore, RestoreFrom, RestorePreview};
use contract::operator::operation::OperationView;
use contract::{Code, TenantId};
use kit::error::{Problem, Result};
use kit::extract::{Json, Path, Query};
use serde_json::json;
use sqlx::PgConnection;
use utoipa_axum::router::OpenApiRouter;

use super::{found, living, store};
use crate::operations::begin::{Begin, Planned, WaitQuery, begin};
use crate::operations::{RestorePlan, Subject};
use crate::operators::{Operator, TenantsDestroy};
use crate::platform::Platform;
use crate::tenants::idempotency::MaybeIdempotencyKey;

/// Hours for which a replaced database is kept where nothing is said.
const KEPT_HOURS: u32 = 72;
/// The longest that can be asked for: 90 days.
const MOST_HOURS: u32 = 2160;

/// Bring a tenant back to a backup, or to the database that the last restore replaced.
///
/// The backup is loaded beside the tenant's database, compared and brought to the newest schema while
/// the tenant is served; then requests wait for about a tenth of a second while names change. What was
/// written since the backup is no longer seen, but kept for a time: `from: "previous"` brings it back.
/// With `dry_run` nothing is done: it is said whether it could be.
#[utoipa::path(
    post,
    path = "/v1/tenants/{id}/restore-backup",
    operation_id = "backups.restore",
    tag = "backups",
    params(("id" = TenantId, Path, example = "t_acme_corp"), WaitQuery),
    request_body = NewRestore,
    responses(
        (status = 200, description = "It is restored; or what would happen, for a dry run.", body = OperationView),
        (status = 202, description = "It is being restored.", body = OperationView, headers(("location" = String), ("retry-after" = u32))),
    )
)]
pub(crate) async fn restore(
    operator: Operator<TenantsDestroy>,
    State(platform): State<Platform>,
    Path(tenant): Path<TenantId>,
    key: MaybeIdempotencyKey,
    Query(query): Query<WaitQuery>,
    Json(new): Json<NewRestore>,
) -> Result<Response> {
    if !new.dry_run && new.confirm.as_deref() != Some(tenant.as_str()) {
        return Err(Problem::new(Code::ConfirmationMissing).detail(format!(
            "What was written since then is no longer seen: send `confirm` with {tenant}."
        )));
    }
    let hours = new.keep_old_hours.unwrap_or(KEPT_HOURS);
    if hours > MOST_HOURS {
        return Err(Problem::field("/keep_old_hours", "is 0 to 2160"));
    }
    let keep_old = Duration::from_secs(u64::from(hours) * 3600);
    if new.dry_run {
        // Locks rows as a restore does, and is rolled back.
        let mut transaction = platform.registry.begin().await?;
        planned(&mut transaction, &tenant, new.from, keep_old).await?;
        let (from, keep_old_hours) = (new.from, hours);
        let preview = RestorePreview {
            tenant,
            from,
            keep_old_hours,
        };
        return Ok(Json(preview).into_response());
    }
    let request = Begin {
        actor: operator.actor(),
        key,
        request: json!({ "restore": tenant, "from": new.from, "keep_old_hours": hours }),
        wait: query.wait,
    };
    begin(&platform, request, move |db, _| {
        Box::pin(async move {
            let plan = planned(db, &tenant, new.from, keep_old).await?;
            Ok(Planned {
                subject: Subject::Tenant(tenant),
                plan: plan.into(),
                detail: json!({ "from": new.from }),
            })
        })
    })
    .await
}

/// What a restore is to do, if it can.
async fn planned(
    db: &mut PgConnection,
    tenant: &TenantId,
    from: RestoreFrom,
    keep_old: Duration,
) -> Result<RestorePlan> {
    let row = living(db, tenant).await?;
    match from {
        RestoreFrom::Backup(id) => RestorePlan::from_backup(&row, &found(db, id).await?, keep_old),
        RestoreFrom::Previous => {
            let none = || {
                Problem::new(Code::NotFound).detail("No database that a restore replaced is kept.")
            };
            let cluster = row.cluster.as_ref().ok_or_else(none)?;
            let kept = store::previous(db, tenant, cluster).await?;
            RestorePlan::from_previous(&row, &kept.ok_or_else(none)?, keep_old)
        }
    }
}

pub(crate) fn router() -> OpenApiRouter<Platform> {
    kit::operations!(restore)
}
