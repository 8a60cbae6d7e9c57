//! `Idempotency-Key`: one effect however often a request is sent.
//!
//! Deliberately stores neither key nor request, only their HMACs. Invariant: a key of one door
//! (sign-up, one operator) is never one of another.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::FromRequestParts;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use contract::{Code, Secret};
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderName, request};
use kit::error::Problem;
use kit::openapi::{self, Describe, Header};
use sha2::{Digest, Sha256};
use utoipa::openapi::Required;
use utoipa::openapi::path::Operation;

const HEADER: HeaderName = HeaderName::from_static("idempotency-key");
const MAX_KEY_BYTES: usize = 255;

/// The key of a request, where it has one.
#[derive(Debug, Clone)]
pub(crate) struct MaybeIdempotencyKey(pub(crate) Option<String>);

impl<S: Sync> FromRequestParts<S> for MaybeIdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut request::Parts, _state: &S) -> Result<Self, Problem> {
        let mut values = parts.headers.get_all(HEADER).iter();
        let Some(value) = values.next() else {
            return Ok(Self(None));
        };
        let key = value.to_str().ok().filter(|key| {
            (1..=MAX_KEY_BYTES).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic())
        });
        match (key, values.next()) {
            (Some(key), None) => Ok(Self(Some(key.to_owned()))),
            _ => Err(Problem::new(Code::HeaderInvalid).and_field(
                "Idempotency-Key",
                "is one header of 1 to 255 visible ASCII characters",
            )),
        }
    }
}

impl Describe for MaybeIdempotencyKey {
    fn describe(operation: &mut Operation) {
        let header = Header {
            name: "Idempotency-Key",
            required: Required::False,
            description: "1 to 255 visible ASCII characters. The same key with the same body again \
                 answers the current state of the first request; with another body it is refused. One \
                 that was undone for something that passes (`retryable`) begins anew.",
            pattern: "^[!-~]{1,255}$",
            example: "7f9c2ba4-e88f-4c28-a5f2-2d3e4f5a6b7c",
        };
        openapi::header(operation, header);
    }
}

/// What a request is known by when it comes again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    /// HMAC of the door and the key.
    pub(crate) key: [u8; 32],
    /// HMAC of the request.
    pub(crate) request: [u8; 32],
}

/// The fingerprint of a request of `door` with `key`; `fields` are all that it says, in a fixed
/// order.
pub(crate) fn fingerprint(
    secret: &Secret,
    door: &str,
    key: &str,
    fields: &[Option<&str>],
) -> Result<Fingerprint, Problem> {
    Ok(Fingerprint {
        key: digest(secret, "idempotency-key", &[Some(door), Some(key)])?,
        request: digest(secret, "idempotent-request", fields)?,
    })
}

/// HMAC-SHA256 of texts for one purpose; no two lists of texts are read alike.
fn digest(secret: &Secret, purpose: &str, texts: &[Option<&str>]) -> Result<[u8; 32], Problem> {
    let mut mac =
        Hmac::<Sha256>::new_from_slice(secret.expose().as_bytes()).map_err(Problem::internal)?;
    mac.update(purpose.as_bytes());
    for text in texts {
        match text {
            None => mac.update(&[0]),
            Some(text) => {
                mac.update(&[1]);
                mac.update(&(text.len() as u64).to_be_bytes());
                mac.update(text.as_bytes());
            }
        }
    }
    Ok(mac.finalize().into_bytes().into())
}

/// A token that lets an anonymous caller read an operation: 256 bits that nobody can guess.
#[derive(Clone)]
pub(crate) struct PollToken(Secret);

/// What every poll token starts with.
const POLL_PREFIX: &str = "poll_";
const POLL_BYTES: usize = 32;

impl PollToken {
    /// The token of a request: made from its key where it has one, so that a repeat gets the same
    /// although only a digest is stored.
    pub(crate) fn new(secret: &Secret, of: Option<&Fingerprint>) -> Result<Self, Problem> {
        let bits = match of {
            None => rand::random::<[u8; POLL_BYTES]>(),
            Some(fingerprint) => {
                let key = URL_SAFE_NO_PAD.encode(fingerprint.key);
                let request = URL_SAFE_NO_PAD.encode(fingerprint.request);
                digest(secret, "poll-token", &[Some(&key), Some(&request)])?
            }
        };
        let text = format!("{POLL_PREFIX}{}", URL_SAFE_NO_PAD.encode(bits));
        Ok(Self(Secret::new(text)))
    }

    /// The token's text, for its owner.
    pub(crate) fn expose(&self) -> &str {
        self.0.expose()
    }

    /// What is stored of it.
    pub(crate) fn digest(&self) -> [u8; 32] {
        Sha256::digest(self.0.expose().as_bytes()).into()
    }
}

/// What is stored of a poll token with this text, if it could be one: other texts are not looked up.
pub(crate) fn poll_digest(text: &str) -> Option<[u8; 32]> {
    let bits = text.strip_prefix(POLL_PREFIX)?;
    let bits = URL_SAFE_NO_PAD.decode(bits).ok()?;
    (bits.len() == POLL_BYTES).then(|| Sha256::digest(text.as_bytes()).into())
}

/// Keys whose first request this process is taking in.
#[derive(Debug, Clone, Default)]
pub(crate) struct InProgress(Arc<Mutex<HashSet<[u8; 32]>>>);

/// Says that a request is being taken in, until it is dropped.
#[derive(Debug)]
pub(crate) struct TakingIn {
    keys: InProgress,
    key: [u8; 32],
}

impl InProgress {
    /// Starts to take a request in.
    ///
    /// # Errors
    /// Another one with the same key is being taken in.
    pub(crate) fn begin(&self, fingerprint: &Fingerprint) -> Result<TakingIn, Problem> {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !keys.insert(fingerprint.key) {
            return Err(Problem::new(Code::IdempotencyKeyInProgress));
        }
        Ok(TakingIn {
            keys: self.clone(),
            key: fingerprint.key,
        })
    }
}

impl Drop for TakingIn {
    fn drop(&mut self) {
        let mut keys = self.keys.0.lock().unwrap_or_else(PoisonError::into_inner);
        keys.remove(&self.key);
    }
}

#[cfg(test)]
mod tests;
