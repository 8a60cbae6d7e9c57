//! Settings of what is done to tenants that exist: objects, tools, purges, holds, backups, sweeps.
//!
//! Deliberately read alone; who does the work decides with them. Invariant: empty texts are `None`
//! here, so nobody compares with an empty one.

use std::path::PathBuf;
use std::str::FromStr;

use kit::config::Period;
use serde::{Deserialize, Deserializer};
use time::{Duration, Time};

use super::optional_text;

/// Where backups and archives are kept.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectSettings {
    /// Which store.
    pub store: ObjectStoreKind,
    /// The folder; none keeps no objects.
    #[serde(deserialize_with = "optional_path")]
    pub folder: Option<PathBuf>,
    /// Where archives are spooled; none takes the system's.
    #[serde(deserialize_with = "optional_path")]
    pub work_dir: Option<PathBuf>,
}

/// A kind of object store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ObjectStoreKind {
    /// A folder of a file system.
    Folder,
}

/// The programs of PostgreSQL.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolSettings {
    /// Their folder; none looks for them.
    #[serde(deserialize_with = "optional_path")]
    pub bin_dir: Option<PathBuf>,
}

/// When deleted tenants are purged.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PurgeSettings {
    /// In UTC.
    pub window: DailyWindow,
    /// Purges at once.
    pub at_once: u32,
}

/// How long requests of a tenant may be held.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HoldSettings {
    /// Until every replica holds them.
    pub acknowledge: Period,
    /// For what is under way.
    pub drain: Period,
    /// In all.
    pub longest: Period,
}

/// Backups by schedule, and exports.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackupSettings {
    /// How often due ones, and what is kept for a time that is over, are looked for.
    pub check_every: Period,
    /// How long an export is kept.
    pub keep_exports: Period,
}

/// What nobody claims.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SweepSettings {
    /// How often it is looked for.
    pub every: Period,
    /// How long a find stays.
    pub grace: Period,
}

/// A part of every day, e.g. `01:00-05:00`; one that ends before it begins goes over midnight, and one
/// that ends where it begins is the whole day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct DailyWindow {
    from: Time,
    to: Time,
}

impl DailyWindow {
    /// Whether a time of the day lies in it.
    pub fn contains(self, time: Time) -> bool {
        let since = |later: Time| (later - self.from + Duration::DAY).whole_seconds() % 86_400;
        self.from == self.to || since(time) < since(self.to)
    }
}

/// A text that is no part of a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a window is two times of the day like 01:00-05:00")]
pub struct InvalidWindow;

impl FromStr for DailyWindow {
    type Err = InvalidWindow;

    fn from_str(text: &str) -> Result<Self, InvalidWindow> {
        let format = time::macros::format_description!("[hour]:[minute]");
        let read = |text: &str| Time::parse(text, &format).map_err(|_| InvalidWindow);
        let (from, to) = text.split_once('-').ok_or(InvalidWindow)?;
        Ok(Self {
            from: read(from)?,
            to: read(to)?,
        })
    }
}

impl TryFrom<String> for DailyWindow {
    type Error = InvalidWindow;

    fn try_from(text: String) -> Result<Self, InvalidWindow> {
        text.parse()
    }
}

fn optional_path<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    Ok(optional_text(deserializer)?.map(PathBuf::from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_may_go_over_midnight() {
        let within = |window: &str, time: &str| {
            let window: DailyWindow = window.parse().unwrap();
            let format = time::macros::format_description!("[hour]:[minute]");
            window.contains(Time::parse(time, &format).unwrap())
        };
        for (window, time, expected) in [
            ("01:00-05:00", "01:00", true),
            ("01:00-05:00", "04:59", true),
            ("01:00-05:00", "05:00", false),
            ("01:00-05:00", "23:00", false),
            ("23:00-02:00", "23:30", true),
            ("23:00-02:00", "01:59", true),
            ("23:00-02:00", "02:00", false),
            ("00:00-00:00", "12:00", true),
        ] {
            assert_eq!(within(window, time), expected, "{window} {time}");
        }
        for text in ["", "1-2", "01:00", "25:00-01:00"] {
            assert_eq!(text.parse::<DailyWindow>(), Err(InvalidWindow), "{text}");
        }
    }
}
