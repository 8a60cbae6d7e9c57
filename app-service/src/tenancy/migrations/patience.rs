//! How long a run of migrations waits for other runs.
//!
//! Deliberately says nothing of how long a run itself takes. Invariant: of a call for several databases, none but
//! the first waits for longer than the call's budget.

use std::time::{Duration, Instant};

use kit::migrate::RunLimits;
use tokio::sync::{Semaphore, SemaphorePermit};

/// How long a run waits for others: for its slot, and for the lock of its database.
#[derive(Debug, Clone, Copy)]
pub(super) enum Patience {
    /// For a slot until it has one, for the lock as long as the limits of runs say.
    Long,
    /// For both until then.
    Until(Instant),
}

impl Patience {
    /// A slot, unless there is none for too long.
    pub(super) async fn slot(self, slots: &Semaphore) -> Option<SemaphorePermit<'_>> {
        let slot = match self {
            Self::Long => slots.acquire().await,
            Self::Until(then) => {
                let slot = tokio::time::timeout_at(then.into(), slots.acquire());
                slot.await.ok()?
            }
        };
        slot.ok()
    }

    /// How much longer the lock may take.
    pub(super) fn lock_wait(self, limits: RunLimits) -> Duration {
        match self {
            Self::Long => limits.lock_wait,
            Self::Until(then) => then.saturating_duration_since(Instant::now()),
        }
    }
}
