//! Which settings exist and of what kind they are, learned from the defaults.
//!
//! Deliberately no schema language: the default value of a setting is its declaration. Invariant:
//! below a table or list that is empty in the defaults everything is allowed here; the service's
//! own types judge it.

use std::collections::BTreeMap;

use toml::{Table, Value};

use super::error::{ConfigError, Origin};

/// Names nearer than this are worth proposing (1 is equal).
const NEAR: f64 = 0.6;

/// The kind of a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Integer,
    Number,
    Switch,
    List,
    Moment,
    Section,
    /// A table that users fill.
    Open,
}

impl Kind {
    fn of(value: &Value) -> Self {
        match value {
            Value::String(_) => Self::Text,
            Value::Integer(_) => Self::Integer,
            Value::Float(_) => Self::Number,
            Value::Boolean(_) => Self::Switch,
            Value::Array(_) => Self::List,
            Value::Datetime(_) => Self::Moment,
            Value::Table(table) if table.is_empty() => Self::Open,
            Value::Table(_) => Self::Section,
        }
    }

    /// With an article, for errors.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Text => "a text",
            Self::Integer => "a whole number",
            Self::Number => "a number",
            Self::Switch => "true or false",
            Self::List => "a list",
            Self::Moment => "a date",
            Self::Section | Self::Open => "a section",
        }
    }

    fn takes(self, given: Self) -> bool {
        self == given
            || matches!(
                (self, given),
                (Self::Number, Self::Integer)
                    | (Self::Section, Self::Open)
                    | (Self::Open, Self::Section)
            )
    }
}

/// Every key of the defaults, dotted, with its kind.
pub(super) struct Shape(BTreeMap<String, Kind>);

impl Shape {
    pub(super) fn parse(defaults: &str) -> Result<Self, ConfigError> {
        let table = defaults
            .parse::<Table>()
            .map_err(|error| ConfigError::syntax(Origin::Defaults, defaults, &error))?;
        let mut keys = BTreeMap::new();
        collect("", &table, &mut keys);
        Ok(Self(keys))
    }

    /// The kind of a key; what lies below an open table counts as [`Kind::Text`].
    pub(super) fn kind(&self, key: &str) -> Option<Kind> {
        self.0
            .get(key)
            .copied()
            .or_else(|| self.is_below_open(key).then_some(Kind::Text))
    }

    /// Whether the defaults themselves have this key.
    pub(super) fn names(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    fn is_below_open(&self, key: &str) -> bool {
        key.match_indices('.')
            .any(|(end, _)| self.0.get(&key[..end]) == Some(&Kind::Open))
    }

    /// Refuses what the defaults do not have, and what they have as something else.
    pub(super) fn check(&self, table: &Table, origin: &Origin) -> Result<(), ConfigError> {
        self.check_below("", table, origin)
    }

    fn check_below(
        &self,
        section: &str,
        table: &Table,
        origin: &Origin,
    ) -> Result<(), ConfigError> {
        for (name, value) in table {
            let key = join(section, name);
            let Some(&kind) = self.0.get(&key) else {
                return Err(self.unknown(key, origin.clone()));
            };
            let found = Kind::of(value);
            if !kind.takes(found) {
                return Err(ConfigError::WrongType {
                    origin: origin.clone(),
                    key,
                    expected: kind.words(),
                    found: found.words(),
                });
            }
            if let (Kind::Section, Value::Table(inner)) = (kind, value) {
                self.check_below(&key, inner, origin)?;
            }
        }
        Ok(())
    }

    /// The error for a key that does not exist, with the nearest one that does.
    pub(super) fn unknown(&self, key: String, origin: Origin) -> ConfigError {
        let suggestion = self
            .0
            .keys()
            .map(|known| (strsim::normalized_damerau_levenshtein(known, &key), known))
            .filter(|(nearness, _)| *nearness >= NEAR)
            .max_by(|(a, _), (b, _)| a.total_cmp(b))
            .map(|(_, known)| known.clone());
        ConfigError::Unknown {
            origin,
            key,
            suggestion,
        }
    }
}

fn collect(section: &str, table: &Table, keys: &mut BTreeMap<String, Kind>) {
    for (name, value) in table {
        let key = join(section, name);
        if let Value::Table(inner) = value {
            collect(&key, inner, keys);
        }
        keys.insert(key, Kind::of(value));
    }
}

fn join(section: &str, name: &str) -> String {
    if section.is_empty() {
        name.to_owned()
    } else {
        format!("{section}.{name}")
    }
}
