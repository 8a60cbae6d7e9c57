//! What somebody who asked for a tenant is told.
//!
//! Deliberately one shape for a tenant that works and one that is being made. Invariant: the token
//! that reads the operation is in the answer alone; the registry has its digest.

use axum::response::{IntoResponse, Response};
use contract::{Code, OperationId, Slug, TenantId, TenantStatus};
use http::{HeaderValue, StatusCode, header};
use kit::error::{Problem, Result};
use kit::extract::Json;
use serde::Serialize;

use super::idempotency::PollToken;
use super::{NewTenant, store};
use crate::audit::Actor;
use crate::operations::OperationState;
use crate::operations::begin::Wait;
use crate::operations::store::{self as operations_store, OperationRow};
use crate::platform::Platform;

/// A tenant that was asked for: made, or being made.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[schema(example = json!({
    "id": "t_acme_corp", "slug": "acme-corp", "status": "active",
    "api_url": "http://127.0.0.1:8090",
    "login": {
        "method": "POST", "url": "http://127.0.0.1:8090/v1/auth/login",
        "headers": {"x-tenant-id": "t_acme_corp", "content-type": "application/json"},
        "body": {"email": "ada@acme.example", "password": "..."}
    }
}))]
pub(crate) struct SignupView {
    /// The tenant's id, for ever: what goes into `X-Tenant-Id`.
    id: TenantId,
    /// What people type for it.
    slug: Slug,
    /// `active` once the owner can log in.
    status: TenantStatus,
    /// Base URL of the tenant's API.
    #[schema(example = "http://127.0.0.1:8090")]
    api_url: String,
    /// How the owner logs in.
    login: LoginHint,
    /// Where to ask how far it is, as long as it is not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    operation: Option<OperationTicket>,
}

/// How the owner logs in.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct LoginHint {
    #[schema(example = "POST")]
    method: &'static str,
    #[schema(example = "http://127.0.0.1:8090/v1/auth/login")]
    url: String,
    /// Headers to send.
    headers: LoginHeaders,
    /// The body to send, with the password in place of the dots.
    body: LoginBody,
}

/// Headers of a login.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct LoginHeaders {
    x_tenant_id: TenantId,
    #[schema(example = "application/json")]
    content_type: &'static str,
}

/// Body of a login.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct LoginBody {
    #[schema(example = "ada@acme.example")]
    email: String,
    #[schema(example = "...")]
    password: &'static str,
}

/// Where to ask how far an operation is.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct OperationTicket {
    id: OperationId,
    /// The path to ask, with the token as bearer.
    #[schema(example = "/v1/operations/op_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f")]
    path: String,
    /// Lets you read the operation: keep it, it is not stored.
    #[schema(example = "poll_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")]
    token: String,
}

impl SignupView {
    fn new(platform: &Platform, new: &NewTenant, status: TenantStatus) -> Self {
        let api_url = platform.settings.public.api_url.clone();
        Self {
            id: new.id.clone(),
            slug: new.slug.clone(),
            status,
            login: LoginHint {
                method: "POST",
                url: format!("{api_url}/v1/auth/login"),
                headers: LoginHeaders {
                    x_tenant_id: new.id.clone(),
                    content_type: "application/json",
                },
                body: LoginBody {
                    email: new.contact_email.clone(),
                    password: "...",
                },
            },
            api_url,
            operation: None,
        }
    }
}

/// Answers a request that came again: how far the first one is.
pub(crate) async fn answer_repeat(
    platform: &Platform,
    actor: Actor,
    earlier: &OperationRow,
    token: &PollToken,
    wait: Wait,
) -> Result<Response> {
    let found = {
        let mut connection = platform.registry.acquire().await?;
        match earlier.subject.tenant() {
            Some(tenant) => store::find(&mut connection, tenant).await?,
            None => None,
        }
    };
    let Some(row) = found else {
        return Err(undone(actor, earlier));
    };
    let tenant = NewTenant {
        id: row.id,
        slug: row.slug,
        company: row.company,
        contact_email: row.contact_email,
        tier: row.tier,
        region: row.region,
        time_zone: row.time_zone,
        labels: row.labels,
    };
    if earlier.state == OperationState::Done {
        let view = SignupView::new(platform, &tenant, row.status);
        return made(platform, view, (earlier.id, token), wait).await;
    }
    let stands = (earlier.id, earlier.state);
    answer(platform, actor, &tenant, stands, token, wait).await
}

/// Answers that a tenant is made: 201, or 202 where replicas that are waited for have not heard of it.
async fn made(
    platform: &Platform,
    view: SignupView,
    (operation, token): (OperationId, &PollToken),
    wait: Wait,
) -> Result<Response> {
    if wait.is_over_once_done(platform).await? {
        return Ok((StatusCode::CREATED, Json(view)).into_response());
    }
    accepted(view, operation, token)
}

/// Answers where to ask how far it is.
fn accepted(mut view: SignupView, operation: OperationId, token: &PollToken) -> Result<Response> {
    let path = format!("/v1/operations/{operation}");
    let location = HeaderValue::from_str(&path).map_err(Problem::internal)?;
    view.operation = Some(OperationTicket {
        id: operation,
        path,
        token: token.expose().to_owned(),
    });
    let headers = [
        (header::LOCATION, location),
        (header::RETRY_AFTER, HeaderValue::from_static("1")),
    ];
    Ok((StatusCode::ACCEPTED, headers, Json(view)).into_response())
}

/// Answers a request whose operation stands there.
pub(crate) async fn answer(
    platform: &Platform,
    actor: Actor,
    tenant: &NewTenant,
    (operation, state): (OperationId, OperationState),
    token: &PollToken,
    wait: Wait,
) -> Result<Response> {
    let going_on = || {
        let view = SignupView::new(platform, tenant, TenantStatus::Provisioning);
        accepted(view, operation, token)
    };
    match state {
        // Who waits for nothing is told that it is recorded, however fast it ended.
        _ if wait == Wait::None => going_on(),
        OperationState::Done => {
            let view = SignupView::new(platform, tenant, TenantStatus::Active);
            made(platform, view, (operation, token), wait).await
        }
        OperationState::Undone => {
            let mut connection = platform.registry.acquire().await?;
            let row = operations_store::find(&mut connection, operation)
                .await?
                .ok_or_else(|| Problem::internal("an operation that is over has no row"))?;
            Err(undone(actor, &row))
        }
        OperationState::Running | OperationState::Unwinding | OperationState::Stuck => going_on(),
    }
}

/// A tenant that could not be made: nothing of it is left, and its slug is free again. Why is for
/// operators alone.
fn undone(actor: Actor, operation: &OperationRow) -> Problem {
    match (&operation.failure, actor) {
        (Some(failure), Actor::Operator(_)) => {
            Problem::new(failure.code).detail(failure.detail.clone())
        }
        (Some(failure), Actor::Signup | Actor::Platform) => Problem::new(failure.code),
        (None, _) => Problem::new(Code::Internal),
    }
}
