//! The tenant that an operation is about, as the registry has it.
//!
//! Deliberately of one moment: a step that goes on for long looks again. Invariant: an operation whose tenant has
//! no row fails, and does nothing to another one.

use contract::{ClusterName, TenantRoute};
use kit::error::Problem;
use sqlx::PgConnection;

use super::{Head, Stop};
use crate::platform::Platform;
use crate::tenants::{TenantRow, store};

/// Its row.
pub(super) async fn row(connection: &mut PgConnection, head: &Head) -> Result<TenantRow, Stop> {
    let row = store::find(connection, head.tenant()?).await?;
    row.ok_or_else(|| Stop::Fail(Problem::internal("the tenant's row is gone")))
}

/// The cluster that it is on; none where it is not placed, or gone.
pub(super) async fn cluster(platform: &Platform, head: &Head) -> Result<Option<ClusterName>, Stop> {
    let mut registry = platform.registry.acquire().await?;
    let row = store::find(&mut registry, head.tenant()?).await?;
    Ok(row.and_then(|row| row.cluster))
}

/// The same of a tenant that has been placed.
pub(super) async fn placed_on(platform: &Platform, head: &Head) -> Result<ClusterName, Stop> {
    let cluster = cluster(platform, head).await?;
    cluster.ok_or_else(|| Stop::Fail(Problem::internal("the tenant is not placed")))
}

/// Its route.
pub(super) async fn route(connection: &mut PgConnection, head: &Head) -> Result<TenantRoute, Stop> {
    let route = store::route(connection, head.tenant()?).await?;
    route.ok_or_else(|| Stop::Fail(Problem::internal("the tenant has no route")))
}
