//! New generations of many tenants, for what changes around them.
//!
//! Deliberately without the feed: whoever renews announces it last. Invariant: rows are locked in one order,
//! so that two renewals do not wait for each other.

use contract::ClusterName;
use sqlx::PgConnection;

use crate::feed::Unannounced;

/// Whose routes are others from now on.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Renewed<'a> {
    /// Those of this tier.
    Of(&'a str),
    /// Those on this cluster.
    On(&'a ClusterName),
}

/// Gives tenants that are not gone another generation.
pub(crate) async fn renew(
    connection: &mut PgConnection,
    renewed: Renewed<'_>,
) -> Result<Unannounced, sqlx::Error> {
    let (tier, cluster) = match renewed {
        Renewed::Of(tier) => (Some(tier), None),
        Renewed::On(cluster) => (None, Some(cluster.as_str())),
    };
    let rows = sqlx::query!(
        "with held as (
             select id from registry.tenant
             where ($1::text is null or tier = $1) and ($2::text is null or cluster = $2)
                 and status <> 'deleted'
             order by id for no key update
         )
         update registry.tenant
         set generation = tenant.generation + 1, updated_at = now()
         from held where tenant.id = held.id
         returning tenant.id, tenant.generation",
        tier,
        cluster,
    )
    .fetch_all(connection)
    .await?;
    Unannounced::many(rows.into_iter().map(|row| (row.id, row.generation)))
}
