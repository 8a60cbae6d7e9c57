//! Operators destroy what is left of a deleted tenant.
//!
//! Deliberately only what is checked before the operation. Invariant: the tenant's id is said once, and a
//! second time as long as its retention is not over.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use contract::operator::operation::OperationView;
use contract::operator::tenant::{FinalBackup, PurgePreview, PurgeRequest, Purged};
use contract::{Code, TenantId, TenantStatus};
use kit::error::{Problem, Result};
use kit::extract::{Json, Path, Query};
use serde_json::json;
use time::OffsetDateTime;
use utoipa_axum::router::OpenApiRouter;

use super::idempotency::MaybeIdempotencyKey;
use super::life::locked;
use super::{TenantRow, store};
use crate::backups::archive;
use crate::confirm::confirmed;
use crate::operations::Subject;
use crate::operations::begin::{Begin, Planned, WaitQuery, begin};
use crate::operations::purge::{self, PurgePlan};
use crate::operators::{Operator, TenantsDestroy};
use crate::platform::Platform;
use crate::stop::Stop;

/// Destroy what is left of a deleted tenant.
///
/// Its database, role, secret and objects; a tombstone and a signed certificate stay, and nobody ever
/// gets its id or slug. `confirm` names the tenant's id; `force` names it again as long as its
/// retention is not over. With `dry_run` it answers what would go, and changes nothing. `final_backup`
/// says whether a last backup is kept; left out it is as was asked at the deletion.
#[utoipa::path(
    post,
    path = "/v1/tenants/{id}/purge",
    operation_id = "tenants.purge",
    tag = "tenants",
    params(("id" = TenantId, Path, example = "t_acme_corp"), WaitQuery),
    request_body = PurgeRequest,
    responses(
        (status = 200, description = "Nothing is left; or what would go, for a dry run.", body = Purged),
        (status = 202, description = "It is under way.", body = OperationView,
            headers(("location" = String), ("retry-after" = u32))),
    )
)]
pub(crate) async fn purge(
    operator: Operator<TenantsDestroy>,
    State(platform): State<Platform>,
    Path(id): Path<TenantId>,
    Query(query): Query<WaitQuery>,
    key: MaybeIdempotencyKey,
    Json(request): Json<PurgeRequest>,
) -> Result<Response> {
    if request.dry_run {
        let preview = preview(&platform, id, request.final_backup).await?;
        return Ok(Json(Purged::Preview(preview)).into_response());
    }
    confirmed(
        "confirm",
        request.confirm.as_deref(),
        ("the tenant's id", id.as_str()),
    )?;
    let asked = Begin {
        actor: operator.actor(),
        key,
        request: json!({ "purge": id, "body": request }),
        wait: query.wait,
    };
    let keeps = platform.clone();
    begin(&platform, asked, move |connection, _| {
        Box::pin(async move {
            let row = locked(connection, &id).await?;
            purgeable(&row, &request)?;
            let final_backup = request.final_backup.unwrap_or(row.final_backup);
            keepable(&keeps, final_backup)?;
            Ok(Planned {
                subject: Subject::Tenant(id),
                plan: PurgePlan::new(final_backup).into(),
                detail: json!({ "final_backup": final_backup }),
            })
        })
    })
    .await
}

/// Refuses to promise a last backup that there is no place for.
pub(super) fn keepable(platform: &Platform, wish: FinalBackup) -> Result<()> {
    match wish {
        FinalBackup::Keep => archive::objects(&platform.settings).map(|_| ()),
        FinalBackup::None => Ok(()),
    }
}

async fn preview(
    platform: &Platform,
    id: TenantId,
    wish: Option<FinalBackup>,
) -> Result<PurgePreview> {
    let row = {
        let mut registry = platform.registry.acquire().await?;
        store::find(&mut registry, &id).await?
    };
    let row = row.ok_or_else(|| Problem::new(Code::NotFound))?;
    destroyable(&row)?;
    let wish = wish.unwrap_or(row.final_backup);
    keepable(platform, wish)?;
    let previewed = purge::preview(platform, &row, wish).await;
    previewed.map_err(Stop::into_problem)
}

fn purgeable(row: &TenantRow, request: &PurgeRequest) -> Result<()> {
    destroyable(row)?;
    match row.purge_after {
        Some(at) if at > OffsetDateTime::now_utc() => {
            let name = ("the tenant's id", row.id.as_str());
            confirmed("force", request.force.as_deref(), name).map_err(|problem| {
                problem.detail(format!(
                    "Its retention lasts until {}. Send `force` with the tenant's id as well.",
                    at.date()
                ))
            })
        }
        _ => Ok(()),
    }
}

fn destroyable(row: &TenantRow) -> Result<()> {
    if row.status != TenantStatus::Deleted {
        let detail = format!("It is {}: delete it first.", row.status.as_str());
        return Err(Problem::new(Code::Conflict).detail(detail));
    }
    if row.purged_at.is_some() {
        return Err(Problem::new(Code::TenantDeleted).detail("It is purged already."));
    }
    Ok(())
}

pub(crate) fn router() -> OpenApiRouter<Platform> {
    kit::operations!(purge)
}
