//! Asking for a restore.
//!
//! Deliberately apart from backups: it destroys, so it needs another scope and the tenant's id once
//! more. Invariant: what was replaced can be had back as long as it is kept.

use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use contract::operator::backup::{BackupView, NewRestore, RestoreFrom, RestorePreview, Restored};
use contract::operator::operation::OperationView;
use contract::{Code, TenantId};
use kit::error::{Problem, Result};
use kit::extract::{Json, Path, Query};
use serde_json::json;
use sqlx::PgConnection;
use time::OffsetDateTime;
use utoipa_axum::router::OpenApiRouter;

use super::store::BackupRow;
use super::{archive, found, living, server_version, store};
use crate::confirm::confirmed;
use crate::operations::begin::{Begin, Planned, WaitQuery, begin, refuse_busy};
use crate::operations::{OperationKind, RestorePlan, Subject};
use crate::operators::{Operator, TenantsDestroy};
use crate::platform::Platform;
use crate::tenants::idempotency::MaybeIdempotencyKey;
use crate::tools::{self, Tool};

/// Hours for which a replaced database is kept where nothing is said.
const KEPT_HOURS: u32 = 72;
/// The longest that can be asked for: 90 days.
const MOST_HOURS: u32 = 2160;

/// Bring a tenant back to a backup, or to the database that the last restore replaced.
///
/// The backup is loaded beside the tenant's database, compared and brought to the newest schema while
/// the tenant is served, and the rows of both are counted; then requests wait for about a tenth of a second
/// while names change. What was written since the backup is no longer seen, but kept for a time: `from:
/// "previous"` brings it back. `changes` of the result says what differs: `tables` (the 50 that differ most)
/// with `rows_now`, just before the change, and `rows_then`, of what was brought back, which are `null` where
/// they could not be counted in time, and how many more are `unlisted`.
/// With `dry_run` nothing is done: it is said whether it could be (refused is what a restore would be refused
/// for or would fail at now: an operation that is under way, a store or programs that are missing, an older
/// server), and since when what was written would no longer be seen; `POST /v1/backups/{id}/verify` says which
/// tables' rows differ. To look at a backup beside the tenant, make a new tenant of it:
/// `POST /v1/tenants/{id}/clones` with `backup`.
#[utoipa::path(
    post,
    path = "/v1/tenants/{id}/restore-backup",
    operation_id = "backups.restore",
    tag = "backups",
    params(("id" = TenantId, Path, example = "t_acme_corp"), WaitQuery),
    request_body = NewRestore,
    responses(
        (status = 200, description = "It is restored; or what would happen, for a dry run.", body = Restored),
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
    if !new.dry_run {
        let said = new.confirm.as_deref();
        confirmed("confirm", said, ("the tenant's id", tenant.as_str()))?;
    }
    let hours = new.keep_old_hours.unwrap_or(KEPT_HOURS);
    if hours > MOST_HOURS {
        return Err(Problem::field("/keep_old_hours", "is 0 to 2160"));
    }
    let keep_old = Duration::from_secs(u64::from(hours) * 3600);
    if new.dry_run {
        // Before any row is locked: asking programs for their versions takes its time.
        let tools = tools::find(&platform.settings.tools).await;
        // Locks rows as a restore does, and is rolled back.
        let mut transaction = platform.registry.begin().await?;
        let (_, back) = planned(&mut transaction, &tenant, new.from, keep_old).await?;
        feasible((&platform, &tools), &mut transaction, &tenant, &back).await?;
        let lost_since = back.as_of();
        let preview = RestorePreview {
            tenant,
            from: new.from,
            backup: back.backup(),
            lost_since,
            keep_old_hours: hours,
        };
        return Ok(Json(Restored::Preview(Box::new(preview))).into_response());
    }
    let request = Begin {
        actor: operator.actor(),
        key,
        request: json!({ "restore": tenant, "from": new.from, "keep_old_hours": hours }),
        wait: query.wait,
    };
    begin(&platform, request, move |db, _| {
        Box::pin(async move {
            let (plan, _) = planned(db, &tenant, new.from, keep_old).await?;
            Ok(Planned {
                subject: Subject::Tenant(tenant),
                plan: plan.into(),
                detail: json!({ "from": new.from }),
            })
        })
    })
    .await
}

/// What a tenant is brought back to.
enum Back {
    To(Box<BackupRow>),
    /// The database that was replaced then.
    Before(OffsetDateTime),
}

impl Back {
    /// What was written after that is not in it.
    fn as_of(&self) -> OffsetDateTime {
        match self {
            Self::To(backup) => backup.created_at,
            Self::Before(replaced_at) => *replaced_at,
        }
    }

    fn backup(self) -> Option<BackupView> {
        match self {
            Self::To(backup) => Some(backup.view()),
            Self::Before(_) => None,
        }
    }
}

/// What a restore is to do, if it can.
async fn planned(
    db: &mut PgConnection,
    tenant: &TenantId,
    from: RestoreFrom,
    keep_old: Duration,
) -> Result<(RestorePlan, Back)> {
    let row = living(db, tenant).await?;
    match from {
        RestoreFrom::Backup(id) => {
            let backup = found(db, id).await?;
            let plan = RestorePlan::from_backup(&row, &backup, keep_old)?;
            Ok((plan, Back::To(Box::new(backup))))
        }
        RestoreFrom::Previous => {
            let none = || {
                Problem::new(Code::NotFound).detail("No database that a restore replaced is kept.")
            };
            let cluster = row.cluster.as_ref().ok_or_else(none)?;
            let kept = store::previous(db, tenant, cluster).await?;
            let kept = kept.ok_or_else(none)?;
            let plan = RestorePlan::from_previous(&row, &kept.name, keep_old)?;
            Ok((plan, Back::Before(kept.replaced_at)))
        }
    }
}

/// Refuses what the operation of a restore would fail at or could not begin for, as things are now.
async fn feasible(
    (platform, tools): (&Platform, &[Tool]),
    db: &mut PgConnection,
    tenant: &TenantId,
    back: &Back,
) -> Result<()> {
    let subject = Subject::Tenant(tenant.clone());
    refuse_busy(db, &subject, OperationKind::RestoreBackup).await?;
    let Back::To(backup) = back else {
        return Ok(());
    };
    archive::objects(&platform.settings)?;
    let row = living(db, tenant).await?;
    let target = server_version(db, &row).await?;
    tools::pick(tools, backup.server_version, target)?;
    Ok(())
}

pub(crate) fn router() -> OpenApiRouter<Platform> {
    kit::operations!(restore)
}
