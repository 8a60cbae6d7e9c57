//! People of a tenant: who they are, how they sign in, and what their tokens say.
//!
//! Deliberately all in the tenant's own database, so that a person of one tenant is nobody in
//! another. Rooms: `sessions` (log in, refresh, log out), `people` (users), `keys` (the key set).
//! Invariants: an unknown tenant, an unknown user, a disabled user and a wrong password get one and
//! the same answer for the same work; no connection is held while a password is hashed.

pub(crate) mod grants;
mod keys;
mod owner;
mod people;
mod sessions;
mod store;
mod tokens;

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::Arc;

use adapters::secret_store::SecretStore;
use axum::extract::State;
use axum::response::IntoResponse;
use contract::client::PlatformClient;
use contract::internal::ProvisionRequest;
use futures::future::BoxFuture;
use http::header;
use kit::auth::access::{Principal, TokenVerifier};
use kit::config::Period;
use kit::error::{Problem, Result};
use kit::extract::Json;
use kit::limit::{KeyedLimiter, Rate};
use kit::operations;
use kit::passwords::{Hasher, PasswordCost, PasswordError};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use tokio_util::sync::CancellationToken;

use self::keys::{Key, Keys};
use self::store::NewAccount;
use self::tokens::Issuer;
use crate::module::Module;

contract::prefixed_id!(
    /// A user of a tenant.
    UserId,
    "usr",
    "the id of a user"
);
contract::prefixed_id!(
    /// A sign-in: the family of refresh tokens that follow from one login.
    SessionId,
    "ses",
    "the id of a session"
);

/// The role of a tenant's first user.
const OWNER: &str = "owner";
/// Accounts whose tries are counted at once, existing or not.
const LIMITED_ACCOUNTS: usize = 100_000;

/// Settings of tokens and log-ins.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthSettings {
    /// Who signs access tokens (their `iss`).
    pub issuer: String,
    /// Who they are for (their `aud`).
    pub audience: String,
    /// How long an access token lives.
    pub access_lifetime: Period,
    /// How long a session lives, however often its refresh token is exchanged.
    pub refresh_lifetime: Period,
    /// Log-ins and refreshes from one address.
    pub sign_in_per_address: Rate,
    /// Log-ins to one account.
    pub sign_in_per_account: Rate,
    /// Addresses that are told apart at once, before new ones are refused.
    pub sign_in_addresses: NonZeroUsize,
    /// Look-ups of tenants that nobody has a token for yet.
    pub unknown_look_ups: Rate,
    /// What hashing a password costs.
    pub passwords: PasswordCost,
}

/// What signing in needs; clones share it.
#[derive(Clone)]
pub struct Auth(Arc<Inner>);

struct Inner {
    keys: Keys,
    issuer: Issuer,
    refresh_lifetime: Period,
    hasher: Hasher,
    per_account: KeyedLimiter<AccountKey>,
    /// Every permission that an operation of this program asks for.
    permissions: BTreeSet<String>,
}

/// SHA-256 of a tenant id and the key of an e-mail address: bounded, whatever was typed.
type AccountKey = [u8; 32];

impl Auth {
    /// Signs and verifies nothing until [`Auth::keep_keys_fresh`] runs.
    ///
    /// `permissions` is every permission that an operation asks for, see [`grants::declared`];
    /// `seal` opens the platform's signing keys.
    ///
    /// # Errors
    /// Where the cost of hashing is out of range.
    pub(crate) fn new(
        settings: &AuthSettings,
        platform: PlatformClient,
        seal: Arc<SecretStore>,
        permissions: BTreeSet<String>,
    ) -> Result<Self, PasswordError> {
        let verifier = TokenVerifier::new(settings.issuer.clone(), settings.audience.clone());
        Ok(Self(Arc::new(Inner {
            keys: Keys::new(platform, seal, verifier),
            issuer: Issuer {
                issuer: settings.issuer.clone(),
                audience: settings.audience.clone(),
                lifetime: settings.access_lifetime.get(),
            },
            refresh_lifetime: settings.refresh_lifetime,
            hasher: Hasher::new(settings.passwords)?,
            per_account: KeyedLimiter::new(settings.sign_in_per_account, LIMITED_ACCOUNTS),
            permissions,
        })))
    }

    /// No access token is longer, in bytes.
    ///
    /// # Errors
    /// Where the permissions cannot be written as JSON.
    pub(crate) fn longest_token(&self) -> serde_json::Result<usize> {
        self.0.issuer.longest(&self.0.permissions)
    }

    /// Accounts whose tries to log in are counted now.
    pub(crate) fn limited_accounts(&self) -> usize {
        self.0.per_account.len()
    }

    /// Verifies access tokens.
    pub(crate) fn verifier(&self) -> &TokenVerifier {
        self.0.keys.verifier()
    }

    /// Asks the platform for keys because a token names an unknown one; at most twice a minute,
    /// else nothing happens.
    pub(crate) async fn learn_keys(&self) {
        self.0.keys.learn().await;
    }

    /// Asks the platform for the keys now and from time to time, until it is told to stop.
    pub(crate) async fn keep_keys_fresh(self, stop: CancellationToken) {
        self.0.keys.keep_fresh(stop).await;
    }
}

/// The user of a token of ours.
///
/// # Errors
/// `internal`: a token that verified names no user of this kind.
fn user_of(principal: &Principal) -> Result<UserId> {
    principal.user.parse().map_err(Problem::internal)
}

/// The public keys of access tokens (RFC 7517).
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct KeySet {
    keys: Vec<PublicKey>,
}

/// A public Ed25519 key (RFC 8037).
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct PublicKey {
    #[schema(example = "OKP")]
    kty: &'static str,
    #[schema(example = "Ed25519")]
    crv: &'static str,
    #[serde(rename = "use")]
    #[schema(example = "sig")]
    purpose: &'static str,
    #[schema(example = "EdDSA")]
    alg: &'static str,
    kid: String,
    x: String,
}

impl From<&Key> for PublicKey {
    fn from(key: &Key) -> Self {
        Self {
            kty: "OKP",
            crv: "Ed25519",
            purpose: "sig",
            alg: "EdDSA",
            kid: key.kid.clone(),
            x: key.public.clone(),
        }
    }
}

/// The public keys that verify access tokens
#[utoipa::path(
    get, path = "/.well-known/jwks.json", operation_id = "auth.keys", tag = "auth",
    responses((status = OK, body = KeySet, description = "A JSON Web Key Set.", example = json!({
        "keys": [{
            "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": "k1",
            "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
        }],
    })))
)]
async fn public_keys(State(auth): State<Auth>) -> impl IntoResponse {
    let keys = auth.0.keys.all().iter().map(PublicKey::from).collect();
    (
        [(header::CACHE_CONTROL, "public, max-age=60")],
        Json(KeySet { keys }),
    )
}

/// Makes the tenant's first user, now or before.
fn make_owner<'c>(
    db: &'c mut PgConnection,
    request: &'c ProvisionRequest,
) -> BoxFuture<'c, Result<()>> {
    Box::pin(async move {
        let owner = &request.owner;
        let account = NewAccount {
            id: UserId::from_uuid(owner.user),
            email: &owner.email,
            name: "",
            password_hash: &owner.password_hash,
        };
        Ok(store::ensure_with_role(db, &account, OWNER).await?)
    })
}

/// The module.
pub fn module() -> Module {
    Module::new("auth", tenant_migrations::auth())
        .minimum(1)
        .routes(
            sessions::routes()
                .merge(people::routes())
                .merge(operations!(public_keys)),
        )
        .on_provision(make_owner)
        .on_ownership(owner::change)
}
