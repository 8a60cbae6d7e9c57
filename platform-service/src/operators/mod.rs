//! Operators: keys with scopes, and the extractor that demands one.
//!
//! Deliberately no passwords and no sessions: a key is 256 random bits, shown once. Invariant: the
//! registry holds a key's SHA-256 alone, and a handler whose signature names [`Operator`] runs for
//! nobody without that scope, whose key is revoked or has ended: each request looks it up, no key is cached.

pub(crate) mod api;
pub(crate) mod store;

#[cfg(test)]
mod tests;

use std::marker::PhantomData;
use std::sync::Arc;

use axum::extract::{FromRef, FromRequestParts};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use contract::{Code, Secret};
use http::request;
use kit::auth::bearer;
use kit::error::{Problem, chain};
use kit::observe::Notes;
use kit::openapi::{Describe, require};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use sqlx::Postgres;
use sqlx::pool::PoolConnection;
use tokio::sync::Semaphore;
use utoipa::openapi::path::Operation;

use self::store::{LastUse, Shown};
use crate::audit::{self, Action, Actor};
use crate::platform::Platform;
use crate::registry::Held;

/// The name of the security scheme in the OpenAPI document.
pub(crate) const OPERATOR_SCHEME: &str = "operator";
/// What every key starts with.
const KEY_PREFIX: &str = "opk_";
const KEY_BYTES: usize = 32;

contract::prefixed_id!(
    /// Names an operator key; not the key itself.
    OperatorKeyId,
    "opr",
    "the id of an operator key"
);

macro_rules! scopes {
    ($($(#[$doc:meta])* $name:ident = $text:tt;)+) => {
        /// What an operator key allows.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
        pub(crate) enum Scope {
            $($(#[$doc])* #[serde(rename = $text)] $name,)+
        }

        impl Scope {
            /// Every scope.
            pub(crate) const ALL: &[Self] = &[$(Self::$name),+];

            /// The word for it in the registry and on the wire.
            pub(crate) const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)+ }
            }
        }

        $(
            $(#[$doc])*
            #[derive(Debug)]
            pub(crate) enum $name {}

            impl Access for $name {
                const SCOPE: Scope = Scope::$name;
            }
        )+
    };
}

/// A scope as a type, for signatures.
pub(crate) trait Access: Send + Sync + 'static {
    /// The scope.
    const SCOPE: Scope;
}

scopes! {
    /// See tenants.
    TenantsRead = "tenants:read";
    /// Create and change tenants.
    TenantsWrite = "tenants:write";
    /// See clusters.
    ClustersRead = "clusters:read";
    /// Add, change and remove clusters.
    ClustersWrite = "clusters:write";
    /// Delete and purge tenants, and replace their data.
    TenantsDestroy = "tenants:destroy";
    /// Read tenants' data: questions to the fleet, and logins to a tenant's database.
    TenantsQuery = "tenants:query";
    /// See operations.
    OperationsRead = "operations:read";
    /// Cancel operations, and try stuck ones again.
    OperationsWrite = "operations:write";
    /// See roll-outs.
    RolloutsRead = "rollouts:read";
    /// Start and steer roll-outs.
    RolloutsWrite = "rollouts:write";
    /// See backups.
    BackupsRead = "backups:read";
    /// Make, check and delete backups.
    BackupsWrite = "backups:write";
    /// See, make and revoke operator keys, and what was done with them.
    KeysWrite = "keys:write";
    /// See who did what.
    AuditRead = "audit:read";
}

impl Scope {
    /// Whether who has it may do what needs `wanted`: who changes things sees them, whoever begins
    /// operations sees how they go on, and who makes keys sees what was done with them.
    fn includes(self, wanted: Self) -> bool {
        let area = |scope: Self, verb: &str| scope.as_str().strip_suffix(verb);
        let changes = area(self, ":write");
        let begins = changes.is_some() || matches!(self, Self::TenantsDestroy | Self::TenantsQuery);
        self == wanted
            || changes.is_some() && changes == area(wanted, ":read")
            || begins && wanted == Self::OperationsRead
            || self == Self::KeysWrite && wanted == Self::AuditRead
    }
}

/// A word that names no scope.
#[derive(Debug, thiserror::Error)]
#[error("names no scope")]
pub(crate) struct UnknownScope;

impl std::str::FromStr for Scope {
    type Err = UnknownScope;

    fn from_str(text: &str) -> Result<Self, UnknownScope> {
        Self::ALL
            .iter()
            .copied()
            .find(|scope| scope.as_str() == text)
            .ok_or(UnknownScope)
    }
}

/// A key as it is stored.
#[derive(Debug, Clone)]
pub(crate) struct OperatorKey {
    pub(crate) id: OperatorKeyId,
    pub(crate) name: String,
    pub(crate) scopes: Vec<Scope>,
}

impl OperatorKey {
    fn may(&self, wanted: Scope) -> bool {
        self.scopes.iter().any(|scope| scope.includes(wanted))
    }
}

/// The SHA-256 of a key.
pub(crate) fn digest(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

/// A new key: 256 random bits.
pub(crate) fn generate() -> Secret {
    let bits: [u8; KEY_BYTES] = rand::random();
    Secret::new(format!("{KEY_PREFIX}{}", URL_SAFE_NO_PAD.encode(bits)))
}

/// Whether a text could be a key.
pub(crate) fn is_key(text: &str) -> bool {
    text.strip_prefix(KEY_PREFIX)
        .and_then(|bits| URL_SAFE_NO_PAD.decode(bits).ok())
        .is_some_and(|bits| bits.len() == KEY_BYTES)
}

/// Who asks, if their key allows `A`.
async fn authorize<A: Access>(
    platform: &Platform,
    parts: &request::Parts,
) -> Result<OperatorKey, Problem> {
    let key = bearer(&parts.headers, Code::OperatorKeyInvalid)?;
    if !is_key(key) {
        return Err(Problem::new(Code::OperatorKeyInvalid));
    }
    let mut connection = platform.public_registry.acquire().await?;
    let (operator, last_use) = match store::find_by_digest(&mut connection, &digest(key)).await? {
        Some(Shown::Good(operator, last_use)) => (operator, last_use),
        Some(Shown::Expired(id, at)) => {
            // Who shows it is told no more than of a key that never was.
            tracing::info!(user.id = %id, expired.at = %at, "an operator key was refused: it has expired");
            return Err(Problem::new(Code::OperatorKeyInvalid));
        }
        None => return Err(Problem::new(Code::OperatorKeyInvalid)),
    };
    match last_use {
        LastUse::Noted => drop(connection),
        LastUse::Unnoted => platform.noting.note(connection, operator.id),
    }
    if let Some(notes) = parts.extensions.get::<Arc<Notes>>() {
        notes.user(operator.id.to_string());
    }
    if !operator.may(A::SCOPE) {
        return Err(lacks(A::SCOPE));
    }
    Ok(operator)
}

/// Leave to write that a key was used: one at a time, so that however long a write waits for somebody who
/// has the table, requests have the other connections.
#[derive(Debug, Clone)]
pub(crate) struct Noting(Arc<Semaphore>);

impl Noting {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(1)))
    }

    /// Writes, beside the request, that its key is used; a use that meets another one's write is noted with
    /// the next. With the connection that looked the key up: no request waits for a further one.
    fn note(&self, connection: Held<PoolConnection<Postgres>>, id: OperatorKeyId) {
        let Ok(permit) = Arc::clone(&self.0).try_acquire_owned() else {
            return;
        };
        let mut connection = connection.apart();
        tokio::spawn(async move {
            if let Err(error) = store::note_use(&mut connection, id).await {
                let cause = chain(&error);
                tracing::warn!(user.id = %id, cause, "the use of an operator key was not noted");
            }
            drop(permit);
        });
    }
}

fn lacks(scope: Scope) -> Problem {
    Problem::new(Code::PermissionMissing)
        .detail(format!("This key lacks the scope {}.", scope.as_str()))
}

/// Somebody whose operator key allows `A`.
#[derive(Debug)]
pub(crate) struct Operator<A> {
    /// The key that they showed.
    key: OperatorKey,
    access: PhantomData<A>,
}

impl<A> Operator<A> {
    /// The id of the key.
    pub(crate) fn id(&self) -> OperatorKeyId {
        self.key.id
    }

    /// For the audit.
    pub(crate) fn actor(&self) -> Actor {
        Actor::Operator(self.id())
    }

    /// Nobody gives what they do not have.
    ///
    /// # Errors
    /// Names the first of these scopes that the key lacks.
    pub(crate) fn may_grant(&self, scopes: &[Scope]) -> Result<(), Problem> {
        match scopes.iter().find(|scope| !self.key.may(**scope)) {
            None => Ok(()),
            Some(missing) => Err(lacks(*missing)),
        }
    }
}

impl<S, A: Access> FromRequestParts<S> for Operator<A>
where
    S: Send + Sync,
    Platform: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut request::Parts, state: &S) -> Result<Self, Problem> {
        let platform = Platform::from_ref(state);
        let key = authorize::<A>(&platform, parts).await?;
        Ok(Self {
            key,
            access: PhantomData,
        })
    }
}

impl<A: Access> Describe for Operator<A> {
    fn describe(operation: &mut Operation) {
        let access = serde_json::json!({ "door": "operator", "scope": A::SCOPE.as_str() });
        require(operation, OPERATOR_SCHEME, access);
    }
}

/// Makes the key of the settings with all scopes and without an end, unless it was ever known.
pub(crate) async fn ensure_first_key(platform: &Platform) -> anyhow::Result<()> {
    let key = platform.settings.operators.first_key.expose();
    if key.is_empty() {
        return Ok(());
    }
    anyhow::ensure!(
        is_key(key),
        "operators.first_key is not opk_ and 43 characters of base64url"
    );
    let operator = OperatorKey {
        id: OperatorKeyId::new(),
        name: "first".to_owned(),
        scopes: Scope::ALL.to_vec(),
    };
    let mut transaction = platform.registry.begin().await?;
    let inserted = store::insert(&mut transaction, &operator, &digest(key), None).await?;
    if inserted == store::Inserted::New {
        let detail = serde_json::json!({ "key": operator.id, "name": operator.name });
        let action = Action::OperatorKeyCreated;
        audit::record(&mut transaction, Actor::Platform, action, None, detail).await?;
    }
    transaction.commit().await?;
    Ok(())
}
