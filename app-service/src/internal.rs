//! The internal listener: what the platform asks of this service.
//!
//! Deliberately the only way to a tenant without a person's token, behind the platform's service
//! credential and on a listener of its own: the doors `Migrate` (a database, as the schema owner)
//! and `Service` (a tenant that is being made, as its own role). Invariant: a database is opened
//! only with the marker that the platform named.

use std::sync::Arc;

use axum::extract::State;
use contract::internal::{
    MigrateAnswer, MigrateRequest, OwnershipAct, OwnershipRequest, ProvisionRequest,
};
use http::StatusCode;
use kit::auth::service::ServiceCaller;
use kit::error::Problem;
use kit::extract::Json;
use kit::observe::Notes;
use utoipa_axum::router::OpenApiRouter;

use crate::state::AppState;
use crate::tenancy::Tenant;

/// The internal operations.
pub(crate) fn router() -> OpenApiRouter<AppState> {
    kit::operations![migrate, ownership, provision]
}

/// Brings this service's schemas in a database to their newest version, and then in each of `more`.
///
/// A problem is the first one's. The call ends with the first that does not come up, and after
/// `migrations.call_budget` begins no other one: the caller decides whether those that are left have their turn.
#[utoipa::path(
    post, path = "/internal/migrate", operation_id = "internal.migrate", tag = "internal",
    request_body = MigrateRequest,
    responses((status = 200, description = "The versions after it, of each that had its turn.", body = MigrateAnswer)),
)]
async fn migrate(
    _caller: ServiceCaller,
    State(state): State<AppState>,
    Json(request): Json<MigrateRequest>,
) -> Result<Json<MigrateAnswer>, Problem> {
    Ok(Json(state.migrator().migrate(&request).await?))
}

/// Makes somebody the owner of a tenant, takes that back, or says whether it could be done.
///
/// `give` and `take_back` are kept, and have no second effect. `look` changes nothing: whatever a module
/// wrote to find out is rolled back.
#[utoipa::path(
    post, path = "/internal/ownership", operation_id = "internal.ownership", tag = "internal",
    request_body = OwnershipRequest,
    responses((status = 204, description = "Done, now or before; or it could be done.")),
)]
async fn ownership(
    _caller: ServiceCaller,
    State(state): State<AppState>,
    Json(request): Json<OwnershipRequest>,
) -> Result<StatusCode, Problem> {
    let tenant = Tenant::for_platform(&state, request.route.clone(), Arc::<Notes>::default());
    let mut transaction = tenant.begin().await?;
    for hook in state.ownership_hooks() {
        hook(&mut transaction, &request).await?;
    }
    match request.act {
        OwnershipAct::Look { .. } => transaction.rollback().await?,
        OwnershipAct::Give { .. } | OwnershipAct::TakeBack => transaction.commit().await?,
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Runs the modules' provisioning in a new tenant's database; the owner's account is part of it.
#[utoipa::path(
    post, path = "/internal/provision", operation_id = "internal.provision", tag = "internal",
    request_body = ProvisionRequest,
    responses((status = 204, description = "Done, now or before.")),
)]
async fn provision(
    _caller: ServiceCaller,
    State(state): State<AppState>,
    Json(request): Json<ProvisionRequest>,
) -> Result<StatusCode, Problem> {
    let tenant = Tenant::for_platform(&state, request.route.clone(), Arc::<Notes>::default());
    let mut transaction = tenant.begin().await?;
    for hook in state.provision_hooks() {
        hook(&mut transaction, &request).await?;
    }
    transaction.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
