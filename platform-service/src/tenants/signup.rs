//! Sign-up: anybody may ask for a tenant, where the settings say so.
//!
//! Deliberately no account without a tenant and no mail. Invariant: a request is counted against
//! its address and against everybody before its body is read.

use axum::extract::{FromRef, FromRequestParts, State};
use axum::response::Response;
use contract::Code;
use http::request;
use ipnet::IpNet;
use kit::address::ClientAddress;
use kit::error::{Problem, Result};
use kit::extract::Json;
use kit::limit::{GlobalLimiter, KeyedLimiter, Wait};
use kit::openapi::Describe;
use utoipa_axum::router::OpenApiRouter;

use super::answer::SignupView;
use super::idempotency::{InProgress, MaybeIdempotencyKey};
use super::intake::{NewSignup, take_in};
use crate::audit::Actor;
use crate::config::{SignupPolicy, SignupSettings};
use crate::operations::begin::Wait as WaitFor;
use crate::platform::Platform;

/// Addresses that are remembered.
const MAX_ADDRESSES: usize = 100_000;

/// What sign-ups share in this process.
#[derive(Debug)]
pub(crate) struct Signups {
    per_address: KeyedLimiter<IpNet>,
    overall: GlobalLimiter,
    /// Idempotency keys whose first request is being taken in.
    pub(crate) in_progress: InProgress,
}

impl Signups {
    pub(crate) fn new(settings: &SignupSettings) -> Self {
        Self {
            per_address: KeyedLimiter::new(settings.per_address, MAX_ADDRESSES),
            overall: GlobalLimiter::new(settings.overall),
            in_progress: InProgress::default(),
        }
    }

    /// The address first: one that asks too often must not use up what everybody shares.
    fn admit(&self, address: ClientAddress) -> Result<()> {
        self.per_address
            .check(&address.limit_key())
            .and_then(|()| self.overall.check())
            .map_err(|Wait(wait)| {
                Problem::new(Code::RateLimited)
                    .detail("Too many sign-ups.")
                    .retry_after(wait)
            })
    }
}

/// Sign-up is open, and the caller is within its limits.
#[derive(Debug)]
pub(crate) struct Admitted(());

impl<S> FromRequestParts<S> for Admitted
where
    S: Send + Sync,
    Platform: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut request::Parts, state: &S) -> Result<Self, Problem> {
        let platform = Platform::from_ref(state);
        if platform.settings.signup.policy == SignupPolicy::Closed {
            return Err(Problem::new(Code::SignupClosed)
                .detail("Ask the operators of this platform for a tenant."));
        }
        platform.signups.admit(ClientAddress::of(parts))?;
        Ok(Self(()))
    }
}

impl Describe for Admitted {}

/// Sign up: a tenant with a database of its own and an owner who can log in.
///
/// Answers 201 when the tenant works, or 202 with a `Location` and a token to ask how far it is
/// where that takes longer than a short wait. A slug that is taken or reserved is refused with a
/// `proposal` that is free.
#[utoipa::path(
    post,
    path = "/v1/signup",
    operation_id = "signup",
    tag = "sign-up",
    request_body = NewSignup,
    responses(
        (status = 201, description = "The tenant works.", body = SignupView),
        (
            status = 202,
            description = "The tenant is being made; `operation` says where to ask.",
            body = SignupView,
            headers(("location" = String), ("retry-after" = u32))
        ),
    )
)]
pub(crate) async fn signup(
    _admitted: Admitted,
    State(platform): State<Platform>,
    key: MaybeIdempotencyKey,
    Json(signup): Json<NewSignup>,
) -> Result<Response> {
    take_in(&platform, Actor::Signup, key, signup, WaitFor::Done).await
}

pub(crate) fn router() -> OpenApiRouter<Platform> {
    kit::operations!(signup)
}
