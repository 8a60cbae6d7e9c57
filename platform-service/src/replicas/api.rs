//! The list of replicas over HTTP.
//!
//! Deliberately changes nothing: a replica says itself that it comes and goes. Invariant: what is shown of
//! a replica is what it last said.

use axum::extract::State;
use contract::ReplicaId;
use contract::operator::oversight::ReplicaView;
use kit::error::Result;
use kit::extract::{Json, Query};
use kit::page::{Limit, Page};
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;

use super::store::shown;
use crate::operators::{ClustersRead, Operator};
use crate::platform::Platform;

/// Which replicas to list.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ReplicasQuery {
    /// How many: 1 to 100.
    #[serde(default)]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 100, default = 20)]
    limit: Limit,
    /// The id of the last replica of the page before.
    starting_after: Option<ReplicaId>,
}

/// List the running processes of services that own schemas.
///
/// Each says every few seconds that it lives, and how far it has acted on changes of tenants: a request with
/// `wait=replicas` waits for all that live.
#[utoipa::path(
    get,
    path = "/v1/replicas",
    operation_id = "replicas.list",
    tag = "upkeep",
    params(ReplicasQuery),
    responses((status = 200, description = "A page of replicas.", body = Page<ReplicaView>))
)]
pub(crate) async fn list(
    _operator: Operator<ClustersRead>,
    State(platform): State<Platform>,
    Query(query): Query<ReplicasQuery>,
) -> Result<Json<Page<ReplicaView>>> {
    let mut registry = platform.registry.acquire().await?;
    let (after, limit) = (query.starting_after, query.limit.probe());
    let replicas = shown::list(&mut registry, after, limit).await?;
    Ok(Json(Page::of(replicas, query.limit)))
}

pub(crate) fn router() -> OpenApiRouter<Platform> {
    kit::operations!(list)
}
