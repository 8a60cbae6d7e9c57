//! Tiers: limits and features as data.
//!
//! Deliberately no code per tier. Invariant: a tenant's tier is a row here.

mod change;
pub(crate) mod rules;
mod schedule;
pub(crate) mod store;

use axum::extract::State;
use contract::{Code, TierGrant};
use kit::error::{Problem, Result};
use kit::extract::Json;
use serde::Serialize;
use sqlx::PgConnection;
use utoipa_axum::router::OpenApiRouter;

use crate::platform::Platform;

/// A tier.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(example = json!({
    "name": "standard", "title": "Standard", "weight": 1,
    "limits": {"users": 50, "storage_bytes": 10_737_418_240_u64}, "features": ["entries"],
    "retention_days": 30, "self_service": true
}))]
pub(crate) struct TierView {
    /// What people read.
    pub(crate) title: String,
    #[serde(flatten)]
    pub(crate) grant: TierGrant,
    /// How long a deleted tenant can be restored, in days.
    pub(crate) retention_days: u32,
    /// Whether anybody may choose it at the sign-up; operators give the others.
    pub(crate) self_service: bool,
}

/// All tiers.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct TierList {
    /// The smallest first.
    data: Vec<TierView>,
}

/// The tiers that a tenant can have, with their limits and features.
///
/// A limit of `null` is unlimited; one that a tier does not name is not granted.
#[utoipa::path(
    get,
    path = "/v1/tiers",
    operation_id = "tiers.list",
    tag = "sign-up",
    responses((status = 200, description = "All tiers, the smallest first.", body = TierList))
)]
pub(crate) async fn list(State(platform): State<Platform>) -> Result<Json<TierList>> {
    let mut connection = platform.public_registry.acquire().await?;
    let data = store::list(&mut connection).await?;
    Ok(Json(TierList { data }))
}

/// Checks that a tier exists, which then does not change until the transaction ends: whoever changes it
/// afterwards finds the tenant that got it. The problem names those that there are.
pub(crate) async fn check_and_hold(connection: &mut PgConnection, name: &str) -> Result<()> {
    check(connection, name).await?;
    Ok(store::hold(connection, name).await?)
}

/// Checks that a tier exists; the problem names those that do.
pub(crate) async fn check(connection: &mut PgConnection, name: &str) -> Result<()> {
    check_at(connection, "/tier", name).await
}

/// The same, where the name stands in another field.
///
/// # Errors
/// There is no such tier.
pub(crate) async fn check_at(
    connection: &mut PgConnection,
    pointer: &str,
    name: &str,
) -> Result<()> {
    let names = store::names(connection).await?;
    if names.iter().any(|known| known == name) {
        return Ok(());
    }
    Err(Problem::field(
        pointer.to_owned(),
        format!("is none of {}", names.join(", ")),
    ))
}

/// Checks that anybody may choose a tier; the problem names those that they may.
pub(crate) async fn check_self_service(connection: &mut PgConnection, name: &str) -> Result<()> {
    let tiers = store::list(connection).await?;
    let open: Vec<&str> = tiers
        .iter()
        .filter(|tier| tier.self_service)
        .map(|tier| tier.grant.name.as_str())
        .collect();
    if open.contains(&name) {
        return Ok(());
    }
    let rule = match &open[..] {
        [] => "cannot be chosen here: operators give tiers".to_owned(),
        open => format!("cannot be chosen here: choose one of {}", open.join(", ")),
    };
    Err(Problem::field("/tier", rule))
}

fn unknown() -> Problem {
    Problem::new(Code::NotFound)
        .detail("There is no such tier; GET /v1/tiers lists those that there are.")
}

pub(crate) fn router() -> OpenApiRouter<Platform> {
    kit::operations!(list)
        .merge(change::router())
        .merge(schedule::router())
}
