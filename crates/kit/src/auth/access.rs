//! Access tokens of people: verified against a key set, remembered until they expire.
//!
//! Deliberately only Ed25519 keys that we were given; no key, address or algorithm named in a token
//! is ever followed. Invariant: a [`Principal`] exists only for a token whose signature, issuer,
//! audience, type, times and tenant were checked.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use contract::{Code, TenantId};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use moka::sync::Cache;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::error::Problem;

/// The `typ` of an access token (RFC 9068).
pub const ACCESS_TOKEN_TYPE: &str = "at+jwt";
/// Clocks may differ by this much.
const LEEWAY_SECONDS: u64 = 30;
/// Verified tokens that are remembered: some 50,000 of the usual length.
const REMEMBERED_BYTES: u64 = 32 * 1024 * 1024;

/// What an access token says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AccessClaims {
    /// Issuer.
    pub iss: String,
    /// Audience.
    pub aud: String,
    /// The user's id, e.g. `usr_...`.
    pub sub: String,
    /// The only tenant that the token is good for.
    pub tenant: TenantId,
    /// The session (refresh token family) that it comes from.
    pub sid: String,
    /// What its bearer may do.
    pub permissions: BTreeSet<String>,
    /// Issued at, seconds since the epoch.
    pub iat: i64,
    /// Not before, seconds since the epoch.
    pub nbf: i64,
    /// Expires, seconds since the epoch.
    pub exp: i64,
    /// Names this token.
    pub jti: String,
}

/// Somebody whose token was verified.
#[derive(Debug, Clone)]
pub struct Principal {
    /// The user's id.
    pub user: Arc<str>,
    /// The only tenant that the token is good for.
    pub tenant: TenantId,
    /// The session that the token comes from.
    pub session: Arc<str>,
    /// What they may do.
    pub permissions: Arc<BTreeSet<String>>,
    /// Until when.
    pub expires: OffsetDateTime,
}

/// Why a token gives no principal.
#[derive(Debug, thiserror::Error)]
pub enum TokenRefused {
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// Signed with a key that is not in the set; the set may be old.
    #[error("the token's key is not known")]
    UnknownKey,
    /// Anything else.
    #[error("the token is not valid")]
    Invalid(#[source] jsonwebtoken::errors::Error),
}

impl From<TokenRefused> for Problem {
    fn from(refused: TokenRefused) -> Self {
        match refused {
            TokenRefused::Expired => {
                Self::new(Code::TokenExpired).detail("Refresh it or log in again.")
            }
            TokenRefused::UnknownKey | TokenRefused::Invalid(_) => {
                Self::new(Code::TokenInvalid).caused_by(refused)
            }
        }
    }
}

/// Verifies access tokens of one issuer for one audience.
pub struct TokenVerifier {
    issuer: String,
    audience: String,
    keys: RwLock<Arc<HashMap<String, DecodingKey>>>,
    verified: Cache<Box<str>, Verified>,
}

#[derive(Clone)]
struct Verified {
    principal: Arc<Principal>,
    until: Instant,
}

impl TokenVerifier {
    /// A verifier that knows no key yet and so refuses everything.
    pub fn new(issuer: String, audience: String) -> Self {
        Self {
            issuer,
            audience,
            keys: RwLock::default(),
            verified: Cache::<Box<str>, _>::builder()
                .max_capacity(REMEMBERED_BYTES)
                .weigher(|token, _| u32::try_from(token.len()).unwrap_or(u32::MAX))
                .time_to_live(Duration::from_secs(15 * 60))
                .build(),
        }
    }

    /// Replaces the key set: `kid` and raw Ed25519 public key (base64url).
    ///
    /// Tokens that were verified with a key that is gone are forgotten.
    pub fn replace_keys(
        &self,
        keys: impl IntoIterator<Item = (String, String)>,
    ) -> Result<(), jsonwebtoken::errors::Error> {
        let keys = keys
            .into_iter()
            .map(|(kid, public)| Ok((kid, DecodingKey::from_ed_components(&public)?)))
            .collect::<Result<HashMap<_, _>, jsonwebtoken::errors::Error>>()?;
        let mut current = write(&self.keys);
        let lost = current.keys().any(|kid| !keys.contains_key(kid));
        *current = Arc::new(keys);
        drop(current);
        if lost {
            self.verified.invalidate_all();
        }
        Ok(())
    }

    /// Whether any key is known.
    pub fn has_keys(&self) -> bool {
        !read(&self.keys).is_empty()
    }

    /// The principal of a token.
    ///
    /// # Errors
    /// Says whether the token is over, signed with an unknown key, or not valid.
    pub fn verify(&self, token: &str) -> Result<Arc<Principal>, TokenRefused> {
        if let Some(known) = self.verified.get(token) {
            if known.until > Instant::now() {
                return Ok(known.principal);
            }
            self.verified.invalidate(token);
        }
        let claims = self.check(token)?;
        let expires = OffsetDateTime::from_unix_timestamp(claims.exp)
            .map_err(|_| TokenRefused::Invalid(ErrorKind::InvalidToken.into()))?;
        let principal = Arc::new(Principal {
            user: claims.sub.into(),
            tenant: claims.tenant,
            session: claims.sid.into(),
            permissions: Arc::new(claims.permissions),
            expires,
        });
        let left = (expires - OffsetDateTime::now_utc()).max(time::Duration::ZERO);
        let verified = Verified {
            principal: Arc::clone(&principal),
            until: Instant::now() + left.unsigned_abs(),
        };
        self.verified.insert(token.into(), verified);
        Ok(principal)
    }

    fn check(&self, token: &str) -> Result<AccessClaims, TokenRefused> {
        let invalid = |kind: ErrorKind| TokenRefused::Invalid(kind.into());
        let header = jsonwebtoken::decode_header(token).map_err(TokenRefused::Invalid)?;
        if header.alg != Algorithm::EdDSA {
            return Err(invalid(ErrorKind::InvalidAlgorithm));
        }
        if header.typ.as_deref() != Some(ACCESS_TOKEN_TYPE) {
            return Err(invalid(ErrorKind::InvalidToken));
        }
        let keys = Arc::clone(&read(&self.keys));
        let key = header
            .kid
            .as_ref()
            .and_then(|kid| keys.get(kid))
            .ok_or(TokenRefused::UnknownKey)?;
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.leeway = LEEWAY_SECONDS;
        validation.validate_nbf = true;
        validation.set_required_spec_claims(&["exp", "nbf", "aud", "iss", "sub"]);
        validation.set_issuer(&[&self.issuer]);
        validation.set_audience(&[&self.audience]);
        jsonwebtoken::decode::<AccessClaims>(token, key, &validation)
            .map(|data| data.claims)
            .map_err(|error| match error.kind() {
                ErrorKind::ExpiredSignature => TokenRefused::Expired,
                _ => TokenRefused::Invalid(error),
            })
    }
}

impl std::fmt::Debug for TokenVerifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TokenVerifier({} for {})", self.issuer, self.audience)
    }
}

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
