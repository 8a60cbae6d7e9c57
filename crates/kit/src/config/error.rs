//! Why settings were refused, in words for the person who wrote them.
//!
//! Deliberately without the values. Invariant: each error names the source and the key.

use std::error::Error;
use std::fmt;
use std::path::PathBuf;

/// Where a setting was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The text in the binary.
    Defaults,
    /// A file.
    File(PathBuf),
    /// An environment variable.
    Variable(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Defaults => f.write_str("the built-in defaults"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Variable(name) => write!(f, "environment variable {name}"),
        }
    }
}

/// Why settings were refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// No setting has this name.
    #[error("{origin}: unknown setting `{key}`{}", did_you_mean(suggestion.as_deref()))]
    Unknown {
        /// Where it stands.
        origin: Origin,
        /// The dotted key as written.
        key: String,
        /// The nearest key that exists.
        suggestion: Option<String>,
    },
    /// The value is of another type than the default.
    #[error("{origin}: `{key}` must be {expected}, not {found}")]
    WrongType {
        /// Where it stands.
        origin: Origin,
        /// The dotted key.
        key: String,
        /// What the setting takes.
        expected: &'static str,
        /// What was given.
        found: &'static str,
    },
    /// The value has the right type and still is not one that the setting takes.
    #[error("{origin}: `{key}` {reason}")]
    Invalid {
        /// Where it stands.
        origin: Origin,
        /// The dotted key.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Not TOML.
    #[error("{origin}, line {line}: {reason}")]
    Syntax {
        /// Which text.
        origin: Origin,
        /// Counted from one.
        line: usize,
        /// What is wrong there.
        reason: String,
    },
    /// A file could not be read.
    #[error("{origin}: cannot be read: {cause}")]
    Unreadable {
        /// Which file, or the variable that names it.
        origin: Origin,
        /// What the system said.
        cause: std::io::Error,
    },
    /// A variable and its `_FILE` twin are both set.
    #[error("environment variables {name} and {name}_FILE are both set: keep one")]
    Twice {
        /// The variable without `_FILE`.
        name: String,
    },
    /// The layers could not be put together.
    #[error("settings: {0}")]
    Library(String),
}

impl ConfigError {
    pub(super) fn library(error: config::ConfigError) -> Self {
        Self::Library(without_values(error))
    }

    pub(super) fn value(key: String, origin: Origin, error: &serde_json::Error) -> Self {
        Self::Invalid {
            origin,
            key,
            reason: without_value(error.to_string()),
        }
    }

    pub(super) fn syntax(origin: Origin, text: &str, error: &toml::de::Error) -> Self {
        let before = error.span().and_then(|span| text.get(..span.start));
        Self::Syntax {
            origin,
            line: before.map_or(1, |before| before.matches('\n').count() + 1),
            reason: error.message().to_owned(),
        }
    }
}

/// The library's words, except for those that show the value.
fn without_values(error: config::ConfigError) -> String {
    match error {
        config::ConfigError::FileParse { cause, .. } => first_line(cause.as_ref()),
        other => other.to_string(),
    }
}

/// serde's words on a value, without the value.
fn without_value(words: String) -> String {
    if let Some(field) = words.strip_prefix("missing field ") {
        return format!("lacks {field}");
    }
    match words.rsplit_once(", expected ") {
        Some((shown, expected)) if shown.starts_with("invalid ") => format!("must be {expected}"),
        Some((shown, expected)) if shown.starts_with("unknown variant ") => {
            format!("must be {expected}")
        }
        _ => words,
    }
}

fn first_line(error: &(dyn Error + Send + Sync)) -> String {
    error
        .to_string()
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned()
}

fn did_you_mean(suggestion: Option<&str>) -> String {
    suggestion.map_or_else(String::new, |key| format!("; did you mean `{key}`?"))
}
