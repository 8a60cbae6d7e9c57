//! Operators and a tenant's life: suspend, resume, delete, restore.
//!
//! Deliberately only what is checked and chosen before an operation; the work is the operation's.
//! Invariants: what may happen to a tenant is decided under its row's lock; what destroys is confirmed
//! by the tenant's id.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use contract::operator::operation::OperationView;
use contract::operator::tenant::{DeletePreview, Deleted, FinalBackup, SuspendRequest};
use contract::tenant::Suspension;
use contract::tenant_status::TenantEvent;
use contract::{Code, TenantId, TenantStatus};
use kit::error::{Problem, Result};
use kit::extract::{Json, Path, Query};
use serde::Deserialize;
use serde_json::json;
use sqlx::PgConnection;
use time::OffsetDateTime;
use utoipa_axum::router::OpenApiRouter;

use super::idempotency::MaybeIdempotencyKey;
use super::purge::keepable;
use super::{TenantRow, rules, store};
use crate::clusters::postgres::Name;
use crate::confirm::confirmed;
use crate::operations::begin::{Begin, Planned, Wait, WaitQuery, begin, refuse_busy};
use crate::operations::delete::DeletePlan;
use crate::operations::resume::ResumePlan;
use crate::operations::suspend::SuspendPlan;
use crate::operations::undelete::UndeletePlan;
use crate::operations::{OperationKind, Subject};
use crate::operators::{Operator, TenantsDestroy, TenantsWrite};
use crate::platform::Platform;

/// A tenant, locked until the transaction ends.
pub(super) async fn locked(connection: &mut PgConnection, id: &TenantId) -> Result<TenantRow> {
    store::find_for_update(connection, id)
        .await?
        .ok_or_else(|| Problem::new(Code::NotFound))
}

/// What is a tenant's after an event.
///
/// # Errors
/// Its life does not allow that.
fn allowed(row: &TenantRow, event: TenantEvent) -> Result<TenantStatus> {
    row.status.after(event).map_err(|refused| match row.status {
        TenantStatus::Deleted => Problem::new(Code::TenantDeleted),
        TenantStatus::Provisioning | TenantStatus::Active | TenantStatus::Suspended => {
            Problem::new(Code::Conflict).detail(format!("This is refused: {refused}."))
        }
    })
}

/// Hold a tenant back.
///
/// Its people are told the reason. What the wall forbids is refused by the tenant's database too, so
/// that a service that missed the news serves nothing; `wait=replicas` answers when none has missed it.
/// A suspended tenant may be suspended anew, with another wall.
#[utoipa::path(
    post,
    path = "/v1/tenants/{id}/suspend",
    operation_id = "tenants.suspend",
    tag = "tenants",
    params(("id" = TenantId, Path, example = "t_acme_corp"), WaitQuery),
    request_body = SuspendRequest,
    responses(
        (status = 200, description = "It is suspended.", body = OperationView),
        (status = 202, description = "It is under way.", body = OperationView,
            headers(("location" = String), ("retry-after" = u32))),
    )
)]
pub(crate) async fn suspend(
    operator: Operator<TenantsWrite>,
    State(platform): State<Platform>,
    Path(id): Path<TenantId>,
    Query(query): Query<WaitQuery>,
    key: MaybeIdempotencyKey,
    Json(request): Json<SuspendRequest>,
) -> Result<Response> {
    let asked = Begin {
        actor: operator.actor(),
        key,
        request: json!({ "suspend": id, "body": request }),
        wait: query.wait,
    };
    let suspension = checked(request)?;
    begin(&platform, asked, move |connection, _| {
        Box::pin(async move {
            let row = locked(connection, &id).await?;
            allowed(&row, TenantEvent::Suspended)?;
            let detail = json!({ "wall": suspension.wall, "until": suspension.until.map(|at| at.to_string()) });
            Ok(Planned {
                subject: Subject::Tenant(id),
                plan: SuspendPlan { suspension }.into(),
                detail,
            })
        })
    })
    .await
}

fn checked(request: SuspendRequest) -> Result<Suspension> {
    let SuspendRequest {
        wall,
        reason,
        until,
    } = request;
    if until.is_some_and(|until| until <= OffsetDateTime::now_utc()) {
        return Err(Problem::field("/until", "must be in the future"));
    }
    Ok(Suspension {
        wall,
        reason: reason
            .map(|reason| rules::reason("/reason", &reason))
            .transpose()?,
        until,
    })
}

/// Let a suspended tenant go on.
#[utoipa::path(
    post,
    path = "/v1/tenants/{id}/resume",
    operation_id = "tenants.resume",
    tag = "tenants",
    params(("id" = TenantId, Path, example = "t_acme_corp"), WaitQuery),
    responses(
        (status = 200, description = "It is served.", body = OperationView),
        (status = 202, description = "It is under way.", body = OperationView,
            headers(("location" = String), ("retry-after" = u32))),
    )
)]
pub(crate) async fn resume(
    operator: Operator<TenantsWrite>,
    State(platform): State<Platform>,
    Path(id): Path<TenantId>,
    Query(query): Query<WaitQuery>,
    key: MaybeIdempotencyKey,
) -> Result<Response> {
    let asked = Begin {
        actor: operator.actor(),
        key,
        request: json!({ "resume": id }),
        wait: query.wait,
    };
    begin(&platform, asked, move |connection, _| {
        Box::pin(async move {
            let row = locked(connection, &id).await?;
            allowed(&row, TenantEvent::Resumed)?;
            Ok(Planned {
                subject: Subject::Tenant(id),
                plan: ResumePlan {}.into(),
                detail: json!({}),
            })
        })
    })
    .await
}

/// How a tenant is deleted.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct TenantDeleteQuery {
    /// What to wait for, for some seconds: `none`, `done` or `replicas`.
    #[serde(default)]
    #[param(inline)]
    wait: Wait,
    /// The id of what is deleted, once more.
    confirm: Option<String>,
    /// Whether a last backup is kept when its data is destroyed: `none` or `keep`.
    #[serde(default)]
    #[param(inline)]
    final_backup: FinalBackup,
    /// Answers what would happen, and does nothing.
    #[serde(default)]
    dry_run: bool,
}

/// Delete a tenant, so that it can be restored.
///
/// It is locked out at once, and its database renamed; its data is destroyed when the retention of its
/// tier is over. Where somebody has dropped its database, it is deleted all the same, and the result says
/// `"database": "missing"`. Its id and slug are never given to anybody else. With `final_backup=keep` a last
/// backup is kept of it for a time when its data is destroyed, also where that happens by itself; refused
/// where no object store is set.
#[utoipa::path(
    delete,
    path = "/v1/tenants/{id}",
    operation_id = "tenants.delete",
    tag = "tenants",
    params(("id" = TenantId, Path, example = "t_acme_corp"), TenantDeleteQuery),
    responses(
        (status = 200, description = "It is deleted; or what would happen, for a dry run.", body = Deleted),
        (status = 202, description = "It is under way.", body = OperationView,
            headers(("location" = String), ("retry-after" = u32))),
    )
)]
pub(crate) async fn delete(
    operator: Operator<TenantsDestroy>,
    State(platform): State<Platform>,
    Path(id): Path<TenantId>,
    Query(query): Query<TenantDeleteQuery>,
    key: MaybeIdempotencyKey,
) -> Result<Response> {
    if query.dry_run {
        let preview = preview(&platform, id, query.final_backup).await?;
        return Ok(Json(Deleted::Preview(preview)).into_response());
    }
    confirmed(
        "confirm",
        query.confirm.as_deref(),
        ("the tenant's id", id.as_str()),
    )?;
    keepable(&platform, query.final_backup)?;
    // Without a wish it is the request that it was before there were any: a key is good across releases.
    let mut request = json!({ "delete": id });
    if !query.final_backup.is_none() {
        request["final_backup"] = json!(query.final_backup);
    }
    let asked = Begin {
        actor: operator.actor(),
        key,
        request,
        wait: query.wait,
    };
    begin(&platform, asked, move |connection, _| {
        Box::pin(async move {
            let row = locked(connection, &id).await?;
            deletable(&row)?;
            Ok(Planned {
                subject: Subject::Tenant(id),
                plan: DeletePlan::new(row.copy, query.final_backup).into(),
                detail: json!({ "copy": row.copy, "final_backup": query.final_backup }),
            })
        })
    })
    .await
}

fn deletable(row: &TenantRow) -> Result<()> {
    if row.status == TenantStatus::Deleted {
        return Err(Problem::new(Code::TenantDeleted).detail("It is deleted already."));
    }
    allowed(row, TenantEvent::Deleted).map(|_| ())
}

async fn preview(
    platform: &Platform,
    id: TenantId,
    final_backup: FinalBackup,
) -> Result<DeletePreview> {
    keepable(platform, final_backup)?;
    let mut connection = platform.registry.acquire().await?;
    let row = store::find(&mut connection, &id)
        .await?
        .ok_or_else(|| Problem::new(Code::NotFound))?;
    deletable(&row)?;
    let subject = Subject::Tenant(id.clone());
    refuse_busy(&mut connection, &subject, OperationKind::Delete).await?;
    let retention_days = store::life::retention_days(&mut connection, &row.tier).await?;
    Ok(DeletePreview {
        kept_name: Name::Deleted(id.clone(), row.copy).to_string(),
        tenant: id,
        retention_days,
        final_backup,
    })
}

/// Restore a deleted tenant.
///
/// With every row that it had; one that was suspended is suspended again. Refused with `tenant-deleted`
/// once its data is being destroyed, and with `conflict` where somebody has dropped its database: then its
/// backups are all that is left.
#[utoipa::path(
    post,
    path = "/v1/tenants/{id}/restore",
    operation_id = "tenants.restore",
    tag = "tenants",
    params(("id" = TenantId, Path, example = "t_acme_corp"), WaitQuery),
    responses(
        (status = 200, description = "It is back.", body = OperationView),
        (status = 202, description = "It is under way.", body = OperationView,
            headers(("location" = String), ("retry-after" = u32))),
    )
)]
pub(crate) async fn restore(
    operator: Operator<TenantsWrite>,
    State(platform): State<Platform>,
    Path(id): Path<TenantId>,
    Query(query): Query<WaitQuery>,
    key: MaybeIdempotencyKey,
) -> Result<Response> {
    let asked = Begin {
        actor: operator.actor(),
        key,
        request: json!({ "restore": id }),
        wait: query.wait,
    };
    begin(&platform, asked, move |connection, _| {
        Box::pin(async move {
            let row = locked(connection, &id).await?;
            restorable(&row)?;
            Ok(Planned {
                subject: Subject::Tenant(id),
                plan: UndeletePlan { copy: row.copy }.into(),
                detail: json!({ "copy": row.copy }),
            })
        })
    })
    .await
}

fn restorable(row: &TenantRow) -> Result<()> {
    if row.status != TenantStatus::Deleted {
        let detail = format!("It is not deleted but {}.", row.status.as_str());
        return Err(Problem::new(Code::Conflict).detail(detail));
    }
    if row.purge_after.is_none() {
        return Err(Problem::new(Code::TenantDeleted).detail("Its data is destroyed."));
    }
    allowed(row, TenantEvent::Restored).map(|_| ())
}

pub(crate) fn router() -> OpenApiRouter<Platform> {
    kit::operations!(suspend, resume, delete, restore)
}
