//! Connections that a cluster's server needs beside the tenants' budget.
//!
//! Deliberately counts what may come at once, whether it is there now or not. Invariant: adding a cluster and
//! the doctor judge by the same count.

use super::connections::{COPIES_AT_ONCE, MOST_CONNECTIONS};
use crate::query;

/// For each replica of platform-service: its pool, copies that it makes at once, and tenants that it asks at once.
const EACH_PLATFORM: u64 = MOST_CONNECTIONS as u64 + COPIES_AT_ONCE as u64 + query::AT_ONCE as u64;
/// For each replica of a service that owns schemas: its migrations at once, as `migrations.at_once` comes.
const EACH_SERVICE: u64 = 4;

/// Who has connections beside the budget, as the registry sees them.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Beside {
    /// Replicas of platform-service that run.
    pub(crate) platforms: u64,
    /// Living replicas of services that own schemas.
    pub(crate) services: u64,
}

impl Beside {
    /// What they may take at once. Of either there is one at least: it is about to start.
    pub(crate) fn connections(self) -> u64 {
        EACH_PLATFORM * self.platforms.max(1) + EACH_SERVICE * self.services.max(1)
    }
}
