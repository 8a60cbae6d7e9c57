//! Holds and moves of tenants: SQL.
//!
//! Deliberately without a look at the clusters. Invariant: each enters the change feed as the last
//! write of its transaction.

use std::time::Duration;

use contract::{ClusterName, TenantId};
use sqlx::PgConnection;

use crate::feed;
use crate::registry::{int, interval, number};

/// Holds a tenant's requests for so long from now at most; gives the number of the change.
pub(crate) async fn hold(
    connection: &mut PgConnection,
    id: &TenantId,
    longest: Duration,
) -> Result<u64, sqlx::Error> {
    let generation = sqlx::query_scalar!(
        "update registry.tenant set held_until = now() + $2::interval,
             generation = generation + 1, updated_at = now()
         where id = $1 returning generation",
        id.as_str(),
        interval(longest)?,
    )
    .fetch_one(&mut *connection)
    .await?;
    let generation = number("tenant.generation", generation)?;
    feed::store::record(connection, id, generation).await
}

/// Lets a tenant's requests go on; gives the number of the change, or of the newest one where it was
/// not held.
pub(crate) async fn release(
    connection: &mut PgConnection,
    id: &TenantId,
) -> Result<u64, sqlx::Error> {
    let generation = sqlx::query_scalar!(
        "update registry.tenant set held_until = null,
             generation = generation + 1, updated_at = now()
         where id = $1 and held_until is not null returning generation",
        id.as_str(),
    )
    .fetch_optional(&mut *connection)
    .await?;
    match generation {
        Some(generation) => {
            let generation = number("tenant.generation", generation)?;
            feed::store::record(connection, id, generation).await
        }
        None => feed::store::last_number(connection).await,
    }
}

/// Says that a held tenant is on another cluster, as this copy, and lets its requests go on.
pub(crate) async fn moved(
    connection: &mut PgConnection,
    id: &TenantId,
    cluster: &ClusterName,
    copy: u32,
) -> Result<u64, sqlx::Error> {
    let generation = sqlx::query_scalar!(
        "update registry.tenant set cluster = $2, copy = $3, held_until = null,
             generation = generation + 1, updated_at = now()
         where id = $1 returning generation",
        id.as_str(),
        cluster.as_str(),
        int(copy)?,
    )
    .fetch_one(&mut *connection)
    .await?;
    let generation = number("tenant.generation", generation)?;
    feed::store::record(connection, id, generation).await
}
