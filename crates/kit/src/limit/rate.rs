//! A rate as settings write it.
//!
//! Deliberately one shape, a number per period. Invariant: neither of the two is zero.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use governor::Quota;
use serde::Deserialize;

use crate::config::Period;

/// So many per period, all of them at once if need be; text like `10/1m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Rate {
    count: NonZeroU32,
    period: Duration,
}

/// Not a rate.
#[derive(Debug, thiserror::Error)]
#[error(
    "is not a rate: write a number, a slash and a period, like \"10/1m\" (neither may be zero)"
)]
pub struct RateError;

impl Rate {
    /// `count` per `period`; neither may be zero, nor so many that the share of one is.
    pub fn new(count: u32, period: Duration) -> Result<Self, RateError> {
        let count = NonZeroU32::new(count).ok_or(RateError)?;
        if (period / count.get()).is_zero() {
            return Err(RateError);
        }
        Ok(Self { count, period })
    }

    pub(super) fn quota(self) -> Quota {
        Quota::with_period(self.period / self.count.get())
            .unwrap_or_else(|| Quota::per_second(self.count))
            .allow_burst(self.count)
    }
}

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        let (count, period) = text.split_once('/').ok_or(RateError)?;
        let count = count.trim().parse::<u32>().map_err(|_| RateError)?;
        let period = period.trim().parse::<Period>().map_err(|_| RateError)?;
        Self::new(count, period.get())
    }
}

impl TryFrom<String> for Rate {
    type Error = RateError;

    fn try_from(text: String) -> Result<Self, RateError> {
        text.parse()
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.count, Period::new(self.period))
    }
}
