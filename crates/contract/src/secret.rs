//! References to secrets, and the secret text itself.
//!
//! Deliberately without the stores. Invariant: a [`SecretRef`] may be logged and sent (it is a
//! sealed box or an address), a [`Secret`] may not: it has no `Display` and a redacted `Debug`.

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

/// A secret in memory: redacted in `Debug`, wiped when dropped.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Takes the text over.
    pub fn new(text: String) -> Self {
        Self(SecretString::from(text))
    }

    /// 256 random bits as 64 hexadecimal digits.
    pub fn random() -> Self {
        let mut text = String::with_capacity(64);
        for byte in rand::random::<[u8; 32]>() {
            use std::fmt::Write as _;
            let _ = write!(text, "{byte:02x}");
        }
        Self::new(text)
    }

    /// The text, for the one place that needs it.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

/// Secrets come in by settings and requests; there is no way out through serde.
impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Where a secret is kept: a sealed box (`sealed:...`) or the name of one in a store (`aws:...`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(transparent)]
#[schema(value_type = String, example = "sealed:v1:k1:...")]
pub struct SecretRef(pub String);
