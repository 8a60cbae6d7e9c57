//! The files that sqlx's macros read instead of asking a database: one per statement.
//!
//! Deliberately does not look into them beyond the statement, which names them to people. Invariant:
//! while a folder is being replaced, a build that runs finds every file that old and new have in
//! common.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::Context as _;

/// Characters of a statement that are enough to recognise it.
const SHOWN_CHARS: usize = 100;

/// What to do about a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Bring the data up to date.
    Replace,
    /// Only tell.
    Check,
}

/// The files of one folder, by name.
pub(crate) struct OfflineData(BTreeMap<String, Vec<u8>>);

impl OfflineData {
    /// Reads a folder; one that is not there has no files.
    pub(crate) fn read(folder: &Path) -> anyhow::Result<Self> {
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self(BTreeMap::new())),
            entries => entries.with_context(|| folder.display().to_string())?,
        };
        let mut files = BTreeMap::new();
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            files.insert(name, fs::read(entry.path())?);
        }
        Ok(Self(files))
    }

    /// How many statements these are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Makes `folder` hold these files and no others. Each appears whole, by a rename.
    pub(crate) fn replace(&self, folder: &Path) -> anyhow::Result<()> {
        fs::create_dir_all(folder)?;
        let present = Self::read(folder)?;
        for (name, content) in &self.0 {
            if present.0.get(name) != Some(content) {
                let new = folder.join(format!("{name}.new"));
                fs::write(&new, content)?;
                fs::rename(&new, folder.join(name))?;
            }
        }
        for stale in present.0.keys().filter(|name| !self.0.contains_key(*name)) {
            fs::remove_file(folder.join(stale))?;
        }
        Ok(())
    }
}

/// How the data that is kept differs from what the code needs. `Display` names each statement.
pub(crate) struct Drift(Vec<String>);

impl Drift {
    /// Compares.
    pub(crate) fn between(kept: &OfflineData, needed: &OfflineData) -> Self {
        let mut lines = Vec::new();
        for (name, content) in &needed.0 {
            let what = match kept.0.get(name) {
                None => "missing",
                Some(kept) if kept != content => "changed",
                Some(_) => continue,
            };
            lines.push(format!("{what}: {}", statement(content)));
        }
        for (name, content) in &kept.0 {
            if !needed.0.contains_key(name) {
                lines.push(format!("not needed any more: {}", statement(content)));
            }
        }
        Self(lines)
    }

    /// Whether both are alike.
    pub(crate) fn is_none(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_none() {
            return f.write_str("up to date");
        }
        write!(f, "{} differ from what is kept", self.0.len())?;
        self.0.iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}

/// The beginning of a file's statement, on one line.
fn statement(content: &[u8]) -> String {
    let file: serde_json::Value = serde_json::from_slice(content).unwrap_or_default();
    let words: Vec<&str> = file["query"]
        .as_str()
        .unwrap_or("a file without a statement")
        .split_whitespace()
        .collect();
    words.join(" ").chars().take(SHOWN_CHARS).collect()
}

#[cfg(test)]
mod tests;
