//! The tokens that a sign-in gives: a short access token and a refresh token.
//!
//! Deliberately without storage. Invariants: an access token is for one tenant; a refresh token is
//! known to the database by its digest only.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use contract::{Code, TenantId};
use jsonwebtoken::{Algorithm, Header};
use kit::auth::access::{ACCESS_TOKEN_TYPE, AccessClaims};
use kit::error::{Problem, Result};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use uuid::Uuid;

use super::keys::{Key, signing_at};
use super::{SessionId, UserId};

/// Starts a refresh token, so that scanners for leaked secrets know it.
const REFRESH_PREFIX: &str = "rt_";
const REFRESH_BYTES: usize = 32;
/// All that an access token says but its issuer, its audience and permissions, at the most, as it is sent:
/// header, ids, times and signature.
const REST_BYTES: usize = 640;

/// Who issues access tokens, for whom, and for how long.
#[derive(Debug, Clone)]
pub(super) struct Issuer {
    pub(super) issuer: String,
    pub(super) audience: String,
    pub(super) lifetime: Duration,
}

/// What an access token is to say.
pub(super) struct Grant<'a> {
    pub(super) user: UserId,
    pub(super) tenant: &'a TenantId,
    pub(super) session: SessionId,
    pub(super) permissions: BTreeSet<String>,
}

impl Issuer {
    /// No access token is longer, in bytes: that of somebody with all of these permissions.
    ///
    /// # Errors
    /// Where they cannot be written as JSON.
    pub(super) fn longest(&self, permissions: &BTreeSet<String>) -> serde_json::Result<usize> {
        let said = serde_json::to_string(&(&self.issuer, &self.audience, permissions))?;
        Ok(REST_BYTES + (said.len() * 4).div_ceil(3))
    }

    /// A signed access token.
    ///
    /// # Errors
    /// `not-ready` before the signing keys are known.
    pub(super) fn issue(&self, keys: &[Key], grant: Grant<'_>) -> Result<String> {
        let now = OffsetDateTime::now_utc();
        let key = signing_at(keys, now)
            .ok_or_else(|| Problem::new(Code::NotReady).detail("There is no signing key yet."))?;
        let issued = now.unix_timestamp();
        let claims = AccessClaims {
            iss: self.issuer.clone(),
            aud: self.audience.clone(),
            sub: grant.user.to_string(),
            tenant: grant.tenant.clone(),
            sid: grant.session.to_string(),
            permissions: grant.permissions,
            iat: issued,
            nbf: issued,
            exp: issued.saturating_add_unsigned(self.lifetime.as_secs()),
            jti: Uuid::now_v7().simple().to_string(),
        };
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some(ACCESS_TOKEN_TYPE.to_owned());
        header.kid = Some(key.kid.clone());
        jsonwebtoken::encode(&header, &claims, &key.private).map_err(Problem::internal)
    }
}

/// What the database knows of a refresh token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RefreshDigest([u8; 32]);

impl RefreshDigest {
    /// The digest of a token as it was sent. 256 random bits need no stretching.
    pub(super) fn of(token: &str) -> Self {
        Self(Sha256::digest(token.as_bytes()).into())
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A new refresh token and its digest.
pub(super) fn new_refresh_token() -> (String, RefreshDigest) {
    let random: [u8; REFRESH_BYTES] = rand::random();
    let token = format!("{REFRESH_PREFIX}{}", URL_SAFE_NO_PAD.encode(random));
    let digest = RefreshDigest::of(&token);
    (token, digest)
}
