//! The doors through which a request comes to a tenant: [`InTenant`] with a token, [`SignIn`]
//! without one.
//!
//! Deliberately few, and each an argument of a handler, so that a signature says who may call. The
//! platform's own calls come in through [`crate::internal`]. Invariants: whether a tenant exists
//! and how it stands is told only to a verified token of that tenant; the tenant in the token
//! decides, never the header alone.

use std::marker::PhantomData;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use contract::{Code, TenantId};
use http::HeaderMap;
use http::request::Parts;
use kit::address::ClientAddress;
use kit::auth::access::{Principal, TokenRefused};
use kit::auth::bearer;
use kit::error::Problem;
use kit::observe::{Lookup, Notes};
use kit::openapi::{self, Describe, Header, require};
use utoipa::openapi::Required;
use utoipa::openapi::path::Operation;

use super::Tenant;
use super::admission::Intent;
use super::directory::Glance;
use super::known::Known;
use super::refusal::Refusal;
use crate::state::AppState;

/// Names the tenant of a request.
pub(crate) const TENANT_HEADER: &str = "x-tenant-id";
/// The name of the security scheme in OpenAPI documents.
pub(crate) const TOKEN_SCHEME: &str = "token";

/// What a caller must be allowed to do; a type, so that it stands in a handler's signature.
pub trait Permission: Send + Sync + 'static {
    /// The permission's name, as roles list it: `<module>:<action>`.
    const NAME: &'static str;
    /// The feature that the tenant's tier must include, if any.
    const FEATURE: Option<&'static str> = None;

    /// What it is used for while the tenant's people may only read.
    const USE: Use = Use::ByMethod;

    /// Whether the principal has it.
    fn held_by(principal: &Principal) -> bool {
        principal.permissions.contains(Self::NAME)
    }
}

/// What the holder of a permission does with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Reads by a safe method (GET, HEAD), and changes by every other one.
    ByMethod,
    /// Ends its own session.
    SignsOut,
}

/// Nothing but a valid token of the tenant.
#[derive(Debug, Clone, Copy)]
pub struct SignedIn;

impl Permission for SignedIn {
    const NAME: &'static str = "signed-in";

    fn held_by(_principal: &Principal) -> bool {
        true
    }
}

/// Nothing but a valid token of the tenant, to end what it comes from.
#[derive(Debug, Clone, Copy)]
pub struct SigningOut;

impl Permission for SigningOut {
    const NAME: &'static str = SignedIn::NAME;
    const USE: Use = Use::SignsOut;

    fn held_by(_principal: &Principal) -> bool {
        true
    }
}

/// A caller with a verified token of the tenant that the header names, and with permission `P`.
pub struct InTenant<P> {
    /// The tenant.
    pub tenant: Tenant,
    /// Who calls.
    pub principal: Arc<Principal>,
    permission: PhantomData<P>,
}

impl<P: Permission> FromRequestParts<AppState> for InTenant<P> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        let notes = notes(parts);
        let principal = verified(&parts.headers, state).await?;
        notes.user(principal.user.to_string());
        let id = tenant_header(&parts.headers, Some(&principal))?;
        if id != principal.tenant {
            return Err(Problem::new(Code::TenantMismatch)
                .detail("Send the X-Tenant-Id that the token was issued for."));
        }
        let known = find(&id, state, &notes).await?;
        let intent = match P::USE {
            Use::ByMethod => Intent::of(&parts.method),
            Use::SignsOut => Intent::SignOut,
        };
        let tenant = Tenant::new(known, state.directory().clone(), intent, notes);
        intent.admit(tenant.route())?;
        if let Some(feature) = P::FEATURE
            && !tenant.grant().features.contains(feature)
        {
            return Err(Problem::new(Code::FeatureNotInTier).detail(format!(
                "The tier {} has no {feature}.",
                tenant.grant().name
            )));
        }
        if !P::held_by(&principal) {
            return Err(Problem::new(Code::PermissionMissing)
                .detail(format!("This needs the permission {}.", P::NAME)));
        }
        tenant.known.admit()?;
        Ok(Self {
            tenant,
            principal,
            permission: PhantomData,
        })
    }
}

/// Whether roles can list a permission of this name.
const fn is_grantable(name: &str) -> bool {
    let bytes = name.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == b':' {
            return true;
        }
        at += 1;
    }
    false
}

impl<P: Permission> Describe for InTenant<P> {
    fn describe(operation: &mut Operation) {
        const {
            let is_any = matches!(P::NAME.as_bytes(), b"signed-in");
            assert!(
                is_any || is_grantable(P::NAME),
                "a permission is named <module>:<action>"
            );
        }
        let access = serde_json::json!({
            "door": "in-tenant",
            "permission": P::NAME,
            "feature": P::FEATURE,
        });
        require(operation, TOKEN_SCHEME, access);
        describe_header(operation);
    }
}

/// A caller who has no token yet and names a tenant: to log in and to refresh.
pub(crate) enum SignIn {
    /// A tenant that people can sign in to.
    Known(Tenant),
    /// Unknown, off-boarded, held back or not ready: indistinguishable from a wrong password.
    Unknown,
}

impl FromRequestParts<AppState> for SignIn {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
        let notes = notes(parts);
        let limits = state.sign_in_limits();
        let address = ClientAddress::of(parts).limit_key();
        // Before anything is known of the tenant: whoever is over it is told so for every id alike.
        limits
            .per_address
            .check(&address)
            .map_err(|wait| Problem::new(Code::RateLimited).retry_after(wait.0))?;
        let id = tenant_header(&parts.headers, None)?;
        let found = match state.directory().glance(&id) {
            Glance::Known(known) => {
                notes.lookup(Lookup::Hit);
                Ok(known)
            }
            Glance::Refused(refusal) => Err(refusal),
            Glance::Nothing => {
                notes.lookup(Lookup::Miss);
                // Anybody can make up ids; the platform is asked at a bounded rate.
                limits
                    .look_ups
                    .check()
                    .map_err(|wait| Problem::new(Code::Overloaded).retry_after(wait.0))?;
                state.directory().find(&id).await
            }
        };
        match found {
            // Nobody's password can be proved: the database lets nobody in.
            Ok(known) if Intent::SignIn.admit(known.route()).is_err() => Ok(Self::Unknown),
            Ok(known) => Ok(Self::Known(Tenant::new(
                known,
                state.directory().clone(),
                Intent::SignIn,
                notes,
            ))),
            Err(Refusal::Unknown | Refusal::Deleted | Refusal::Provisioning) => Ok(Self::Unknown),
            Err(refusal) => Err(Intent::SignIn.shown(refusal.into())),
        }
    }
}

impl Describe for SignIn {
    fn describe(operation: &mut Operation) {
        require(operation, "none", serde_json::json!({ "door": "sign-in" }));
        operation.security = None;
        describe_header(operation);
    }
}

fn describe_header(operation: &mut Operation) {
    let header = Header {
        name: "X-Tenant-Id",
        required: Required::True,
        description: "The tenant's id.",
        pattern: TenantId::PATTERN,
        example: "t_acme",
    };
    openapi::header(operation, header);
}

fn notes(parts: &Parts) -> Arc<Notes> {
    parts
        .extensions
        .get::<Arc<Notes>>()
        .cloned()
        .unwrap_or_default()
}

async fn verified(headers: &HeaderMap, state: &AppState) -> Result<Arc<Principal>, Problem> {
    let token = bearer(headers, Code::TokenMissing)?;
    match state.verifier().verify(token) {
        Err(TokenRefused::UnknownKey) => {
            // A key that was made a moment ago on another replica; asked for at a bounded rate.
            state.auth().learn_keys().await;
            Ok(state.verifier().verify(token)?)
        }
        verified => Ok(verified?),
    }
}

async fn find(id: &TenantId, state: &AppState, notes: &Notes) -> Result<Arc<Known>, Problem> {
    match state.directory().glance(id) {
        Glance::Known(known) => {
            notes.lookup(Lookup::Hit);
            Ok(known)
        }
        Glance::Refused(refusal) => Err(refusal.into()),
        Glance::Nothing => {
            notes.lookup(Lookup::Miss);
            Ok(state.directory().find(id).await?)
        }
    }
}

/// The tenant that the header names; a refusal tells a verified caller what would be right.
fn tenant_header(headers: &HeaderMap, principal: Option<&Principal>) -> Result<TenantId, Problem> {
    let advice = || match principal {
        Some(principal) => format!("This token needs `X-Tenant-Id: {}`.", principal.tenant),
        None => "Send one header like `X-Tenant-Id: t_acme`.".to_owned(),
    };
    let mut values = headers.get_all(TENANT_HEADER).iter();
    let Some(value) = values.next() else {
        return Err(Problem::new(Code::TenantHeaderMissing).detail(advice()));
    };
    if values.next().is_some() {
        return Err(Problem::new(Code::TenantHeaderRepeated).detail(advice()));
    }
    std::str::from_utf8(value.as_bytes())
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| Problem::new(Code::TenantHeaderMalformed).detail(advice()))
}
