//! Operators change a cluster: status, labels, tiers, weight, capacity.
//!
//! Deliberately not its address, its region or its name: those are what tenants were placed by.
//! Invariant: a change commits with its audit row.

use axum::extract::State;
use contract::operator::cluster::ClusterPatch;
use contract::{ClusterName, Code};
use kit::error::{Problem, Result, kept};
use kit::extract::{Json, Path};
use serde_json::Value;
use utoipa_axum::router::OpenApiRouter;

use super::capacity::Capacity;
use super::store::{self, ClusterRow};
use super::{ClusterView, Holdings};
use crate::audit::{self, Action};
use crate::operators::{ClustersWrite, Operator};
use crate::platform::Platform;
use crate::tiers;

/// Change a cluster's status, labels, tiers, weight or capacity.
///
/// What is on it stays: see the drain for that. A smaller connection budget reaches the services with
/// their next heartbeat; one that is larger than its server has connections is refused.
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
    let row = changed(row, patch)?;
    store::update(&mut transaction, &row).await?;
    let action = Action::ClusterUpdated;
    audit::record(&mut transaction, operator.actor(), action, None, detail).await?;
    transaction.commit().await?;
    platform.clusters.nudge();
    Ok(Json(ClusterView::new(row, held)))
}

fn changed(mut row: ClusterRow, patch: ClusterPatch) -> Result<ClusterRow> {
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
    kept(capacity.rules())?;
    Ok(row)
}

pub(super) fn router() -> OpenApiRouter<Platform> {
    kit::operations!(update)
}
