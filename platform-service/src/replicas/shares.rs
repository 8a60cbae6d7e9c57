//! How a cluster's budget of connections is shared by the replicas that live.
//!
//! Deliberately knows no cluster and no clock. Invariant: the connections that all replicas may
//! hold together never exceed the budget, whatever answer is lost or late: a smaller share counts
//! only when its replica said that it keeps to it.

/// What a replica may hold, and what it may still hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Share {
    /// What it was last granted.
    pub(crate) granted: u32,
    /// The most that it may still hold, until it says that it keeps to less.
    pub(crate) held: u32,
}

impl Share {
    /// What must be kept free for it.
    pub(crate) fn reserved(self) -> u32 {
        self.granted.max(self.held)
    }

    /// After another grant. What was granted before may be in use until the replica says less.
    pub(crate) fn regranted(self, granted: u32) -> Self {
        let held = if granted < self.granted {
            self.reserved()
        } else {
            self.held
        };
        Self { granted, held }
    }
}

/// What each replica that lives may hold now. `budget` is without what silent replicas still
/// reserve.
///
/// Each aims at an equal share, and one share more stays free, so that a replica that starts gets
/// one before the others have given theirs back. A share shrinks at once and grows by what is free.
pub(crate) fn grants(budget: u32, replicas: &[Share]) -> Vec<u32> {
    let parts = u32::try_from(replicas.len())
        .unwrap_or(u32::MAX)
        .saturating_add(1);
    // A budget smaller than the number of replicas serves those that came first.
    let target = (budget / parts).max(1);
    let reserved = replicas
        .iter()
        .fold(0_u32, |sum, share| sum.saturating_add(share.reserved()));
    let mut free = budget.saturating_sub(reserved);
    replicas
        .iter()
        .map(|share| {
            if share.granted >= target {
                return target;
            }
            let granted = target.min(share.reserved().saturating_add(free));
            free -= granted.saturating_sub(share.reserved());
            granted
        })
        .collect()
}

#[cfg(test)]
mod tests;
