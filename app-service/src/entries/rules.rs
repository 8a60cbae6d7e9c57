//! What a title, a body, a batch and a search may be.
//!
//! Deliberately pure. Invariant: a value of these types keeps its rule; text from outside becomes
//! one only by parsing.

#[cfg(test)]
mod tests;

use kit::extract::PartRefused;
use kit::json::CompactObject;
use kit::words::{self, NotWords};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::NewEntry;

/// What an entry is called: 1 to 200 characters, one of them visible, without control characters.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(try_from = "String")]
#[schema(value_type = String, min_length = 1, max_length = 200, example = "Minutes of the kickoff")]
pub(super) struct Title(String);

impl Title {
    const MAX_CHARS: usize = 200;

    /// The text.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Title {
    type Error = NotWords;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        words::check(&text, Self::MAX_CHARS)?;
        Ok(Self(text))
    }
}

/// What an entry holds: a JSON object of at most 64 KiB, as compact text.
///
/// Numbers keep every digit, up to 1,000 before and 1,000 after the point, and count written out.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(try_from = "Box<RawValue>")]
#[schema(value_type = Object, example = json!({"place": "Room 4", "people": 6}))]
pub(super) struct Body(String);

impl Body {
    const MAX_BYTES: usize = 64 * 1024;

    /// The JSON text.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<Box<RawValue>> for Body {
    type Error = PartRefused;

    fn try_from(raw: Box<RawValue>) -> Result<Self, Self::Error> {
        let object = CompactObject::read(&raw)?;
        if object.text.len().max(object.written_out) > Self::MAX_BYTES {
            let rule = "a body has at most 65536 bytes as compact JSON";
            return Err(PartRefused::new(String::new(), rule));
        }
        Ok(Self(object.text))
    }
}

/// Entries to be added together: 1 to 500.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(try_from = "Vec<NewEntry>")]
#[schema(value_type = Vec<NewEntry>, min_items = 1, max_items = 500)]
pub(super) struct Batch(Vec<NewEntry>);

impl Batch {
    const MAX_ENTRIES: usize = 500;

    /// The entries.
    pub(super) fn entries(&self) -> &[NewEntry] {
        &self.0
    }
}

impl TryFrom<Vec<NewEntry>> for Batch {
    type Error = &'static str;

    fn try_from(entries: Vec<NewEntry>) -> Result<Self, Self::Error> {
        if (1..=Self::MAX_ENTRIES).contains(&entries.len()) {
            Ok(Self(entries))
        } else {
            Err("a batch has 1 to 500 entries")
        }
    }
}

/// Words to look for: 1 to 200 characters. `"two words"` in quotes stand together, `-word` must be
/// absent, `or` gives a choice.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, utoipa::ToSchema)]
#[serde(try_from = "String")]
#[schema(value_type = String, min_length = 1, max_length = 200, example = "kickoff")]
pub(super) struct Search(String);

impl Search {
    const MAX_CHARS: usize = 200;

    /// The text.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Search {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text.trim().is_empty() || text.chars().count() > Self::MAX_CHARS {
            return Err("q has 1 to 200 characters and is not blank");
        }
        if text.contains('\0') {
            return Err("q has no NUL characters");
        }
        Ok(Self(text))
    }
}
