//! Asking for a dry run of a roll-out.
//!
//! Deliberately one tenant at a time: its data is copied. Invariant: nobody is served from the copy.

use axum::extract::State;
use axum::response::Response;
use contract::operator::operation::OperationView;
use contract::operator::rollout::RolloutTrialRequest;
use contract::{Code, TenantStatus};
use kit::error::{Problem, Result};
use kit::extract::{Json, Query};
use serde_json::json;
use utoipa_axum::router::OpenApiRouter;

use crate::operations::Subject;
use crate::operations::begin::{Begin, Planned, WaitQuery, begin};
use crate::operations::trial::TrialPlan;
use crate::operators::{Operator, RolloutsWrite};
use crate::platform::Platform;
use crate::registry::to_json;
use crate::tenants;
use crate::tenants::idempotency::MaybeIdempotencyKey;

/// Try the newest schema on a copy of a tenant's database.
///
/// The copy is migrated and thrown away; the tenant is only read, and served meanwhile. The operation's
/// result has the versions before and after, how long the migrations took, and the migration that
/// failed with its SQLSTATE and statement.
#[utoipa::path(
    post,
    path = "/v1/rollouts/trial",
    operation_id = "rollouts.trial",
    tag = "roll-outs",
    params(WaitQuery),
    request_body = RolloutTrialRequest,
    responses(
        (status = 200, description = "What came of it.", body = OperationView),
        (status = 202, description = "Under way.", body = OperationView, headers(("location" = String), ("retry-after" = u32))),
    )
)]
pub(crate) async fn trial(
    operator: Operator<RolloutsWrite>,
    State(platform): State<Platform>,
    Query(query): Query<WaitQuery>,
    key: MaybeIdempotencyKey,
    Json(request): Json<RolloutTrialRequest>,
) -> Result<Response> {
    let wanted = Begin {
        actor: operator.actor(),
        key,
        request: to_json(&request)?,
        wait: query.wait,
    };
    begin(&platform, wanted, move |connection, _| {
        Box::pin(async move {
            let tenant = tenants::store::find_for_update(connection, &request.tenant)
                .await?
                .ok_or_else(|| Problem::new(Code::NotFound).detail("There is no such tenant."))?;
            if !matches!(
                tenant.status,
                TenantStatus::Active | TenantStatus::Suspended
            ) {
                let words = "Only a tenant that is active or suspended has a schema to try on.";
                return Err(Problem::new(Code::Conflict).detail(words));
            }
            Ok(Planned {
                plan: TrialPlan::of(&tenant)?.into(),
                subject: Subject::Tenant(tenant.id),
                detail: json!({}),
            })
        })
    })
    .await
}

pub(crate) fn router() -> OpenApiRouter<Platform> {
    kit::operations!(trial)
}
