//! What an object is called: segments of plain characters, parsed once.
//!
//! Deliberately narrower than any store allows, so that a path means the same in every one. Invariant:
//! no segment is `.`, `..` or begins with a dot, so a path never leaves its folder and never names a
//! file that is still being written.

use std::fmt;
use std::str::FromStr;

/// Longest path, in bytes.
const MAX_BYTES: usize = 512;
/// Longest segment, in bytes.
const MAX_SEGMENT_BYTES: usize = 100;

/// The path of an object, or of a folder of objects: `tenants/t_acme/backups/x.dump`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectPath(String);

/// A text that is no path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a path is at most {MAX_BYTES} bytes of segments between slashes, each 1 to \
     {MAX_SEGMENT_BYTES} of a-z, 0-9, ., _ and - and not beginning with a dot"
)]
pub struct InvalidPath;

impl ObjectPath {
    /// The text of the path.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path of something in this folder.
    ///
    /// # Errors
    /// The segment, or the whole, is no path.
    pub fn join(&self, segment: &str) -> Result<Self, InvalidPath> {
        format!("{self}/{segment}").parse()
    }

    /// The path without its last segment; none where it has one alone.
    pub(super) fn split_last(&self) -> (Option<&str>, &str) {
        match self.0.rsplit_once('/') {
            Some((folder, name)) => (Some(folder), name),
            None => (None, &self.0),
        }
    }
}

impl FromStr for ObjectPath {
    type Err = InvalidPath;

    fn from_str(text: &str) -> Result<Self, InvalidPath> {
        if text.len() <= MAX_BYTES && text.split('/').all(is_segment) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidPath)
        }
    }
}

fn is_segment(segment: &str) -> bool {
    (1..=MAX_SEGMENT_BYTES).contains(&segment.len())
        && !segment.starts_with('.')
        && segment
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b))
}

impl fmt::Display for ObjectPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_never_leaves_its_folder() {
        for text in ["a", "tenants/t_acme/backups/bak_01.dump", "a-b/c.d"] {
            assert_eq!(text.parse::<ObjectPath>().unwrap().as_str(), text);
        }
        let long = "a".repeat(MAX_SEGMENT_BYTES + 1);
        let deep = ["a"; MAX_BYTES].join("/");
        for text in [
            "", "/", "/a", "a/", "a//b", ".", "..", "a/../b", "a/.part", "A", "a b", "a\\b", "a\0",
            &long, &deep,
        ] {
            assert_eq!(text.parse::<ObjectPath>(), Err(InvalidPath), "{text:?}");
        }
    }
}
