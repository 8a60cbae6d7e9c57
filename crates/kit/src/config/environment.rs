//! The environment as a layer of settings.
//!
//! Deliberately typed by the defaults, never by looking at the text: a password of digits stays a
//! text. Invariant: a variable with our prefix is either a known setting or an error.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;

use config::{Map, Source, Value, ValueKind};

use super::error::{ConfigError, Origin};
use super::shape::{Kind, Shape};

const SEPARATOR: &str = "__";
const FILE_SUFFIX: &str = "_FILE";

/// Settings from variables: the dotted key, the variable that gave it, the value.
#[derive(Debug, Clone, Default)]
pub(super) struct Overrides(BTreeMap<String, (String, ValueKind)>);

impl Overrides {
    /// Which variable gave a key.
    pub(super) fn origins(&self) -> BTreeMap<String, String> {
        self.0
            .iter()
            .map(|(key, (variable, _))| (key.clone(), variable.clone()))
            .collect()
    }
}

impl Source for Overrides {
    fn clone_into_box(&self) -> Box<dyn Source + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, config::ConfigError> {
        Ok(self
            .0
            .iter()
            .map(|(key, (variable, kind))| (key.clone(), Value::new(Some(variable), kind.clone())))
            .collect())
    }
}

/// Reads the variables with this prefix; all others are somebody else's.
pub(super) fn read(
    prefix: &str,
    shape: &Shape,
    environment: impl Iterator<Item = (OsString, OsString)>,
) -> Result<Overrides, ConfigError> {
    let prefix = format!("{prefix}{SEPARATOR}");
    let mut overrides = Overrides::default();
    for (name, value) in environment {
        let name = name.to_string_lossy().into_owned();
        let Some(rest) = name.strip_prefix(&prefix) else {
            continue;
        };
        let value = value.into_string().map_err(|_| ConfigError::Invalid {
            origin: Origin::Variable(name.clone()),
            key: dotted(rest),
            reason: "is not UTF-8".to_owned(),
        })?;
        let (key, kind, text) = setting(shape, &name, rest, value)?;
        let parsed = parse(&name, &key, kind, text)?;
        if overrides.0.insert(key, (name.clone(), parsed)).is_some() {
            return Err(ConfigError::Twice {
                name: name.strip_suffix(FILE_SUFFIX).unwrap_or(&name).to_owned(),
            });
        }
    }
    Ok(overrides)
}

/// The key that a variable means, and its text: its own, or that of the file it names.
fn setting(
    shape: &Shape,
    name: &str,
    rest: &str,
    value: String,
) -> Result<(String, Kind, String), ConfigError> {
    let key = dotted(rest);
    let bare = rest.strip_suffix(FILE_SUFFIX).map(dotted);
    if let Some((bare, kind)) = bare.and_then(|bare| shape.kind(&bare).map(|kind| (bare, kind)))
        && !shape.names(&key)
    {
        let text = std::fs::read_to_string(&value).map_err(|cause| ConfigError::Unreadable {
            origin: Origin::File(PathBuf::from(&value)),
            cause,
        })?;
        return Ok((bare, kind, text.trim().to_owned()));
    }
    match shape.kind(&key) {
        Some(kind) => Ok((key, kind, value)),
        None => Err(shape.unknown(key, Origin::Variable(name.to_owned()))),
    }
}

fn dotted(rest: &str) -> String {
    rest.to_lowercase().replace(SEPARATOR, ".")
}

fn parse(name: &str, key: &str, kind: Kind, text: String) -> Result<ValueKind, ConfigError> {
    let wrong = || ConfigError::WrongType {
        origin: Origin::Variable(name.to_owned()),
        key: key.to_owned(),
        expected: kind.words(),
        found: "this text",
    };
    Ok(match kind {
        Kind::Text | Kind::Moment => ValueKind::String(text),
        Kind::Integer => ValueKind::I64(text.trim().parse().map_err(|_| wrong())?),
        Kind::Number => ValueKind::Float(text.trim().parse().map_err(|_| wrong())?),
        Kind::Switch => ValueKind::Boolean(text.trim().parse().map_err(|_| wrong())?),
        Kind::List => ValueKind::Array(
            text.split(',')
                .map(str::trim)
                .filter(|item| !item.is_empty())
                .map(|item| Value::new(None, ValueKind::String(item.to_owned())))
                .collect(),
        ),
        Kind::Section | Kind::Open => return Err(wrong()),
    })
}
