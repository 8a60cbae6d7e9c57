//! Drift: how tenants' schemas differ from what the migrations make, and how that is mended.
//!
//! Deliberately compares with databases that were migrated for this alone, on the same server, each to
//! the versions of the tenants that it is for: neither an old template nor another release of PostgreSQL
//! says what is expected. Invariants: data is never read, and nothing that holds data is taken away; what
//! is mended is mended by the statement that the report shows, and brings nobody to other versions.

pub(crate) mod diff;
pub(crate) mod look;
pub(crate) mod reference;
pub(crate) mod store;

use axum::extract::State;
use axum::response::Response;
use contract::operator::operation::OperationView;
use contract::operator::rollout::DriftRequest;
use kit::error::{Problem, Result};
use kit::extract::{Json, Query};
use serde_json::json;
use utoipa_axum::router::OpenApiRouter;

use crate::operations::Subject;
use crate::operations::begin::{Begin, Planned, WaitQuery, begin};
use crate::operations::drift::DriftPlan;
use crate::operators::{Operator, RolloutsWrite};
use crate::platform::Platform;
use crate::registry::to_json;
use crate::tenants;
use crate::tenants::idempotency::MaybeIdempotencyKey;

/// Compare tenants' schemas with what the migrations of their versions make.
///
/// The operation's result lists what is missing, extra or different, with the statement that mends it
/// where one does; rights, or rights and objects, are mended where that is asked for. A tenant that is
/// behind is compared with what the migrations up to its own versions make, and stays behind.
/// `not_compared` names those that nothing can be held against, with the reason: `ahead` (a schema is newer
/// than what a living service brings), `unowned` (no living service owns one of its schemas), `not_made`
/// (the services made other versions than they were asked for), `too_many_versions` (more than 16
/// combinations are on its cluster; those of most tenants come first), `changed` (migrated meanwhile).
#[utoipa::path(
    post,
    path = "/v1/drift",
    operation_id = "drift.begin",
    tag = "roll-outs",
    params(WaitQuery),
    request_body = DriftRequest,
    responses(
        (status = 200, description = "The report.", body = OperationView),
        (status = 202, description = "Under way.", body = OperationView, headers(("location" = String), ("retry-after" = u32))),
    )
)]
pub(crate) async fn compare(
    operator: Operator<RolloutsWrite>,
    State(platform): State<Platform>,
    Query(query): Query<WaitQuery>,
    key: MaybeIdempotencyKey,
    Json(request): Json<DriftRequest>,
) -> Result<Response> {
    if !request.filter.is_of_living() {
        let rule = "is active or suspended: others have no schema to compare";
        return Err(Problem::field("/filter/status", rule));
    }
    let wanted = Begin {
        actor: operator.actor(),
        key,
        request: to_json(&request)?,
        wait: query.wait,
    };
    begin(&platform, wanted, move |connection, _| {
        Box::pin(async move {
            tenants::named::selection(connection, &request.filter).await?;
            Ok(Planned {
                subject: Subject::Fleet,
                detail: json!({ "repair": request.repair }),
                plan: DriftPlan::new(request).into(),
            })
        })
    })
    .await
}

pub(crate) fn router() -> OpenApiRouter<Platform> {
    kit::operations!(compare)
}
