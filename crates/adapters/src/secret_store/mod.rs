//! The port for secrets: keep one, open it by its reference, remove it.
//!
//! Deliberately no cache and no rotation: a rotation is two versions side by side, decided by the
//! caller. Invariants: a reference opens for the subject that it was made for and for no other,
//! and no error, reference or log line ever holds the text of a secret.
//!
//! The caller stores the reference that its first `put` returned, together with its intent. A
//! `put` repeated because the first answer was lost may give another reference (a sealed box is
//! made anew each time); every one of them opens what its own `put` was given.

use std::fmt;
use std::time::SystemTime;

use contract::secret::{Secret, SecretRef};
use contract::tenant::{PLATFORM_ROLE, QUERY_ROLE, SCHEMA_ROLE};
use contract::{ClusterName, OperationId, TenantId};

#[cfg(feature = "aws")]
mod aws;
mod sealed;
mod settings;

#[cfg(feature = "aws")]
pub use aws::AwsStore;
pub use sealed::{InvalidKeyRing, KeyRing, SealedStore};
pub use settings::{AwsSettings, SealingSettings, SecretSettings, SecretStoreKind, UnusableStore};

/// Longest secret, in bytes of its text; the limit of AWS Secrets Manager, held by every store.
pub const MAX_SECRET_BYTES: usize = 65_536;

/// Longest version, in characters.
pub const MAX_VERSION_CHARS: usize = 64;

/// Whose secret it is. Its text is authenticated with a sealed box and is part of an AWS name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SecretSubject {
    /// The password of a tenant's role.
    Tenant(TenantId),
    /// The password of one of the platform's own roles on a cluster.
    Cluster(ClusterName, ClusterRole),
    /// A private key that signs tokens.
    SigningKey,
    /// The key that encrypts a tenant's objects.
    DataKey(TenantId),
    /// What an operation keeps in its plan for itself.
    Operation(OperationId),
}

/// A role of the platform's own that logs in to a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClusterRole {
    /// `tn_platform`, which owns the databases.
    Platform,
    /// `tn_schema`, the migration runner's login.
    Schema,
    /// `tn_query`, which reads for operators.
    Query,
}

impl ClusterRole {
    /// The name of the role in PostgreSQL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Platform => PLATFORM_ROLE,
            Self::Schema => SCHEMA_ROLE,
            Self::Query => QUERY_ROLE,
        }
    }
}

impl fmt::Display for SecretSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tenant(tenant) => write!(f, "tenant/{tenant}"),
            Self::Cluster(cluster, role) => write!(f, "cluster/{cluster}/{}", role.as_str()),
            Self::SigningKey => f.write_str("signing-key"),
            Self::DataKey(tenant) => write!(f, "data-key/{tenant}"),
            Self::Operation(operation) => write!(f, "operation/{operation}"),
        }
    }
}

/// A secret that a store holds, as its list shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredSecret {
    /// Whose it is.
    pub subject: SecretSubject,
    /// The version that it was put under.
    pub version: String,
    /// Opens its newest text.
    pub reference: SecretRef,
    /// When it was first put. A sweep must spare young ones: their operation may not have stored
    /// the reference yet.
    pub created_at: Option<SystemTime>,
}

/// Why a secret could not be kept, opened or removed. Never holds the text of a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// The store has nothing under this reference, or it waits for its deletion.
    #[error("the store holds no secret under this reference")]
    NotFound,
    /// The reference was made for another subject, or was changed.
    #[error("the reference is not one of {subject}, or was changed")]
    Refused {
        /// The subject that it was to be opened for.
        subject: String,
    },
    /// The key of the box is not in the key ring.
    #[error("the secret is sealed with the key {key_id:?}, which is not in the key ring")]
    UnknownKey {
        /// The id of the missing key.
        key_id: String,
    },
    /// The text is not a reference of this store.
    #[error("this is not a reference of the {store} secret store")]
    Malformed {
        /// The store that was asked.
        store: &'static str,
    },
    /// The version is empty, too long or holds a character that a name may not hold.
    #[error("a version is 1 to {MAX_VERSION_CHARS} of A-Z, a-z, 0-9, _ and -")]
    InvalidVersion,
    /// The secret is empty or too long.
    #[error("a secret is text of 1 to {MAX_SECRET_BYTES} bytes")]
    InvalidSize,
    /// The store cannot be reached, is slow or limits our rate: the same call may succeed later.
    #[error("the secret store is unavailable: {operation}: {reason}")]
    Unavailable {
        /// The call that failed.
        operation: &'static str,
        /// The code of the failure.
        reason: String,
    },
    /// The store refuses the call: rights, settings or state. A repeat will not help.
    #[error("the secret store refused {operation}: {reason}")]
    Denied {
        /// The call that failed.
        operation: &'static str,
        /// The code of the refusal.
        reason: String,
    },
    /// The settings of a store are not usable.
    #[error("secret store settings: {0}")]
    Settings(&'static str),
}

impl SecretError {
    /// Whether the same call may succeed later without anybody changing anything.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}

/// Where the credentials for AWS come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AwsCredentials {
    /// The usual places of the AWS SDK: environment, profile, container or instance role.
    #[default]
    Found,
    /// What a local AWS API server takes, and AWS refuses.
    ForTests,
}

/// Where secrets are kept; which one is configuration.
#[derive(Debug)]
pub enum SecretStore {
    /// The reference itself is the sealed secret.
    Sealed(SealedStore),
    /// AWS Secrets Manager.
    #[cfg(feature = "aws")]
    Aws(AwsStore),
}

impl SecretStore {
    /// Whether [`put`](Self::put) makes nothing but the reference that it returns: there is nobody to ask,
    /// and nothing to be removed.
    pub fn keeps_nothing(&self) -> bool {
        match self {
            Self::Sealed(_) => true,
            #[cfg(feature = "aws")]
            Self::Aws(_) => false,
        }
    }

    /// Ensures that the secret is kept under this subject and version, and returns a reference
    /// that opens it. Safe to repeat: a repeat with the same secret refers to the same secret.
    ///
    /// `version` is chosen and recorded by the caller before the call, e.g. the operation's id:
    /// 1 to [`MAX_VERSION_CHARS`] of `A-Z a-z 0-9 _ -`. Versions of one subject stand side by
    /// side. A repeat with another secret (the first run crashed before it stored what it had
    /// made up) leaves older references working.
    pub async fn put(
        &self,
        subject: &SecretSubject,
        version: &str,
        secret: &Secret,
    ) -> Result<SecretRef, SecretError> {
        check_version(version)?;
        if secret.expose().is_empty() || secret.expose().len() > MAX_SECRET_BYTES {
            return Err(SecretError::InvalidSize);
        }
        match self {
            Self::Sealed(store) => store.put(subject, secret),
            #[cfg(feature = "aws")]
            Self::Aws(store) => store.put(subject, version, secret).await,
        }
    }

    /// Opens a reference for the subject that it was made for.
    pub async fn open(
        &self,
        subject: &SecretSubject,
        reference: &SecretRef,
    ) -> Result<Secret, SecretError> {
        match self {
            Self::Sealed(store) => store.open(subject, reference),
            #[cfg(feature = "aws")]
            Self::Aws(store) => store.open(subject, reference).await,
        }
    }

    /// Removes what a reference points to, at once and for good; nothing there is success.
    ///
    /// A sealed box holds no storage: forgetting the reference is its removal, so this only
    /// checks that the box is the subject's.
    pub async fn remove(
        &self,
        subject: &SecretSubject,
        reference: &SecretRef,
    ) -> Result<(), SecretError> {
        match self {
            Self::Sealed(store) => store.remove(subject, reference),
            #[cfg(feature = "aws")]
            Self::Aws(store) => store.remove(subject, reference).await,
        }
    }

    /// Removes what was put under a version, for an undo whose `put` was answered too late to
    /// store a reference; nothing there is success. A sealed store has nothing to remove.
    #[cfg_attr(
        not(feature = "aws"),
        expect(
            unused_variables,
            reason = "only a store that keeps something looks for it"
        )
    )]
    pub async fn remove_version(
        &self,
        subject: &SecretSubject,
        version: &str,
    ) -> Result<(), SecretError> {
        check_version(version)?;
        match self {
            Self::Sealed(_) => Ok(()),
            #[cfg(feature = "aws")]
            Self::Aws(store) => store.remove_version(subject, version).await,
        }
    }

    /// The same secret under the key that seals now; none where it is so already, or where the store
    /// keeps its keys itself. The reference that was given stays good as long as its key is in the
    /// ring.
    pub fn reseal(
        &self,
        subject: &SecretSubject,
        reference: &SecretRef,
    ) -> Result<Option<SecretRef>, SecretError> {
        match self {
            Self::Sealed(store) => store.reseal(subject, reference),
            #[cfg(feature = "aws")]
            Self::Aws(_) => Ok(None),
        }
    }

    /// The ids of the keys that seal: the first one is used now. Empty for a store that keeps its
    /// keys itself.
    pub fn key_ids(&self) -> Vec<&str> {
        match self {
            Self::Sealed(store) => store.key_ids(),
            #[cfg(feature = "aws")]
            Self::Aws(_) => Vec::new(),
        }
    }

    /// Every secret that the store holds, for the sweep of orphans. Empty for the sealed store,
    /// whose boxes live where their references are kept.
    pub async fn list(&self) -> Result<Vec<StoredSecret>, SecretError> {
        match self {
            Self::Sealed(_) => Ok(Vec::new()),
            #[cfg(feature = "aws")]
            Self::Aws(store) => store.list().await,
        }
    }
}

fn check_version(version: &str) -> Result<(), SecretError> {
    let valid = (1..=MAX_VERSION_CHARS).contains(&version.len())
        && version
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if valid {
        Ok(())
    } else {
        Err(SecretError::InvalidVersion)
    }
}
