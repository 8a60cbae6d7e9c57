//! What hashing one password costs.
//!
//! Deliberately no automatic tuning. Invariant: settings cannot go below the OWASP minimum.

use argon2::Params;
use serde::Deserialize;

/// Memory, passes and lanes of argon2id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "CostSettings")]
pub struct PasswordCost {
    memory_kib: u32,
    iterations: u32,
    parallelism: u32,
}

/// The cost as settings write it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CostSettings {
    memory_kib: u32,
    iterations: u32,
    parallelism: u32,
}

/// A cost that is refused.
#[derive(Debug, thiserror::Error)]
#[error(
    "costs the attacker too little or is out of range: at least memory_kib {}, iterations {} and \
     parallelism {}, or memory_kib {} with one iteration",
    PasswordCost::MIN_MEMORY_KIB,
    PasswordCost::MIN_ITERATIONS,
    PasswordCost::MIN_PARALLELISM,
    PasswordCost::MIN_MEMORY_KIB_ONE_PASS
)]
pub struct CostError;

impl PasswordCost {
    /// 19 MiB, with two passes or more.
    pub const MIN_MEMORY_KIB: u32 = 19 * 1024;
    /// 46 MiB makes up for a single pass.
    pub const MIN_MEMORY_KIB_ONE_PASS: u32 = 46 * 1024;
    /// Passes over the memory.
    pub const MIN_ITERATIONS: u32 = 2;
    /// Lanes.
    pub const MIN_PARALLELISM: u32 = 1;
    /// 1 GiB: more would let a few logins take the machine's memory.
    pub const MAX_MEMORY_KIB: u32 = 1024 * 1024;
    /// Passes that a login can still wait for.
    pub const MAX_ITERATIONS: u32 = 64;
    /// Lanes; they are computed one after the other.
    pub const MAX_PARALLELISM: u32 = 16;

    /// A cost at or above the minimum.
    pub fn new(memory_kib: u32, iterations: u32, parallelism: u32) -> Result<Self, CostError> {
        let enough = memory_kib >= Self::MIN_MEMORY_KIB && iterations >= Self::MIN_ITERATIONS
            || memory_kib >= Self::MIN_MEMORY_KIB_ONE_PASS && iterations >= 1;
        let in_range = memory_kib <= Self::MAX_MEMORY_KIB
            && iterations <= Self::MAX_ITERATIONS
            && (Self::MIN_PARALLELISM..=Self::MAX_PARALLELISM).contains(&parallelism);
        if !(enough && in_range) {
            return Err(CostError);
        }
        Ok(Self {
            memory_kib,
            iterations,
            parallelism,
        })
    }

    /// Almost free, and worthless against an attacker: only for tests that make many users. No
    /// setting reaches it.
    pub const fn weak_for_tests() -> Self {
        Self {
            memory_kib: 64,
            iterations: 1,
            parallelism: 1,
        }
    }

    /// Both constructors stay within what argon2 takes.
    pub(super) fn params(self) -> Params {
        Params::new(self.memory_kib, self.iterations, self.parallelism, None)
            .unwrap_or(Params::DEFAULT)
    }
}

impl Default for PasswordCost {
    fn default() -> Self {
        Self {
            memory_kib: Self::MIN_MEMORY_KIB,
            iterations: Self::MIN_ITERATIONS,
            parallelism: Self::MIN_PARALLELISM,
        }
    }
}

impl TryFrom<CostSettings> for PasswordCost {
    type Error = CostError;

    fn try_from(cost: CostSettings) -> Result<Self, CostError> {
        Self::new(cost.memory_kib, cost.iterations, cost.parallelism)
    }
}
