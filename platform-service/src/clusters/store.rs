//! Clusters' SQL in the registry; templates and stock are in [`derived`].
//!
//! Deliberately nothing that runs on a cluster: see [`super::postgres`]. Invariant: what placement
//! saw of a cluster holds until the transaction that placed ends.

pub(crate) mod beside;
pub(crate) mod derived;
pub(super) mod keeping;
pub(crate) mod kept;
mod measurements;
pub(crate) mod moves;
pub(crate) mod registry_database;
pub(super) mod remove;

use std::collections::BTreeMap;

use contract::ClusterName;
use contract::secret::SecretRef;
use contract::tenant::TlsMode;
use serde_json::Value;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::placement::{Candidate, ClusterStatus};
use crate::registry::{bigint, int, json, number, parsed, to_json};

pub(crate) use measurements::{
    Holdings, Measured, add_bytes, claim_measuring, holdings, set_connections, set_measured,
};

/// Serialises the adding of clusters: an arbitrary number that nothing else in the registry uses.
const ADDING_LOCK: i64 = 0x0063_6c75_7374_6572;

/// A cluster as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ClusterRow {
    pub(crate) name: ClusterName,
    pub(crate) region: String,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) tls: TlsMode,
    pub(crate) status: ClusterStatus,
    pub(crate) connection_budget: u32,
    pub(crate) max_databases: Option<u32>,
    pub(crate) tiers: Option<Vec<String>>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) weight: u32,
    /// Bytes that its databases may take.
    pub(crate) max_disk_bytes: Option<u64>,
    pub(crate) server_version: i32,
    /// Whether `tn_platform` may read logical replication slots.
    pub(crate) can_replicate: bool,
    pub(crate) platform_credential: SecretRef,
    pub(crate) schema_credential: SecretRef,
    /// None until its keeper has made the login.
    pub(crate) query_credential: Option<SecretRef>,
    pub(crate) created_at: OffsetDateTime,
}

struct Columns {
    name: String,
    region: String,
    host: String,
    port: i32,
    tls: String,
    status: String,
    connection_budget: i32,
    max_databases: Option<i32>,
    tiers: Option<Vec<String>>,
    labels: Value,
    weight: i32,
    max_disk_bytes: Option<i64>,
    server_version: i32,
    can_replicate: bool,
    platform_credential: String,
    schema_credential: String,
    query_credential: Option<String>,
    created_at: OffsetDateTime,
}

impl Columns {
    fn parse(self) -> Result<ClusterRow, sqlx::Error> {
        Ok(ClusterRow {
            name: parsed("cluster.name", &self.name)?,
            region: self.region,
            host: self.host,
            port: number("cluster.port", self.port)?,
            tls: parsed("cluster.tls", &self.tls)?,
            status: parsed("cluster.status", &self.status)?,
            connection_budget: number("cluster.connection_budget", self.connection_budget)?,
            max_databases: self
                .max_databases
                .map(|most| number("cluster.max_databases", most))
                .transpose()?,
            tiers: self.tiers,
            labels: json("cluster.labels", self.labels)?,
            weight: number("cluster.weight", self.weight)?,
            max_disk_bytes: self
                .max_disk_bytes
                .map(|most| number("cluster.max_disk_bytes", most))
                .transpose()?,
            server_version: self.server_version,
            can_replicate: self.can_replicate,
            platform_credential: SecretRef(self.platform_credential),
            schema_credential: SecretRef(self.schema_credential),
            query_credential: self.query_credential.map(SecretRef),
            created_at: self.created_at,
        })
    }
}

/// A cluster.
pub(crate) async fn find(
    connection: &mut PgConnection,
    name: &ClusterName,
) -> Result<Option<ClusterRow>, sqlx::Error> {
    sqlx::query_as!(
        Columns,
        "select name, region, host, port, tls, status, connection_budget, max_databases, tiers,
             labels, weight, max_disk_bytes, server_version, can_replicate, platform_credential,
             schema_credential, query_credential, created_at
         from registry.cluster where name = $1",
        name.as_str(),
    )
    .fetch_optional(connection)
    .await?
    .map(Columns::parse)
    .transpose()
}

/// Up to `limit` clusters in the order of their names, after `starting_after`.
pub(crate) async fn list(
    connection: &mut PgConnection,
    starting_after: Option<&ClusterName>,
    limit: i64,
) -> Result<Vec<ClusterRow>, sqlx::Error> {
    sqlx::query_as!(
        Columns,
        "select name, region, host, port, tls, status, connection_budget, max_databases, tiers,
             labels, weight, max_disk_bytes, server_version, can_replicate, platform_credential,
             schema_credential, query_credential, created_at
         from registry.cluster where $1::text is null or name > $1 order by name limit $2",
        starting_after.map(ClusterName::as_str),
        limit,
    )
    .fetch_all(connection)
    .await?
    .into_iter()
    .map(Columns::parse)
    .collect()
}

/// The names of all clusters that get new tenants.
pub(crate) async fn active(connection: &mut PgConnection) -> Result<Vec<ClusterName>, sqlx::Error> {
    sqlx::query_scalar!("select name from registry.cluster where status = 'active' order by name")
        .fetch_all(connection)
        .await?
        .iter()
        .map(|name| parsed("cluster.name", name))
        .collect()
}

/// Until the transaction ends nobody else adds a cluster.
pub(crate) async fn lock_adding(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "select pg_advisory_xact_lock($1)::text as locked",
        ADDING_LOCK
    )
    .fetch_one(connection)
    .await?;
    Ok(())
}

/// Who this registry is to the servers that it manages.
pub(crate) async fn installation(connection: &mut PgConnection) -> Result<Uuid, sqlx::Error> {
    sqlx::query_scalar!("select installation from registry.feed")
        .fetch_one(connection)
        .await
}

/// The cluster that has this address.
pub(crate) async fn at_address(
    connection: &mut PgConnection,
    host: &str,
    port: u16,
) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar!(
        "select name from registry.cluster where host = $1 and port = $2",
        host,
        i32::from(port),
    )
    .fetch_optional(connection)
    .await
}

/// Adds a cluster. Breaks `cluster_key` or `cluster_address_key` where it is there already.
pub(crate) async fn insert(
    connection: &mut PgConnection,
    cluster: &ClusterRow,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into registry.cluster
             (name, region, host, port, tls, status, connection_budget, max_databases, tiers,
              weight, server_version, platform_credential, schema_credential, created_at,
              labels, max_disk_bytes, can_replicate)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)",
        cluster.name.as_str(),
        cluster.region,
        cluster.host,
        i32::from(cluster.port),
        cluster.tls.as_str(),
        cluster.status.as_str(),
        int(cluster.connection_budget)?,
        cluster.max_databases.map(int).transpose()?,
        cluster.tiers.as_deref(),
        int(cluster.weight)?,
        cluster.server_version,
        cluster.platform_credential.0,
        cluster.schema_credential.0,
        cluster.created_at,
        to_json(&cluster.labels)?,
        cluster.max_disk_bytes.map(bigint).transpose()?,
        cluster.can_replicate,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A cluster, locked until the transaction ends.
pub(crate) async fn find_for_update(
    connection: &mut PgConnection,
    name: &ClusterName,
) -> Result<Option<ClusterRow>, sqlx::Error> {
    sqlx::query!(
        r#"select name as "name!" from registry.cluster where name = $1 for no key update"#,
        name.as_str(),
    )
    .fetch_optional(&mut *connection)
    .await?;
    find(connection, name).await
}

/// How often the login of the schemas was set again there.
pub(crate) async fn schema_login_resets(
    connection: &mut PgConnection,
    name: &ClusterName,
) -> Result<i32, sqlx::Error> {
    let row = sqlx::query!(
        "select schema_login_resets from registry.cluster where name = $1",
        name.as_str(),
    )
    .fetch_one(connection)
    .await?;
    Ok(row.schema_login_resets)
}

/// Notes that it was set again.
pub(crate) async fn count_schema_login_reset(
    connection: &mut PgConnection,
    name: &ClusterName,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update registry.cluster set schema_login_resets = schema_login_resets + 1 where name = $1",
        name.as_str(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Stores what an operator may change of a cluster. The row must be locked.
pub(crate) async fn update(
    connection: &mut PgConnection,
    cluster: &ClusterRow,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update registry.cluster
         set status = $2, labels = $3, tiers = $4, weight = $5, connection_budget = $6,
             max_databases = $7, max_disk_bytes = $8, host = $9, port = $10, tls = $11,
             -- What was measured is of the server that was there.
             measured_at = case when (host, port) = ($9, $10) then measured_at end,
             updated_at = now()
         where name = $1",
        cluster.name.as_str(),
        cluster.status.as_str(),
        to_json(&cluster.labels)?,
        cluster.tiers.as_deref(),
        int(cluster.weight)?,
        int(cluster.connection_budget)?,
        cluster.max_databases.map(int).transpose()?,
        cluster.max_disk_bytes.map(bigint).transpose()?,
        cluster.host,
        i32::from(cluster.port),
        cluster.tls.as_str(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Stores the port at which a cluster's server is reached.
pub(crate) async fn set_port(
    connection: &mut PgConnection,
    name: &ClusterName,
    port: u16,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update registry.cluster set port = $2, updated_at = now() where name = $1 and port <> $2",
        name.as_str(),
        i32::from(port),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Stores the password of a cluster's `tn_query`.
pub(crate) async fn set_query_credential(
    connection: &mut PgConnection,
    name: &ClusterName,
    reference: &SecretRef,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update registry.cluster set query_credential = $2, updated_at = now() where name = $1",
        name.as_str(),
        reference.0,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The clusters of a region as placement sees them, locked until the transaction ends, so that
/// what is chosen still has room at the commit.
pub(crate) async fn lock_candidates(
    connection: &mut PgConnection,
    region: &str,
) -> Result<Vec<Candidate>, sqlx::Error> {
    let rows = sqlx::query!(
        "select name, status, max_databases, tiers, labels, weight, max_disk_bytes
         from registry.cluster where region = $1 order by name for no key update",
        region,
    )
    .fetch_all(&mut *connection)
    .await?;
    let names: Vec<String> = rows.iter().map(|row| row.name.clone()).collect();
    // A statement of its own: one that waited for the lock would count what was there before.
    let holdings = holdings(connection, &names).await?;
    rows.into_iter()
        .map(|row| {
            let held = holdings.get(&row.name).copied().unwrap_or_default();
            Ok(Candidate {
                name: parsed("cluster.name", &row.name)?,
                region: region.to_owned(),
                status: parsed("cluster.status", &row.status)?,
                tiers: row.tiers,
                labels: json("cluster.labels", row.labels)?,
                weight: number("cluster.weight", row.weight)?,
                databases: held.tenants + held.coming,
                used_bytes: held.used_bytes.unwrap_or_default() + held.coming_bytes,
                connections: held.connections,
                max_disk_bytes: row
                    .max_disk_bytes
                    .map(|most| number("cluster.max_disk_bytes", most))
                    .transpose()?,
                max_databases: row
                    .max_databases
                    .map(|most| number("cluster.max_databases", most))
                    .transpose()?,
            })
        })
        .collect()
}
