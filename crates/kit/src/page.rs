//! Lists: `limit`, `starting_after`, `has_more`.
//!
//! Deliberately without page numbers: a cursor is stable under inserts. Invariant: a page never
//! holds more than [`MAX_LIMIT`] items.

use serde::{Deserialize, Serialize};

/// The most items in a page.
pub const MAX_LIMIT: u16 = 100;
/// Items in a page where nothing is asked for.
pub const DEFAULT_LIMIT: u16 = 20;

/// How many items to show: 1 to 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(try_from = "u16")]
#[schema(value_type = u16, minimum = 1, maximum = 100, default = 20, example = 20)]
pub struct Limit(u16);

impl Limit {
    /// One more than asked for, to learn whether there is more.
    pub fn probe(self) -> i64 {
        i64::from(self.0) + 1
    }
}

impl Default for Limit {
    fn default() -> Self {
        Self(DEFAULT_LIMIT)
    }
}

impl TryFrom<u16> for Limit {
    type Error = &'static str;

    fn try_from(number: u16) -> Result<Self, Self::Error> {
        if (1..=MAX_LIMIT).contains(&number) {
            Ok(Self(number))
        } else {
            Err("limit is 1 to 100")
        }
    }
}

/// A page of a list.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Page<T> {
    /// The items.
    pub data: Vec<T>,
    /// Whether more follow the last one; ask with `starting_after` set to its id.
    pub has_more: bool,
}

impl<T> Page<T> {
    /// A page of what a query with [`Limit::probe`] rows gave.
    pub fn of(mut probed: Vec<T>, limit: Limit) -> Self {
        let has_more = probed.len() > usize::from(limit.0);
        probed.truncate(usize::from(limit.0));
        Self {
            data: probed,
            has_more,
        }
    }

    /// The same page with other items.
    pub fn map<U>(self, convert: impl FnMut(T) -> U) -> Page<U> {
        Page {
            data: self.data.into_iter().map(convert).collect(),
            has_more: self.has_more,
        }
    }
}
