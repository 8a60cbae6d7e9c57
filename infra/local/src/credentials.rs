//! The secrets of the local installation, made once and kept in one file.
//!
//! Deliberately no other way to make them: a second start must print the same ones. Invariant: the
//! file is written, readable by its owner alone, before anything is sealed or guarded with what it
//! holds.

use std::path::Path;

use adapters::secret_store::KeyRing;
use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use contract::Secret;
use serde::{Deserialize, Serialize};

use crate::folder;

const OPERATOR_KEY_BYTES: usize = 32;
/// Hexadecimal digits of the demo users' password: easy to paste, too many to guess.
const DEMO_PASSWORD_DIGITS: usize = 16;

/// Everything that is secret. No `Debug`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Credentials {
    /// Seals the platform's and the tenants' secrets.
    pub(crate) sealing_keys: String,
    /// With which app-service calls the platform.
    pub(crate) app_key: String,
    /// With which the platform calls app-service.
    pub(crate) platform_key: String,
    /// The first operator.
    pub(crate) operator_key: String,
    /// The registry's login.
    pub(crate) registry_password: String,
    /// Every demo user's.
    pub(crate) demo_password: String,
    /// Where the server of our own listened last; 0 before its first start.
    pub(crate) postgres_port: u16,
}

/// Whether credentials have been in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Age {
    /// Made now: nothing can be sealed with them yet.
    New,
    /// Read from the file.
    Kept,
}

impl Credentials {
    /// New ones, kept nowhere yet.
    pub(crate) fn generate() -> Self {
        let random = || Secret::random().expose().to_owned();
        let operator: [u8; OPERATOR_KEY_BYTES] = rand::random();
        Self {
            sealing_keys: KeyRing::generate().to_secret().expose().to_owned(),
            app_key: random(),
            platform_key: random(),
            operator_key: format!("opk_{}", URL_SAFE_NO_PAD.encode(operator)),
            registry_password: random(),
            demo_password: random()[..DEMO_PASSWORD_DIGITS].to_owned(),
            postgres_port: 0,
        }
    }

    /// Those in the file, or new ones, which are to be kept before they are used.
    pub(crate) fn load(path: &Path) -> anyhow::Result<(Self, Age)> {
        let Some(text) = folder::read(path)? else {
            return Ok((Self::generate(), Age::New));
        };
        // The parser's words would repeat what it could not read.
        let kept = serde_json::from_str(&text).map_err(|_| {
            anyhow::anyhow!("{} cannot be read; --fresh makes a new one", path.display())
        })?;
        Ok((kept, Age::Kept))
    }

    /// Writes the file.
    pub(crate) fn keep(&self, path: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        folder::write_private(path, &text).context("the credentials cannot be kept")
    }
}

#[cfg(test)]
mod tests {
    use super::{Age, Credentials};
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn they_are_made_once_for_their_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials.json");
        let (made, age) = Credentials::load(&path).unwrap();
        assert_eq!(age, Age::New);
        made.keep(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let (kept, age) = Credentials::load(&path).unwrap();
        assert_eq!(age, Age::Kept);
        assert_eq!(kept.operator_key, made.operator_key);
        assert_eq!(kept.sealing_keys, made.sealing_keys);
    }

    #[test]
    fn a_damaged_file_is_not_repeated_in_the_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials.json");
        std::fs::write(&path, r#"{"operator_key": "opk_secret"}"#).unwrap();
        let error = Credentials::load(&path).err().unwrap();
        assert!(!format!("{error:#}").contains("opk_secret"));
    }
}
