//! A length of time as settings write it.
//!
//! Deliberately one number and one unit. Invariant: what `Display` writes, `FromStr` reads.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;

/// A length of time in a setting: `250ms`, `10s`, `5m`, `2h` or `30d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Period(Duration);

/// Not a length of time.
#[derive(Debug, thiserror::Error)]
#[error("is not a length of time: write a whole number and one of ms, s, m, h, d, like \"10s\"")]
pub struct PeriodError;

/// Milliseconds per unit, largest first.
const UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

impl Period {
    /// This length of time, in whole milliseconds.
    pub const fn new(duration: Duration) -> Self {
        Self(duration)
    }

    /// The length of time.
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl From<Period> for Duration {
    fn from(period: Period) -> Self {
        period.0
    }
}

impl FromStr for Period {
    type Err = PeriodError;

    fn from_str(text: &str) -> Result<Self, PeriodError> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let number = number.parse::<u64>().map_err(|_| PeriodError)?;
        let (_, millis) = UNITS
            .into_iter()
            .find(|(name, _)| *name == unit.trim())
            .ok_or(PeriodError)?;
        let total = number.checked_mul(millis).ok_or(PeriodError)?;
        Ok(Self(Duration::from_millis(total)))
    }
}

impl TryFrom<String> for Period {
    type Error = PeriodError;

    fn try_from(text: String) -> Result<Self, PeriodError> {
        text.parse()
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        let exact = UNITS
            .into_iter()
            .find(|(_, millis)| total >= *millis && total % millis == 0);
        match exact {
            Some((unit, millis)) => write!(f, "{}{unit}", total / millis),
            None => write!(f, "{total}ms"),
        }
    }
}
