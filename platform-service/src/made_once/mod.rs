//! Requests that make something whose secret is in one answer: once for each `Idempotency-Key`.
//!
//! Deliberately no second answer with the secret: it is kept nowhere. Invariant: the key is claimed in the
//! transaction that makes it, so the same request has one effect, however many come at once.

pub(crate) mod store;

use contract::Code;
use kit::error::{Problem, Result};
use serde_json::Value;
use sqlx::PgConnection;

use crate::audit::Actor;
use crate::platform::Platform;
use crate::tenants::idempotency::{MaybeIdempotencyKey, fingerprint};

/// Claims the key of a request, where it has one, for what its transaction makes. `request` is all that it
/// says, and what it is about.
///
/// # Errors
/// `secret-shown` where the same request came before, with what it made; `idempotency-key-reused` where the
/// key came with another one.
pub(crate) async fn claim(
    platform: &Platform,
    connection: &mut PgConnection,
    (actor, key): (Actor, MaybeIdempotencyKey),
    request: &Value,
    made: &str,
) -> Result<()> {
    let Some(key) = key.0 else {
        return Ok(());
    };
    let secret = &platform.settings.internal.platform_key;
    let door = format!("{actor} makes once");
    let known = fingerprint(secret, &door, &key, &[Some(&request.to_string())])?;
    let Some(earlier) = store::claim(connection, &known, made).await? else {
        return Ok(());
    };
    if earlier.request != known.request {
        return Err(Problem::new(Code::IdempotencyKeyReused));
    }
    Err(Problem::new(Code::SecretShown).detail(format!(
        "The first request with this key made {}; its secret was in that answer alone. For another one, \
         use another key.",
        earlier.made
    )))
}
