//! Operators change a cluster: status, labels, tiers, weight, capacity, and where its server is reached.
//!
//! Deliberately not its region or its name: those are what tenants were placed by. Invariants: a change
//! commits with its audit row; another address is proven to be the same cluster first, and reaches the
//! replicas with a new generation of each tenant there.

use adapters::secret_store::{ClusterRole, SecretSubject};
use axum::extract::State;
use contract::operator::cluster::ClusterPatch;
use contract::tenant::PLATFORM_ROLE;
use contract::{ClusterName, Code};
use kit::db::Login;
use kit::error::{Problem, Result, kept};
use kit::extract::{Json, Path};
use serde_json::Value;
use sqlx::{Connection as _, PgConnection};
use utoipa_axum::router::OpenApiRouter;

use super::add::{check_address, connect_at, host_rule, port_rule, refuse, words};
use super::capacity::Capacity;
use super::connections::{APPLICATION, MAINTENANCE_DATABASE};
use super::roles::{self, Mark};
use super::store::{self, ClusterRow};
use super::{ClusterView, Holdings};
use crate::audit::{self, Action};
use crate::operators::{ClustersWrite, Operator};
use crate::platform::Platform;
use crate::{feed, tenants, tiers};

/// Change a cluster's status, labels, tiers, weight, capacity or address.
///
/// What is on it stays: see the drain for that. A smaller connection budget reaches the services with
/// their next heartbeat; one that is larger than its server has connections is refused. Another host, port
/// or way of protection is for the same server, or one that took its place: what answers there has to be
/// this cluster, and no standby. Services turn to it at once; what is under way at the old address ends
/// there.
#[utoipa::path(
    patch,
    path = "/v1/clusters/{name}",
    operation_id = "clusters.update",
    tag = "clusters",
    params(("name" = ClusterName, Path, example = "main")),
    request_body = ClusterPatch,
    responses((status = 200, description = "The cluster after it.", body = ClusterView))
)]
pub(super) async fn update(
    operator: Operator<ClustersWrite>,
    State(platform): State<Platform>,
    Path(name): Path<ClusterName>,
    Json(patch): Json<ClusterPatch>,
) -> Result<Json<ClusterView>> {
    let mut transaction = platform.registry.begin().await?;
    let row = store::find_for_update(&mut transaction, &name)
        .await?
        .ok_or_else(|| Problem::new(Code::NotFound))?;
    for tier in patch.tiers.iter().flatten().flatten() {
        tiers::check(&mut transaction, tier).await?;
    }
    let mut detail = serde_json::to_value(&patch).map_err(Problem::internal)?;
    if let Value::Object(fields) = &mut detail {
        fields.insert("cluster".to_owned(), name.to_string().into());
    }
    let holdings = store::holdings(&mut transaction, &[name.to_string()]).await?;
    let held: Holdings = holdings.get(name.as_str()).copied().unwrap_or_default();
    if let (Some(budget), Some(server)) = (patch.connection_budget, held.connections)
        && budget > server.all
    {
        let rule = format!(
            "is more than the server has: {} connections for ordinary logins (max_connections)",
            server.all
        );
        return Err(Problem::field("/connection_budget", rule));
    }
    let before = row.clone();
    let row = changed(row, patch)?;
    let moved = (&before.host, before.port, before.tls) != (&row.host, row.port, row.tls);
    if moved {
        if (&before.host, before.port) != (&row.host, row.port) {
            check_address(&mut transaction, &row.host, row.port).await?;
        }
        prove(&platform, &mut transaction, &row).await?;
    }
    store::update(&mut transaction, &row).await?;
    let action = Action::ClusterUpdated;
    audit::record(&mut transaction, operator.actor(), action, None, detail).await?;
    if moved {
        let there = tenants::store::Renewed::On(&name);
        let renewed = tenants::store::renew(&mut transaction, there).await?;
        // Last in the transaction: see the feed.
        feed::store::record_many(&mut transaction, &renewed).await?;
    }
    transaction.commit().await?;
    platform.feed.ring();
    platform.clusters.nudge();
    Ok(Json(ClusterView::new(row, held)))
}

/// Proves that what answers at a cluster's new address is that cluster.
async fn prove(platform: &Platform, registry: &mut PgConnection, row: &ClusterRow) -> Result<()> {
    let subject = SecretSubject::Cluster(row.name.clone(), ClusterRole::Platform);
    let password = platform.seal.open(&subject, &row.platform_credential).await;
    let password = password.map_err(Problem::internal)?;
    let login = Login {
        role: PLATFORM_ROLE,
        password: &password,
        database: MAINTENANCE_DATABASE,
        application: APPLICATION,
    };
    let refused = |error: sqlx::Error| {
        let field = match error {
            sqlx::Error::Tls(_) => "/tls",
            _ => "/host",
        };
        let rule = format!("the cluster cannot be entered there: {}", words(&error));
        Problem::field(field, rule)
    };
    let connected = connect_at((&row.host, row.port, row.tls), login).await;
    let mut connection = connected.map_err(refused)?;
    let inspection = roles::inspect(&mut connection).await.map_err(refused)?;
    let ours = Mark::new(&row.name, store::installation(registry).await?);
    if inspection.mark() != Some(ours) {
        let rule = "the server there is not this cluster";
        return Err(Problem::field("/host", rule));
    }
    refuse(inspection.judge(row.connection_budget).0)?;
    connection.close().await.map_err(refused)
}

fn changed(mut row: ClusterRow, patch: ClusterPatch) -> Result<ClusterRow> {
    row.host = patch.host.unwrap_or(row.host);
    row.port = patch.port.unwrap_or(row.port);
    row.tls = patch.tls.unwrap_or(row.tls);
    row.status = patch.status.unwrap_or(row.status);
    row.labels = patch.labels.unwrap_or(row.labels);
    row.tiers = patch.tiers.unwrap_or(row.tiers);
    row.weight = patch.weight.unwrap_or(row.weight);
    row.connection_budget = patch.connection_budget.unwrap_or(row.connection_budget);
    row.max_databases = patch.max_databases.unwrap_or(row.max_databases);
    row.max_disk_bytes = patch.max_disk_bytes.unwrap_or(row.max_disk_bytes);
    let capacity = Capacity {
        connection_budget: row.connection_budget,
        max_databases: row.max_databases,
        max_disk_bytes: row.max_disk_bytes,
        weight: row.weight,
        tiers: row.tiers.as_deref(),
        labels: &row.labels,
    };
    let address = [host_rule(&row.host), port_rule(row.port)];
    kept(address.into_iter().chain(capacity.rules()))?;
    Ok(row)
}

pub(super) fn router() -> OpenApiRouter<Platform> {
    kit::operations!(update)
}
