//! Credentials of services: verified with the caller's key, each for one request.
//!
//! Deliberately no roles: what a service may call is decided by which listener it reaches and whose
//! key it holds. And no memory that replicas share. Invariants: a `jti` is accepted once by a process; a
//! credential opens no other method and path than it names, and where a listener has an address of its
//! own no other listener.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRef, FromRequestParts};
use contract::Code;
use contract::credential::{CREDENTIAL_LIFETIME_SECONDS, ServiceClaims, ServiceIdentity};
use contract::secret::Secret;
use http::{Method, request};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use moka::sync::Cache;
use utoipa::openapi::path::Operation;
use uuid::Uuid;

use crate::auth::bearer;
use crate::error::Problem;
use crate::openapi::{Describe, require};

/// The name of the security scheme in OpenAPI documents.
pub const SERVICE_SCHEME: &str = "service";
const LEEWAY_SECONDS: u64 = 5;
/// Far above what a minute of calls between services brings; over it the oldest are forgotten,
/// which can let a replay of a credential from the same minute pass, not a forged one.
const REMEMBERED_CREDENTIALS: u64 = 200_000;

/// By which address a listener is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reached {
    /// By this base URL, which no other listener has.
    At(String),
    /// By an address that replicas share and that only the callers know. A credential that was seen on
    /// its way is good for the same request at each other replica, once and while it lasts.
    Balanced,
}

impl Reached {
    /// Whether `url` leads to a path of this listener.
    fn leads_to(&self, path: &str, url: &str) -> bool {
        let base = url.strip_suffix(path);
        match self {
            Self::At(own) => base == Some(own.as_str()),
            Self::Balanced => base.is_some(),
        }
    }
}

/// Verifies credentials of one service towards another.
#[derive(Clone)]
pub struct ServiceVerifier(Arc<Inner>);

struct Inner {
    key: DecodingKey,
    from: ServiceIdentity,
    to: ServiceIdentity,
    reached: Reached,
    spent: Cache<Uuid, ()>,
}

impl ServiceVerifier {
    /// A verifier with the caller's key.
    pub fn new(key: &Secret, from: ServiceIdentity, to: ServiceIdentity, reached: Reached) -> Self {
        let lifetime = CREDENTIAL_LIFETIME_SECONDS.unsigned_abs() + 2 * LEEWAY_SECONDS;
        Self(Arc::new(Inner {
            key: DecodingKey::from_secret(key.expose().as_bytes()),
            from,
            to,
            reached,
            spent: Cache::builder()
                .max_capacity(REMEMBERED_CREDENTIALS)
                .time_to_live(Duration::from_secs(lifetime))
                .build(),
        }))
    }

    fn verify(&self, token: &str, method: &Method, path: &str) -> Result<(), Problem> {
        let refused = || Problem::new(Code::ServiceCredentialInvalid);
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = LEEWAY_SECONDS;
        validation.validate_aud = false;
        validation.set_required_spec_claims(&["exp"]);
        let claims = jsonwebtoken::decode::<ServiceClaims>(token, &self.0.key, &validation)
            .map_err(|error| refused().caused_by(error))?
            .claims;
        if claims.iss != self.0.from || claims.aud != self.0.to {
            return Err(refused());
        }
        if claims.exp - claims.iat > CREDENTIAL_LIFETIME_SECONDS {
            return Err(refused());
        }
        if claims.htm != method.as_str() || !self.0.reached.leads_to(path, &claims.htu) {
            return Err(refused().detail("The credential is for another request."));
        }
        let entry = self.0.spent.entry(claims.jti).or_insert(());
        if entry.is_fresh() {
            Ok(())
        } else {
            Err(refused())
        }
    }
}

impl std::fmt::Debug for ServiceVerifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ServiceVerifier({:?} to {:?})", self.0.from, self.0.to)
    }
}

/// The calling service proved who it is.
#[derive(Debug, Clone, Copy)]
pub struct ServiceCaller(());

impl<S> FromRequestParts<S> for ServiceCaller
where
    S: Send + Sync,
    ServiceVerifier: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut request::Parts, state: &S) -> Result<Self, Problem> {
        let token = bearer(&parts.headers, Code::ServiceCredentialInvalid)?;
        ServiceVerifier::from_ref(state).verify(token, &parts.method, parts.uri.path())?;
        Ok(Self(()))
    }
}

impl Describe for ServiceCaller {
    fn describe(operation: &mut Operation) {
        require(
            operation,
            SERVICE_SCHEME,
            serde_json::json!({ "door": "service" }),
        );
    }
}
