//! Lists: `limit`, `starting_after`, `has_more`.
//!
//! Deliberately without page numbers: a cursor is stable under inserts. Invariants: a page never
//! holds more than [`MAX_LIMIT`] items, nor more than [`MAX_BYTES`] of those that may be large.

use serde::{Deserialize, Serialize};

/// The most items in a page.
pub const MAX_LIMIT: u16 = 100;
/// Items in a page where nothing is asked for.
pub const DEFAULT_LIMIT: u16 = 20;

/// The most bytes of large items in a page: an answer is in memory until its client has taken it, however
/// slowly.
pub const MAX_BYTES: usize = 1024 * 1024;

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

    /// As [`Page::of`], of items that may be large: it ends before the one that would be too much, but has
    /// one at least.
    pub fn of_large(probed: Vec<T>, limit: Limit, bytes: impl Fn(&T) -> usize) -> Self {
        let mut page = Self::of(probed, limit);
        let mut all = 0;
        let fitting = page.data.iter().take_while(|item| {
            all += bytes(item);
            all <= MAX_BYTES
        });
        let fitting = fitting.count().max(1);
        page.has_more |= fitting < page.data.len();
        page.data.truncate(fitting);
        page
    }

    /// The same page with other items.
    pub fn map<U>(self, convert: impl FnMut(T) -> U) -> Page<U> {
        Page {
            data: self.data.into_iter().map(convert).collect(),
            has_more: self.has_more,
        }
    }
}
