//! Operators change who gets at a tenant: the password of its role, its owner.
//!
//! Deliberately only what is checked and chosen before the operations. Invariant: a password that is sent
//! is hashed before anything is recorded, and is part of no record.

use axum::extract::State;
use axum::response::Response;
use contract::internal::{NewOwner, OwnershipAct, OwnershipRequest};
use contract::operator::operation::OperationView;
use contract::operator::tenant::TransferRequest;
use contract::{Code, Secret, TenantId, TenantStatus};
use kit::error::{Problem, Result};
use kit::extract::{Json, Path, Query};
use kit::passwords::Password;
use serde_json::json;
use utoipa_axum::router::OpenApiRouter;
use uuid::Uuid;

use super::idempotency::MaybeIdempotencyKey;
use super::life::locked;
use super::{TenantRow, rules, store};
use crate::clusters::services::{self, Occasion};
use crate::operations::begin::{Begin, Planned, WaitQuery, begin};
use crate::operations::transfer::TransferPlan;
use crate::operations::{Subject, rotate};
use crate::operators::{Operator, TenantsWrite};
use crate::platform::Platform;
use crate::stop::Stop;

/// Replace the password of a tenant's role.
///
/// The old one and the new one are both good until the new one has opened the tenant's database, so no
/// request fails.
#[utoipa::path(
    post,
    path = "/v1/tenants/{id}/rotate",
    operation_id = "tenants.rotate",
    tag = "tenants",
    params(("id" = TenantId, Path, example = "t_acme_corp"), WaitQuery),
    responses(
        (status = 200, description = "The old password is gone.", body = OperationView),
        (status = 202, description = "It is under way.", body = OperationView,
            headers(("location" = String), ("retry-after" = u32))),
    )
)]
pub(crate) async fn rotate_password(
    operator: Operator<TenantsWrite>,
    State(platform): State<Platform>,
    Path(id): Path<TenantId>,
    Query(query): Query<WaitQuery>,
    key: MaybeIdempotencyKey,
) -> Result<Response> {
    let asked = Begin {
        actor: operator.actor(),
        key,
        request: json!({ "rotate": id }),
        wait: query.wait,
    };
    let within = platform.clone();
    begin(&platform, asked, move |connection, _| {
        Box::pin(async move {
            let row = locked(connection, &id).await?;
            served(&row)?;
            let plan = rotate::plan(&within, connection, &id).await?;
            Ok(Planned {
                subject: Subject::Tenant(id),
                plan: plan.into(),
                detail: json!({}),
            })
        })
    })
    .await
}

/// Give a tenant another owner.
///
/// Somebody who has an account in the tenant, or gets one with the password that is sent: where nobody
/// has the address and no password comes, it is refused with 422 and nothing is begun. The address
/// becomes the tenant's contact.
#[utoipa::path(
    post,
    path = "/v1/tenants/{id}/transfer",
    operation_id = "tenants.transfer",
    tag = "tenants",
    params(("id" = TenantId, Path, example = "t_acme_corp"), WaitQuery),
    request_body = TransferRequest,
    responses(
        (status = 200, description = "It has another owner.", body = OperationView),
        (status = 202, description = "It is under way.", body = OperationView,
            headers(("location" = String), ("retry-after" = u32))),
    )
)]
pub(crate) async fn transfer(
    operator: Operator<TenantsWrite>,
    State(platform): State<Platform>,
    Path(id): Path<TenantId>,
    Query(query): Query<WaitQuery>,
    key: MaybeIdempotencyKey,
    Json(request): Json<TransferRequest>,
) -> Result<Response> {
    let email = rules::email("/to", &request.to)?;
    let asked = Begin {
        actor: operator.actor(),
        key,
        // The password is left out.
        request: json!({ "transfer": id, "body": request }),
        wait: query.wait,
    };
    let account = match request.password {
        Some(password) => Some(new_owner(&platform, &email, password).await?),
        None => {
            can_be_owner(&platform, &id, &email).await?;
            None
        }
    };
    let plan = TransferPlan {
        email,
        account,
        others: request.others,
    };
    begin(&platform, asked, move |connection, _| {
        Box::pin(async move {
            let row = locked(connection, &id).await?;
            served(&row)?;
            if row.status != TenantStatus::Active {
                let detail = "It is suspended: resume it first.";
                return Err(Problem::new(Code::Conflict).detail(detail));
            }
            let detail = json!({ "others": plan.others });
            Ok(Planned {
                subject: Subject::Tenant(id),
                plan: plan.into(),
                detail,
            })
        })
    })
    .await
}

/// Whether somebody without a first password can become an owner, where that can be known now: what a
/// service that does not answer would say is found out by the operation.
async fn can_be_owner(platform: &Platform, id: &TenantId, email: &str) -> Result<()> {
    let (route, services) = {
        let mut registry = platform.registry.acquire().await?;
        let row = store::find(&mut registry, id).await?;
        if row.is_none_or(|row| row.status != TenantStatus::Active) {
            return Ok(());
        }
        let Some(route) = store::route(&mut registry, id).await? else {
            return Ok(());
        };
        (route, services::live(platform).await?)
    };
    let request = OwnershipRequest {
        route,
        change: Uuid::now_v7(),
        act: OwnershipAct::Look {
            email: email.to_owned(),
        },
    };
    let looked = services::run_hooks(platform, &services, Occasion::Ownership(&request)).await;
    let code = match &looked {
        Err(Stop::Fail(problem)) => Some(problem.code()),
        Err(Stop::Retry(_) | Stop::Later { .. }) | Ok(()) => None,
    };
    match code {
        Some(Code::NotFound) => Err(Problem::field(
            "/password",
            "is needed: nobody in the tenant has the address of `to`, and gets an account with it",
        )),
        Some(Code::Conflict) => Err(Problem::field(
            "/to",
            "has an account in the tenant that is disabled",
        )),
        _ => Ok(()),
    }
}

/// The owner's account that a password makes.
///
/// # Errors
/// The password is too easy to guess.
pub(crate) async fn new_owner(
    platform: &Platform,
    email: &str,
    password: Secret,
) -> Result<NewOwner> {
    let refused = |refusal: String| Problem::field("/password", refusal);
    let address = email.to_owned();
    // Guessing how hard it is to guess takes some milliseconds.
    let password = tokio::task::spawn_blocking(move || Password::parse(password, &[&address]))
        .await
        .map_err(Problem::internal)?
        .map_err(|refusal| refused(refusal.to_string()))?;
    Ok(NewOwner {
        user: Uuid::now_v7(),
        email: email.to_owned(),
        password_hash: platform.hasher.hash(&password).await?,
    })
}

/// Whether a tenant has a database of its own name.
fn served(row: &TenantRow) -> Result<()> {
    match row.status {
        TenantStatus::Active | TenantStatus::Suspended => Ok(()),
        TenantStatus::Provisioning => Err(Problem::new(Code::TenantProvisioning)),
        TenantStatus::Deleted => Err(Problem::new(Code::TenantDeleted)),
    }
}

pub(crate) fn router() -> OpenApiRouter<Platform> {
    kit::operations!(rotate_password, transfer)
}
