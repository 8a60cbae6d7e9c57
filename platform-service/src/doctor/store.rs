//! The doctor's SQL in the registry.
//!
//! Deliberately counts and short lists: an answer is read by a person. Invariant: nothing is changed.

use contract::{ClusterName, OperationId};
use sqlx::PgConnection;

use super::facts::{ClusterRow, OperatorKeyFacts, PlacedTenant};
use crate::registry::{json, number, parsed};

/// The most stuck operations, and the most operator keys of each concern, that are named.
const NAMED: i64 = 20;

/// The clusters of this name, or all, in the order of their names.
pub(super) async fn clusters(
    connection: &mut PgConnection,
    only: Option<&ClusterName>,
) -> Result<Vec<ClusterRow>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        select name, status, region, tiers, labels, connection_budget, max_disk_bytes, used_bytes,
            (select count(*) from registry.stock
             where stock.cluster = cluster.name and stock.status = 'ready') as "stock!",
            (select count(*) from registry.finding
             where finding.place = cluster.name and not finding.kept) as "findings!"
        from registry.cluster where $1::text is null or name = $1 order by name
        "#,
        only.map(ClusterName::as_str),
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let bytes = |column, bytes: Option<i64>| bytes.map(|b| number(column, b)).transpose();
            Ok(ClusterRow {
                name: parsed("cluster.name", &row.name)?,
                status: row.status,
                region: row.region,
                tiers: row.tiers,
                labels: json("cluster.labels", row.labels)?,
                connection_budget: number("cluster.connection_budget", row.connection_budget)?,
                max_disk_bytes: bytes("cluster.max_disk_bytes", row.max_disk_bytes)?,
                used_bytes: bytes("cluster.used_bytes", row.used_bytes)?,
                stock: number("count", row.stock)?,
                findings: number("count", row.findings)?,
            })
        })
        .collect()
}

/// The tenants whose database is on a cluster under their own name, and that nothing is done to now.
pub(super) async fn placed(
    connection: &mut PgConnection,
    cluster: &ClusterName,
) -> Result<Vec<PlacedTenant>, sqlx::Error> {
    let rows = sqlx::query!(
        "select id, copy, region, tier, labels from registry.tenant
         where cluster = $1 and status in ('active', 'suspended') and not exists (
             select from registry.operation
             where operation.tenant_id = tenant.id and state in ('running', 'unwinding', 'stuck'))
         order by id",
        cluster.as_str(),
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(PlacedTenant {
                id: parsed("tenant.id", &row.id)?,
                copy: number("tenant.copy", row.copy)?,
                region: row.region,
                tier: row.tier,
                labels: json("tenant.labels", row.labels)?,
            })
        })
        .collect()
}

/// Operator keys that are good, the oldest first: of those, the ones that something may be said of.
pub(super) async fn operator_keys(
    connection: &mut PgConnection,
) -> Result<Vec<OperatorKeyFacts>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        with good as (
            select id, name, created_at, expires_at,
                coalesce(last_used_at, watched_since) as unused_since
            from registry.operator_key
            where revoked_at is null and (expires_at > now()) is not false
        )
        select name, created_at, expires_at, unused_since as "unused_since!" from good
        where id in (
            (select id from good order by created_at limit $1)
            union (select id from good where expires_at is not null order by expires_at limit $1)
            union (select id from good order by unused_since limit $1))
        order by created_at
        "#,
        NAMED,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| OperatorKeyFacts {
            name: row.name,
            made: row.created_at,
            ends: row.expires_at,
            unused_since: row.unused_since,
        })
        .collect())
}

/// Stuck operations and their kinds, the oldest first.
pub(super) async fn stuck(
    connection: &mut PgConnection,
) -> Result<Vec<(OperationId, String)>, sqlx::Error> {
    let rows = sqlx::query!(
        "select id, kind from registry.operation where state = 'stuck' order by id limit $1",
        NAMED,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| (OperationId::from_uuid(row.id), row.kind))
        .collect())
}

/// Finds that are on no cluster and that nobody said should stay.
pub(super) async fn findings_elsewhere(connection: &mut PgConnection) -> Result<u32, sqlx::Error> {
    let found = sqlx::query_scalar!(
        r#"select count(*) as "found!" from registry.finding
           where not kept and not exists (
               select from registry.cluster where cluster.name = finding.place)"#
    )
    .fetch_one(connection)
    .await?;
    number("count", found)
}
