//! When a replica does what it does again and again.
//!
//! Deliberately knows nothing of what is done, or by how many replicas. Invariant: replicas that are started
//! together do not all look at once, and one that has just started serves before it tidies up.

use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior};

/// The first time comes within such a part of the period.
const FIRST_WITHIN: f64 = 0.1;

/// Ticks once per `period`, and less often where the work takes longer than that.
pub(crate) fn every(period: Duration) -> Interval {
    let first = period.mul_f64(rand::random_range(0.0..FIRST_WITHIN));
    let mut tick = tokio::time::interval_at(Instant::now() + first, period);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick
}
