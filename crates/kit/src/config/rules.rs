//! What settings must keep to beyond their types: each rule with its words.
//!
//! Deliberately without a rule of its own but that on keys: a service names its settings. Invariant: what is refused is
//! named with the variable that sets it, and never with its value.

use contract::Secret;

use super::{ConfigError, ConfigSpec};

/// A key between services has at least this many characters.
const MIN_KEY_CHARS: usize = 32;

/// A rule: the setting, what it needs, and whether that is so.
pub type Rule = (&'static str, &'static str, bool);

/// Settings that were read and cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A layer could not be read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A setting is needed and empty, or breaks its rule.
    #[error("{key}: {rule}; set it in the file or as {variable}")]
    Unusable {
        /// Its name.
        key: &'static str,
        /// The rule.
        rule: &'static str,
        /// The variable that sets it.
        variable: String,
    },
}

impl ConfigSpec {
    /// Names the first setting that breaks its rule.
    pub fn check(&self, rules: impl IntoIterator<Item = Rule>) -> Result<(), SettingsError> {
        match rules.into_iter().find(|(_, _, kept)| !kept) {
            None => Ok(()),
            Some((key, rule, _)) => Err(SettingsError::Unusable {
                key,
                rule,
                variable: self.variable(key),
            }),
        }
    }

    fn variable(&self, key: &str) -> String {
        let key = key.replace('.', "__").to_ascii_uppercase();
        format!("{}__{key}", self.env_prefix)
    }
}

/// Whether a key between services cannot be guessed by its length.
pub fn is_long_enough(key: &Secret) -> bool {
    key.expose().len() >= MIN_KEY_CHARS
}
