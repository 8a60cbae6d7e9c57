//! What clusters hold, as their servers were last measured: SQL in the registry.
//!
//! Deliberately without a look at a server: see `clusters/measure.rs`. Invariant: one process measures a cluster at a
//! time, whoever claimed it first.

use std::collections::HashMap;
use std::time::Duration;

use contract::ClusterName;
use sqlx::PgConnection;

use crate::clusters::postgres::ServerConnections;
use crate::registry::{bigint, int, interval, number, parsed};

/// The clusters whose bytes were not measured for so long, which are the caller's to measure now. Locked in
/// the order in which placement locks them.
pub(crate) async fn claim_measuring(
    connection: &mut PgConnection,
    every: Duration,
) -> Result<Vec<ClusterName>, sqlx::Error> {
    sqlx::query_scalar!(
        "with due as (
             select name from registry.cluster
             where measured_at is null or measured_at < now() - $1::interval
             order by name for no key update
         )
         update registry.cluster set measured_at = now()
         from due where cluster.name = due.name
         returning cluster.name",
        interval(every)?,
    )
    .fetch_all(connection)
    .await?
    .iter()
    .map(|name| parsed("cluster.name", name))
    .collect()
}

/// What a look at a cluster's server found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measured {
    /// Of all its databases.
    pub(crate) bytes: u64,
    pub(crate) can_replicate: bool,
    /// As `server_version_num`.
    pub(crate) server_version: i32,
}

/// Stores what was measured of a cluster.
pub(crate) async fn set_measured(
    connection: &mut PgConnection,
    name: &ClusterName,
    found: &Measured,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update registry.cluster
         set used_bytes = $2, can_replicate = $3, server_version = $4, measured_at = now()
         where name = $1",
        name.as_str(),
        bigint(found.bytes)?,
        found.can_replicate,
        found.server_version,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Counts what was moved to a cluster as used, until it is measured.
pub(crate) async fn add_bytes(
    connection: &mut PgConnection,
    name: &ClusterName,
    bytes: u64,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update registry.cluster set used_bytes = used_bytes + $2 where name = $1",
        name.as_str(),
        bigint(bytes)?,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Stores how many connections a cluster's server has, and how many are used.
pub(crate) async fn set_connections(
    connection: &mut PgConnection,
    name: &ClusterName,
    connections: ServerConnections,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update registry.cluster set server_connections = $2, used_connections = $3
         where name = $1",
        name.as_str(),
        int(connections.all)?,
        int(connections.used)?,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What a cluster holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Holdings {
    /// Databases of tenants.
    pub(crate) tenants: u32,
    /// Those of tenants that are being moved there.
    pub(crate) coming: u32,
    /// Bytes of what is being moved there, as of the begin of each move.
    pub(crate) coming_bytes: u64,
    /// Ready copies of any template.
    pub(crate) stock: u32,
    /// Bytes of all its databases when they were last measured.
    pub(crate) used_bytes: Option<u64>,
    /// Of its server, when they were last measured.
    pub(crate) connections: Option<ServerConnections>,
}

/// What the named clusters hold.
pub(crate) async fn holdings(
    connection: &mut PgConnection,
    names: &[String],
) -> Result<HashMap<String, Holdings>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        select cluster.name, cluster.used_bytes, cluster.server_connections,
            cluster.used_connections,
            (select count(*) from registry.tenant
             where tenant.cluster = cluster.name and tenant.status <> 'deleted') as "tenants!",
            coalesce(coming.moves, 0) as "coming!", coalesce(coming.bytes, 0) as "coming_bytes!",
            (select count(*) from registry.stock
             where stock.cluster = cluster.name and stock.status = 'ready') as "stock!"
        from registry.cluster
        left join lateral (
            select count(*) as moves, sum((move.plan ->> 'bytes')::bigint)::bigint as bytes
            from registry.operation move join registry.tenant on tenant.id = move.tenant_id
            where move.kind = 'move' and move.state in ('running', 'unwinding', 'stuck')
                and move.plan ->> 'to' = cluster.name and tenant.cluster <> cluster.name
        ) coming on true
        where cluster.name = any($1)
        "#,
        names,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let holdings = Holdings {
                tenants: number("count", row.tenants)?,
                coming: number("count", row.coming)?,
                coming_bytes: number("sum", row.coming_bytes)?,
                stock: number("count", row.stock)?,
                used_bytes: row
                    .used_bytes
                    .map(|bytes| number("cluster.used_bytes", bytes))
                    .transpose()?,
                connections: match row.server_connections.zip(row.used_connections) {
                    Some((all, used)) => Some(ServerConnections {
                        all: number("cluster.server_connections", all)?,
                        used: number("cluster.used_connections", used)?,
                    }),
                    None => None,
                },
            };
            Ok((row.name, holdings))
        })
        .collect()
}
