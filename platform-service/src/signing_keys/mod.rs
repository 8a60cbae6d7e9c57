//! The keys that sign access tokens: made here, used by the services of the data plane.
//!
//! Deliberately signs nothing. Invariants: a private key is sealed wherever it is stored or sent, a
//! key is published before it signs (but for the very first), and kept as long as a token of it can
//! be valid.

pub(crate) mod store;

use std::time::Duration;

use anyhow::Context;
use axum::extract::State;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use contract::Secret;
use contract::internal::{SigningKey, SigningKeys};
use ed25519_dalek::SigningKey as PrivateKey;
use ed25519_dalek::pkcs8::EncodePrivateKey;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use kit::auth::service::ServiceCaller;
use kit::error::{Problem, Result};
use kit::extract::Json;
use time::OffsetDateTime;
use utoipa_axum::router::OpenApiRouter;
use uuid::Uuid;

use adapters::secret_store::SecretSubject;

use crate::audit::{self, Action, Actor};
use crate::operations::begin::record_done;
use crate::operations::{OperationKind, Step, Subject};
use crate::pace;
use crate::platform::Platform;

/// How often the age of the newest key is looked at.
const CHECK_EVERY: Duration = Duration::from_secs(60);

/// The keys that sign and verify access tokens.
///
/// The newest one whose time has come signs; all of them verify.
#[utoipa::path(
    get,
    path = "/internal/signing-keys",
    operation_id = "internal.signing_keys",
    tag = "signing keys",
    responses((status = 200, description = "All keys that verify.", body = SigningKeys))
)]
pub(crate) async fn list(
    _caller: ServiceCaller,
    State(platform): State<Platform>,
) -> Result<Json<SigningKeys>> {
    let mut connection = platform.registry.acquire().await?;
    let keys = store::list(&mut connection).await?;
    Ok(Json(SigningKeys { keys }))
}

pub(crate) fn internal_router() -> OpenApiRouter<Platform> {
    kit::operations!(list)
}

/// What is due, from the age of the newest key.
#[derive(Debug, PartialEq, Eq)]
enum Due {
    Nothing,
    /// The first key signs at once, a later one when everybody has seen it.
    NewKey {
        signs_from: OffsetDateTime,
    },
}

fn due(
    newest: Option<OffsetDateTime>,
    now: OffsetDateTime,
    rotate_after: Duration,
    publish_before: Duration,
) -> Due {
    match newest {
        None => Due::NewKey { signs_from: now },
        Some(signs_from) if now >= signs_from + rotate_after => Due::NewKey {
            signs_from: now + publish_before,
        },
        Some(_) => Due::Nothing,
    }
}

/// Makes a key where one is due, and forgets those whose time is over. Replicas of this service
/// take turns.
pub(crate) async fn ensure(platform: &Platform) -> anyhow::Result<()> {
    let settings = &platform.settings.signing_keys;
    let mut transaction = platform.registry.begin().await?;
    store::lock(&mut transaction).await?;
    store::forget_expired(&mut transaction).await?;
    let newest = store::newest_signs_from(&mut transaction).await?;
    let due = due(
        newest,
        OffsetDateTime::now_utc(),
        settings.rotate_after.get(),
        settings.publish_before.get(),
    );
    if let Due::NewKey { signs_from } = due {
        let key = generate(platform, signs_from).await?;
        store::retire_others(&mut transaction, signs_from + settings.verify_after.get()).await?;
        store::insert(&mut transaction, &key).await?;
        let detail = serde_json::json!({ "kid": key.kid });
        let action = Action::SigningKeyPublished;
        audit::record(&mut transaction, Actor::Platform, action, None, detail).await?;
    }
    transaction.commit().await?;
    Ok(())
}

/// Publishes a key now, whatever the age of the newest; gives the one that waits to sign, where there is
/// one already.
pub(crate) async fn publish_now(platform: &Platform, actor: Actor) -> Result<SigningKey> {
    let settings = &platform.settings.signing_keys;
    let now = OffsetDateTime::now_utc();
    let mut transaction = platform.registry.begin().await?;
    store::lock(&mut transaction).await?;
    store::forget_expired(&mut transaction).await?;
    let known = store::list(&mut transaction).await?;
    if let Some(waiting) = known.into_iter().find(|key| key.signs_from > now) {
        return Ok(waiting);
    }
    let signs_from = now + settings.publish_before.get();
    let key = generate(platform, signs_from)
        .await
        .map_err(|error| Problem::internal(error.into_boxed_dyn_error()))?;
    store::retire_others(&mut transaction, signs_from + settings.verify_after.get()).await?;
    store::insert(&mut transaction, &key).await?;
    let detail = serde_json::json!({ "kid": key.kid });
    let action = Action::SigningKeyPublished;
    audit::record(&mut transaction, actor, action, None, detail.clone()).await?;
    let kind = (OperationKind::RotateSigningKey, Step::Publish);
    record_done(&mut transaction, actor, &Subject::Fleet, kind, detail).await?;
    transaction.commit().await?;
    Ok(key)
}

async fn generate(platform: &Platform, signs_from: OffsetDateTime) -> anyhow::Result<SigningKey> {
    let key = PrivateKey::from_bytes(&rand::random());
    let kid = format!("key_{}", Uuid::now_v7().simple());
    let pem = key
        .to_pkcs8_pem(LineEnding::LF)
        .context("a signing key could not be encoded")?;
    let private_key = platform
        .seal
        .put(
            &SecretSubject::SigningKey,
            &kid,
            &Secret::new(pem.to_string()),
        )
        .await?;
    Ok(SigningKey {
        kid,
        public_key: URL_SAFE_NO_PAD.encode(key.verifying_key().as_bytes()),
        private_key,
        signs_from,
        verifies_until: None,
    })
}

/// Keeps the keys young, until the service stops.
pub(crate) async fn rotate(platform: Platform) {
    let mut tick = pace::every(CHECK_EVERY);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = platform.stopping.cancelled() => return,
        }
        if let Err(error) = ensure(&platform).await {
            tracing::error!(
                cause = format!("{error:#}"),
                "the signing keys could not be looked at"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_key_signs_at_once_and_later_ones_are_published_first() {
        let now = OffsetDateTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let (rotate, publish) = (Duration::from_secs(1000), Duration::from_secs(60));
        assert_eq!(
            due(None, now, rotate, publish),
            Due::NewKey { signs_from: now }
        );
        let young = now - Duration::from_secs(999);
        assert_eq!(due(Some(young), now, rotate, publish), Due::Nothing);
        let published = now + publish;
        assert_eq!(due(Some(published), now, rotate, publish), Due::Nothing);
        let old = now - rotate;
        assert_eq!(
            due(Some(old), now, rotate, publish),
            Due::NewKey {
                signs_from: published
            }
        );
    }
}
