//! A refusal that points into a value.
//!
//! Deliberately by way of the error's words: serde hands on nothing else, so a type that reads a text of its
//! own could only point at itself. Invariant: nobody can forge one, because it opens with a NUL character,
//! which no text that was read holds.

use std::fmt;

const MARK: char = '\0';

/// A part of a value breaks its rule: what parsing a value may fail with, for [`super::parse`] to point at
/// the part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartRefused {
    pointer: String,
    rule: &'static str,
}

impl PartRefused {
    /// `pointer` leads from the value to the part (RFC 6901); the rule is in words.
    pub fn new(pointer: String, rule: &'static str) -> Self {
        Self { pointer, rule }
    }

    /// The pointer and the rest of the words of an error that was made of one.
    pub(crate) fn split(words: &str) -> Option<(&str, &str)> {
        words.strip_prefix(MARK)?.rsplit_once(MARK)
    }
}

impl fmt::Display for PartRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pointer, rule } = self;
        write!(f, "{MARK}{pointer}{MARK}{rule}")
    }
}

impl std::error::Error for PartRefused {}
