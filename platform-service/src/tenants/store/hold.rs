//! Holds and moves of tenants: SQL.
//!
//! Deliberately without a look at the clusters. Invariant: each gives what the feed is to say of it.

use std::time::Duration;

use contract::{ClusterName, TenantId};
use sqlx::PgConnection;

use crate::feed::Unannounced;
use crate::registry::{int, interval};

/// Holds a tenant's requests for so long from now at most.
pub(crate) async fn hold(
    connection: &mut PgConnection,
    id: &TenantId,
    longest: Duration,
) -> Result<Unannounced, sqlx::Error> {
    let generation = sqlx::query_scalar!(
        "update registry.tenant set held_until = now() + $2::interval,
             generation = generation + 1, updated_at = now()
         where id = $1 returning generation",
        id.as_str(),
        interval(longest)?,
    )
    .fetch_one(connection)
    .await?;
    Unannounced::one(id, generation)
}

/// Lets a tenant's requests go on, where it was held.
pub(crate) async fn release(
    connection: &mut PgConnection,
    id: &TenantId,
) -> Result<Unannounced, sqlx::Error> {
    let generation = sqlx::query_scalar!(
        "update registry.tenant set held_until = null,
             generation = generation + 1, updated_at = now()
         where id = $1 and held_until is not null returning generation",
        id.as_str(),
    )
    .fetch_optional(connection)
    .await?;
    Unannounced::if_changed(id, generation)
}

/// Says that a held tenant is on another cluster, as this copy, and lets its requests go on.
pub(crate) async fn moved(
    connection: &mut PgConnection,
    id: &TenantId,
    cluster: &ClusterName,
    copy: u32,
) -> Result<Unannounced, sqlx::Error> {
    let generation = sqlx::query_scalar!(
        "update registry.tenant set cluster = $2, copy = $3, held_until = null,
             generation = generation + 1, updated_at = now()
         where id = $1 returning generation",
        id.as_str(),
        cluster.as_str(),
        int(copy)?,
    )
    .fetch_one(connection)
    .await?;
    Unannounced::one(id, generation)
}
