//! The doctor: what of the clusters and of the platform should be otherwise, and what mends it.
//!
//! Deliberately in two halves: [`facts`] asks, [`judge`] decides without asking anything. Invariant:
//! every check is in every answer, so that what is missing from it was not looked at; a cluster that
//! does not answer is itself a diagnosis and holds up no other.

mod facts;
mod judge;
mod look;
mod store;
#[cfg(test)]
mod tests;

use axum::extract::State;
use contract::operator::upkeep::Diagnosis;
use contract::{ClusterName, Code};
use kit::error::{Problem, Result};
use kit::extract::{Json, Query};
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;

use crate::operators::{ClustersRead, Operator};
use crate::platform::Platform;

/// What to look at.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct DoctorQuery {
    /// Only this cluster; left out for all of them and the platform.
    cluster: Option<ClusterName>,
}

/// Examine the clusters and the platform.
///
/// Each diagnosis says what was found, why it matters, and the command that mends it. Asks every
/// cluster; a cluster that does not answer within ten seconds is one diagnosis.
#[utoipa::path(
    get,
    path = "/v1/doctor",
    operation_id = "doctor.examine",
    tag = "upkeep",
    params(DoctorQuery),
    responses((status = 200, description = "Every check, the worst first.", body = Vec<Diagnosis>))
)]
pub(crate) async fn examine(
    _operator: Operator<ClustersRead>,
    State(platform): State<Platform>,
    Query(query): Query<DoctorQuery>,
) -> Result<Json<Vec<Diagnosis>>> {
    let clusters = facts::clusters(&platform, query.cluster.as_ref()).await?;
    if query.cluster.is_some() && clusters.is_empty() {
        return Err(Problem::new(Code::NotFound).detail("There is no such cluster."));
    }
    let mut diagnoses: Vec<Diagnosis> = clusters.iter().flat_map(judge::cluster).collect();
    if query.cluster.is_none() {
        diagnoses.extend(judge::platform(&facts::platform(&platform).await?));
    }
    diagnoses.sort_by(|one, other| {
        other
            .verdict
            .cmp(&one.verdict)
            .then_with(|| one.place.cmp(&other.place))
    });
    Ok(Json(diagnoses))
}

pub(crate) fn router() -> OpenApiRouter<Platform> {
    kit::operations!(examine)
}
