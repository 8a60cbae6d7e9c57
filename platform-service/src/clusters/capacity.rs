//! What operators may say of a cluster's capacity, when it is added and later.
//!
//! Deliberately pure. Invariant: what passes fits the registry's columns and is never zero.

use std::collections::BTreeMap;

use contract::labels;
use kit::error::Rule;

const MAX_BUDGET: u32 = 100_000;
const MAX_WEIGHT: u32 = 1000;
const MAX_TIERS: usize = 20;
/// What the columns hold.
const MAX_DATABASES: u32 = i32::MAX.unsigned_abs();
const MAX_BYTES: u64 = i64::MAX.unsigned_abs();

/// What a cluster may hold, and for whom.
#[derive(Debug, Clone, Copy)]
pub(super) struct Capacity<'a> {
    pub(super) connection_budget: u32,
    pub(super) max_databases: Option<u32>,
    pub(super) max_disk_bytes: Option<u64>,
    pub(super) weight: u32,
    pub(super) tiers: Option<&'a [String]>,
    pub(super) labels: &'a BTreeMap<String, String>,
}

impl Capacity<'_> {
    /// Its rules.
    pub(super) fn rules(self) -> [Rule; 6] {
        [
            (
                "/connection_budget",
                "is 1 to 100000",
                (1..=MAX_BUDGET).contains(&self.connection_budget),
            ),
            (
                "/max_databases",
                "is 1 to 2147483647",
                self.max_databases
                    .is_none_or(|databases| (1..=MAX_DATABASES).contains(&databases)),
            ),
            (
                "/max_disk_bytes",
                "is at least 1",
                self.max_disk_bytes
                    .is_none_or(|bytes| (1..=MAX_BYTES).contains(&bytes)),
            ),
            (
                "/weight",
                "is 1 to 1000",
                (1..=MAX_WEIGHT).contains(&self.weight),
            ),
            (
                "/tiers",
                "names 1 to 20 tiers; leave it out for every tier",
                self.tiers
                    .is_none_or(|tiers| (1..=MAX_TIERS).contains(&tiers.len())),
            ),
            ("/labels", labels::RULE, labels::fit(self.labels)),
        ]
    }
}
