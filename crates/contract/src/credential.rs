//! The credential that one service shows to another: a token of a minute, signed with a key that
//! names the caller.
//!
//! Deliberately only the calling side; `kit` verifies. Each direction has a key of its own, so the
//! app-service's key can never speak as the platform. Invariant: every token has its own `jti` and
//! names the one request that it is for.

use std::sync::Arc;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::Method;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::secret::Secret;

/// Seconds that a credential is good for.
pub const CREDENTIAL_LIFETIME_SECONDS: i64 = 60;

/// Which service speaks; each has a key of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServiceIdentity {
    /// The control plane.
    PlatformService,
    /// A service of the data plane, ours or another that registers.
    AppService,
}

/// What a credential says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ServiceClaims {
    /// Who speaks.
    pub iss: ServiceIdentity,
    /// Who is spoken to.
    pub aud: ServiceIdentity,
    /// Seconds since the epoch.
    pub iat: i64,
    /// Seconds since the epoch.
    pub exp: i64,
    /// Used once.
    pub jti: Uuid,
    /// The method of the request (as in RFC 9449), e.g. `POST`.
    pub htm: String,
    /// The URL of the request without its query, e.g. `http://10.0.0.5:8091/internal/migrate`: the
    /// base URL that the caller knows the callee by, and the path.
    pub htu: String,
}

/// Signs credentials of one service for another.
#[derive(Clone)]
pub struct ServiceSigner {
    key: Arc<EncodingKey>,
    from: ServiceIdentity,
    to: ServiceIdentity,
}

impl ServiceSigner {
    /// A signer with the caller's key.
    pub fn new(key: &Secret, from: ServiceIdentity, to: ServiceIdentity) -> Self {
        Self {
            key: Arc::new(EncodingKey::from_secret(key.expose().as_bytes())),
            from,
            to,
        }
    }

    /// A fresh token for a request.
    pub fn token(&self, method: &Method, url: &str) -> Result<String, jsonwebtoken::errors::Error> {
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let claims = ServiceClaims {
            iss: self.from,
            aud: self.to,
            iat: now,
            exp: now + CREDENTIAL_LIFETIME_SECONDS,
            jti: Uuid::now_v7(),
            htm: method.to_string(),
            htu: url.split('?').next().unwrap_or(url).to_owned(),
        };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.key)
    }
}

impl std::fmt::Debug for ServiceSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ServiceSigner({:?} to {:?})", self.from, self.to)
    }
}
