//! Tenants as services see them: their route, and what services report of their schemas.
//!
//! Deliberately the only door of the data plane to the registry's tenants. Invariant: a report that
//! brings no news changes no generation, so a repeated one wakes nobody.

use axum::extract::State;
use contract::internal::{MigrationOutcome, MigrationReport};
use contract::{Code, TenantId, TenantRoute, TenantStatus};
use http::StatusCode;
use kit::auth::service::ServiceCaller;
use kit::error::{Problem, Result};
use kit::extract::{Json, Path};
use utoipa_axum::router::OpenApiRouter;

use super::store::{self, Failed};
use crate::feed::Unannounced;
use crate::platform::Platform;

/// Words of a server that are kept of a failed migration.
const MAX_MESSAGE_CHARS: usize = 1000;
const MAX_MIGRATION_CHARS: usize = 200;
const SQLSTATE_CHARS: usize = 5;
/// Of a statement that failed.
const MAX_STATEMENT_CHARS: usize = 300;

/// The route of a tenant: where its database is and what it may use.
///
/// Refused with `not-found` for an id that nobody has, with `tenant-provisioning` as long as it has
/// no place, and with `tenant-deleted` where only a tombstone is left.
#[utoipa::path(
    get,
    path = "/internal/tenants/{id}/db-info",
    operation_id = "internal.route",
    tag = "tenants",
    params(("id" = TenantId, Path, example = "t_acme_corp")),
    responses((status = 200, description = "The route.", body = TenantRoute))
)]
pub(crate) async fn route(
    _caller: ServiceCaller,
    State(platform): State<Platform>,
    Path(id): Path<TenantId>,
) -> Result<Json<TenantRoute>> {
    let mut connection = platform.registry.acquire().await?;
    if let Some(route) = store::route(&mut connection, &id).await? {
        return Ok(Json(route));
    }
    let row = store::find(&mut connection, &id).await?;
    Err(Problem::new(match row.map(|row| row.status) {
        None => Code::NotFound,
        Some(TenantStatus::Deleted) => Code::TenantDeleted,
        Some(_) => Code::TenantProvisioning,
    }))
}

/// How the migration of one owner's schema ended in a tenant's database.
#[utoipa::path(
    post,
    path = "/internal/migration-reports",
    operation_id = "internal.migration_report",
    tag = "tenants",
    request_body = MigrationReport,
    responses((status = 204, description = "Noted."))
)]
pub(crate) async fn migration_report(
    _caller: ServiceCaller,
    State(platform): State<Platform>,
    Json(report): Json<MigrationReport>,
) -> Result<StatusCode> {
    let MigrationReport {
        tenant,
        copy,
        owner,
        outcome,
    } = report;
    let mut transaction = platform.registry.begin().await?;
    let row = store::find_for_update(&mut transaction, &tenant).await?;
    let row = row.ok_or_else(|| Problem::new(Code::NotFound))?;
    if copy.is_some_and(|copy| copy != row.copy) {
        return Ok(StatusCode::NO_CONTENT);
    }
    let news = match outcome {
        MigrationOutcome::Migrated { version } => {
            store::report_migrated(&mut transaction, &tenant, &owner, version).await?
        }
        MigrationOutcome::Failed {
            migration,
            sqlstate,
            message,
            statement,
        } => {
            let failed = Failed {
                owner: &owner,
                migration: shortened(&migration, MAX_MIGRATION_CHARS),
                sqlstate: sqlstate
                    .as_deref()
                    .map(|state| shortened(state, SQLSTATE_CHARS)),
                message: shortened(&message, MAX_MESSAGE_CHARS),
                statement: statement
                    .as_deref()
                    .map(|statement| shortened(statement, MAX_STATEMENT_CHARS)),
            };
            store::report_failed(&mut transaction, &tenant, &failed).await?;
            Unannounced::none()
        }
    };
    let is_news = !news.is_empty();
    news.announce(&mut transaction).await?;
    transaction.commit().await?;
    if is_news {
        platform.feed.ring();
    }
    Ok(StatusCode::NO_CONTENT)
}

fn shortened(text: &str, chars: usize) -> &str {
    text.char_indices()
        .nth(chars)
        .map_or(text, |(end, _)| &text[..end])
}

pub(crate) fn internal_router() -> OpenApiRouter<Platform> {
    kit::operations!(route, migration_report)
}
