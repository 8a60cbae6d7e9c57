//! Which secret store is used, as settings say it.
//!
//! Deliberately read in every build, also in one that cannot use AWS: the settings of a service are the same for all.
//! Invariant: a store that this build has not is refused when it is opened, and never replaced by another one.

use contract::Secret;
use serde::{Deserialize, Deserializer};

use super::{AwsCredentials, InvalidKeyRing, KeyRing, SealedStore, SecretError, SecretStore};

/// Keys that seal secrets.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealingSettings {
    /// A key ring, as [`KeyRing::parse`] reads it.
    pub keys: Secret,
}

/// Where tenants' passwords are kept.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretSettings {
    /// Which store.
    pub store: SecretStoreKind,
    /// Of the AWS store.
    pub aws: AwsSettings,
}

/// A kind of secret store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretStoreKind {
    /// Sealed into the registry and the routes.
    Sealed,
    /// AWS Secrets Manager.
    Aws,
}

/// How to reach AWS Secrets Manager.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AwsSettings {
    /// Another address than AWS's own, e.g. of a VPC endpoint or of a local AWS API server; empty for none.
    #[serde(default, deserialize_with = "optional_text")]
    pub endpoint_url: Option<String>,
    /// The region; without it, or empty, the one of the environment or profile.
    #[serde(default, deserialize_with = "optional_text")]
    pub region: Option<String>,
    /// What every name starts with, e.g. `tenantry/production`: 1 to 128 of
    /// `A-Z a-z 0-9 / _ + = . @ -`, with no `/` at either end.
    pub name_prefix: String,
    /// Where the credentials come from; no setting of a file.
    #[serde(skip)]
    pub credentials: AwsCredentials,
}

/// A secret store that cannot be used as the settings say.
#[derive(Debug, thiserror::Error)]
pub enum UnusableStore {
    /// The key ring cannot be read.
    #[error("sealing.keys")]
    Keys(#[from] InvalidKeyRing),
    /// The store cannot be had.
    #[error(transparent)]
    Store(#[from] SecretError),
    /// The build lacks it.
    #[error("secrets.store: this build has no `aws`; build with --features aws")]
    NotBuilt,
}

impl SealingSettings {
    /// The store that seals.
    ///
    /// # Errors
    /// The key ring cannot be read.
    pub fn open(&self) -> Result<SecretStore, UnusableStore> {
        let ring = KeyRing::parse(self.keys.expose())?;
        Ok(SecretStore::Sealed(SealedStore::new(ring)))
    }
}

impl SecretSettings {
    /// The store of tenants' passwords.
    ///
    /// # Errors
    /// It cannot be had.
    pub async fn open(&self, sealing: &SealingSettings) -> Result<SecretStore, UnusableStore> {
        match self.store {
            SecretStoreKind::Sealed => sealing.open(),
            #[cfg(feature = "aws")]
            SecretStoreKind::Aws => {
                let store = super::AwsStore::connect(self.aws.clone()).await?;
                Ok(SecretStore::Aws(store))
            }
            #[cfg(not(feature = "aws"))]
            SecretStoreKind::Aws => Err(UnusableStore::NotBuilt),
        }
    }
}

/// A text that may be empty, which is none.
fn optional_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text.filter(|text| !text.is_empty()))
}
