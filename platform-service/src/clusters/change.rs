//! Operators change a cluster: status, labels, tiers, weight, capacity, and where its server is reached.
//!
//! Deliberately not its region or its name: those are what tenants were placed by. Invariants: a change
//! commits with its audit row; another address is proven to be the same cluster first, and reaches the
//! replicas with a new generation of each tenant there.

use axum::extract::State;
use contract::operator::cluster::ClusterPatch;
use contract::{ClusterName, Code};
use kit::error::{Problem, Result, kept};
use kit::extract::{Json, Path};
use serde_json::Value;
use utoipa_axum::router::OpenApiRouter;

use super::add::check_address;
use super::address::{Address, host_rule, port_rule};
use super::capacity::Capacity;
use super::proof::{self, Proof};
use super::store::{self, ClusterRow};
use super::{ClusterView, Holdings, measure};
use crate::audit::{self, Action};
use crate::operators::{ClustersWrite, Operator};
use crate::platform::Platform;
use crate::{tenants, tiers};

/// Change a cluster's status, labels, tiers, weight, capacity or address.
///
/// What is on it stays: see the drain for that. Another connection budget reaches the services with
/// their next heartbeat, and the roles of the tenants there, whose connection limit it is, soon; one that is larger than its server has connections is refused. Another host, port
/// or way of protection is for the same server, or one that took its place: what answers there has to be
/// this cluster with every database that is served from it, no standby, and the only one that takes writes:
/// a server that it takes over from is stopped first. Services turn to it at once; what is under way at the
/// old address ends there.
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
    let proof = prove(&platform, &name, &patch).await?;
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
    let before = row.clone();
    let budget = patch.connection_budget;
    let row = changed(row, patch)?;
    let moved = Address::from(&before) != Address::from(&row);
    match &proof {
        Some(proof) => proof.holds(&before, row.connection_budget)?,
        // Since this looked, somebody else turned it to yet another address.
        None if moved => return Err(proof::changed_meanwhile()),
        None => fits(budget, held)?,
    }
    store::update(&mut transaction, &row).await?;
    let action = Action::ClusterUpdated;
    audit::record(&mut transaction, operator.actor(), action, None, detail).await?;
    if moved {
        let there = tenants::store::Renewed::On(&name);
        let renewed = tenants::store::renew(&mut transaction, there).await?;
        renewed.announce(&mut transaction).await?;
    }
    transaction.commit().await?;
    platform.feed.ring();
    platform.clusters.nudge();
    if before.connection_budget != row.connection_budget {
        tokio::spawn(follow_budget(platform, name));
    }
    Ok(Json(ClusterView::new(row, held)))
}

/// Lets the roles of its tenants follow the budget now; where that fails, the next measuring does it.
async fn follow_budget(platform: Platform, name: ClusterName) {
    let followed = async {
        let server = platform.server(&name).await?;
        let mut connection = server.acquire().await?;
        measure::follow_budget(&server, &mut connection).await
    };
    if let Err(stop) = followed.await {
        let cause = stop.words();
        tracing::warn!(cluster = %name, cause, "the roles of tenants keep the limit of before");
    }
}

/// Whether the server has as many connections as it was asked for.
fn fits(budget: Option<u32>, held: Holdings) -> Result<()> {
    match (budget, held.connections) {
        (Some(budget), Some(server)) if budget > server.all => {
            let rule = format!(
                "is more than the server has: {} connections for ordinary logins (max_connections)",
                server.all
            );
            Err(Problem::field("/connection_budget", rule))
        }
        _ => Ok(()),
    }
}

/// Looks at the address that a change names, if it is another one.
async fn prove(
    platform: &Platform,
    name: &ClusterName,
    patch: &ClusterPatch,
) -> Result<Option<Proof>> {
    if patch.host.is_none() && patch.port.is_none() && patch.tls.is_none() {
        return Ok(None);
    }
    let mut registry = platform.registry.acquire().await?;
    let before = store::find(&mut registry, name).await?;
    let before = before.ok_or_else(|| Problem::new(Code::NotFound))?;
    let host = patch.host.as_deref().unwrap_or(&before.host).to_owned();
    let to = Address {
        host: &host,
        port: patch.port.unwrap_or(before.port),
        tls: patch.tls.unwrap_or(before.tls),
    };
    if to == Address::from(&before) {
        return Ok(None);
    }
    kept([host_rule(to.host), port_rule(to.port)])?;
    if (to.host, to.port) != (before.host.as_str(), before.port) {
        check_address(&mut registry, to.host, to.port).await?;
    }
    drop(registry);
    proof::prove(platform, before, to).await.map(Some)
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
