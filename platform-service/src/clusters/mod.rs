//! Clusters: the PostgreSQL servers that hold tenants' databases, and what operators see of them.
//!
//! Deliberately without tenants: operations put them there. Invariant: a server becomes a cluster
//! only when every check of it passed, and its administrator's login is used once and kept nowhere.

mod add;
mod address;
pub(crate) mod away;
pub(crate) mod beside;
mod capacity;
mod change;
pub(crate) mod connections;
pub(crate) mod drops;
mod keeper;
mod measure;
pub(crate) mod moving;
pub(crate) mod owner;
pub(crate) mod placement;
pub(crate) mod postgres;
mod proof;
mod query_login;
mod remove;
pub(crate) mod requirements;
mod roles;
pub(crate) mod scram;
pub(crate) mod services;
pub(crate) mod spare;
pub(crate) mod stock;
pub(crate) mod store;
mod template;

use std::collections::BTreeMap;

use axum::extract::State;
use contract::tenant::TlsMode;
use contract::{ClusterName, Code};
use http::StatusCode;
use kit::error::{Problem, Result};
use kit::extract::{Json, Path, Query};
use kit::page::{Limit, Page};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa_axum::router::OpenApiRouter;

use crate::operators::{ClustersRead, ClustersWrite, Operator};
use crate::platform::Platform;

pub(crate) use add::NewCluster;
pub(crate) use connections::Connections;
pub(crate) use keeper::keep;
pub(crate) use measure::keep_measured;
pub(crate) use placement::ClusterStatus;
pub(crate) use postgres::{is_in_use, is_race};
pub(crate) use store::registry_database::registry_database;
use store::{ClusterRow, Holdings};

/// A cluster, as operators see it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(example = json!({
    "name": "main", "region": "eu-central-1", "host": "db-1.internal", "port": 5432,
    "tls": "verify-full", "status": "active", "connection_budget": 60, "max_databases": 800,
    "tiers": null, "labels": {"disk": "nvme"}, "weight": 1, "max_disk_bytes": 500_000_000_000_i64,
    "used_bytes": 91_000_000_000_i64, "server_connections": 97, "used_connections": 31, "server_version": 170002, "can_replicate": true,
    "tenants": 412, "stock": 2, "created_at": "2026-01-05T09:30:00Z"
}))]
pub(crate) struct ClusterView {
    /// Its name.
    name: ClusterName,
    /// Where it stands.
    region: String,
    /// Host name or address.
    host: String,
    /// TCP port.
    port: u16,
    /// How connections to it are protected.
    tls: TlsMode,
    /// Whether new tenants are placed on it.
    status: ClusterStatus,
    /// Server connections that all tenants on it may hold together.
    connection_budget: u32,
    /// Databases that it may hold; `null` is unlimited.
    max_databases: Option<u32>,
    /// Tiers that it is kept for; `null` takes every tier.
    tiers: Option<Vec<String>>,
    /// What tenants may ask of their cluster.
    labels: BTreeMap<String, String>,
    /// Share of new tenants relative to the other clusters of the region.
    weight: u32,
    /// Bytes that its databases may take; `null` is unlimited. Placement leaves a tenth free.
    #[schema(value_type = Option<i64>)]
    max_disk_bytes: Option<u64>,
    /// Bytes that its databases took when they were last measured; `null` before that.
    #[schema(value_type = Option<i64>)]
    used_bytes: Option<u64>,
    /// Connections that its server has for ordinary logins, when it was last measured.
    server_connections: Option<u32>,
    /// How many of them were used then; placement chooses it last where it is nine tenths or more.
    used_connections: Option<u32>,
    /// As `server_version_num` says, e.g. 170002 for 17.2.
    server_version: i32,
    /// Whether big tenants can be moved off it by replication, without a long hold.
    can_replicate: bool,
    /// Tenants on it.
    tenants: u32,
    /// Ready databases.
    stock: u32,
    /// When it was added.
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
}

impl ClusterView {
    fn new(row: ClusterRow, holdings: Holdings) -> Self {
        Self {
            name: row.name,
            region: row.region,
            host: row.host,
            port: row.port,
            tls: row.tls,
            status: row.status,
            connection_budget: row.connection_budget,
            max_databases: row.max_databases,
            tiers: row.tiers,
            labels: row.labels,
            weight: row.weight,
            max_disk_bytes: row.max_disk_bytes,
            used_bytes: holdings.used_bytes,
            server_connections: holdings.connections.map(|connections| connections.all),
            used_connections: holdings.connections.map(|connections| connections.used),
            server_version: row.server_version,
            can_replicate: row.can_replicate,
            tenants: holdings.tenants,
            stock: holdings.stock,
            created_at: row.created_at,
        }
    }
}

/// A cluster that was just added, and what its server should change.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct AddedCluster {
    /// The cluster.
    #[serde(flatten)]
    cluster: ClusterView,
    /// Settings of the server that work but should be others.
    warnings: Vec<ServerWarning>,
}

/// Something about a server that works but should be otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub(crate) struct ServerWarning {
    /// What it is about: the name of a setting where it is one.
    #[schema(example = "recovery_init_sync_method")]
    about: &'static str,
    /// What to do, and why.
    detail: String,
}

/// Which clusters to list.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ClustersQuery {
    /// How many, 1 to 100.
    #[serde(default)]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 100, default = 20)]
    limit: Limit,
    /// The name of the last one of the page before.
    starting_after: Option<ClusterName>,
}

/// List clusters.
#[utoipa::path(
    get,
    path = "/v1/clusters",
    operation_id = "clusters.list",
    tag = "clusters",
    params(ClustersQuery),
    responses((status = 200, description = "Clusters in the order of their names.", body = Page<ClusterView>))
)]
pub(crate) async fn list(
    _operator: Operator<ClustersRead>,
    State(platform): State<Platform>,
    Query(query): Query<ClustersQuery>,
) -> Result<Json<Page<ClusterView>>> {
    let mut registry = platform.registry.acquire().await?;
    let after = query.starting_after.as_ref();
    let rows = store::list(&mut registry, after, query.limit.probe()).await?;
    let names: Vec<String> = rows.iter().map(|row| row.name.to_string()).collect();
    let holdings = store::holdings(&mut registry, &names).await?;
    let page = Page::of(rows, query.limit).map(|row| {
        let held = holdings.get(row.name.as_str()).copied().unwrap_or_default();
        ClusterView::new(row, held)
    });
    Ok(Json(page))
}

/// Show a cluster.
#[utoipa::path(
    get,
    path = "/v1/clusters/{name}",
    operation_id = "clusters.show",
    tag = "clusters",
    params(("name" = ClusterName, Path, example = "main")),
    responses((status = 200, description = "The cluster.", body = ClusterView))
)]
pub(crate) async fn show(
    _operator: Operator<ClustersRead>,
    State(platform): State<Platform>,
    Path(name): Path<ClusterName>,
) -> Result<Json<ClusterView>> {
    let mut registry = platform.registry.acquire().await?;
    let row = store::find(&mut registry, &name)
        .await?
        .ok_or_else(|| Problem::new(Code::NotFound))?;
    let holdings = store::holdings(&mut registry, &[name.to_string()]).await?;
    let held = holdings.get(name.as_str()).copied().unwrap_or_default();
    Ok(Json(ClusterView::new(row, held)))
}

/// Add an existing server as a cluster.
///
/// Checks its version, the administrator's rights and its settings, makes the platform's roles on
/// it and closes its maintenance databases to everybody else. Every check that fails is named.
#[utoipa::path(
    post,
    path = "/v1/clusters",
    operation_id = "clusters.create",
    tag = "clusters",
    request_body = NewCluster,
    responses((status = 201, description = "Added.", body = AddedCluster))
)]
pub(crate) async fn create(
    operator: Operator<ClustersWrite>,
    State(platform): State<Platform>,
    Json(new): Json<NewCluster>,
) -> Result<(StatusCode, Json<AddedCluster>)> {
    let (row, warnings) = add::add(&platform, operator.actor(), new).await?;
    let cluster = ClusterView::new(row, Holdings::default());
    Ok((
        StatusCode::CREATED,
        Json(AddedCluster { cluster, warnings }),
    ))
}

pub(crate) fn router() -> OpenApiRouter<Platform> {
    kit::operations!(list, show, create)
        .merge(change::router())
        .merge(remove::router())
}
