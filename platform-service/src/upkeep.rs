//! When a replica does what it does again and again.
//!
//! Deliberately knows nothing of what is done, or by how many replicas. Invariant: replicas that are started
//! together do not all look at once, and one that has just started serves before it tidies up.

use std::time::Duration;

use tokio::time::{Instant, Interval, MissedTickBehavior};

/// The first look comes within such a part of the period, and within [`LATEST_FIRST`].
const FIRST_WITHIN: f64 = 0.1;
const LATEST_FIRST: Duration = Duration::from_secs(10);

/// Ticks once per `period`, and less often where the work takes longer than that.
pub(crate) fn every(period: Duration) -> Interval {
    let mut tick = tokio::time::interval_at(Instant::now() + before_first(period), period);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick
}

/// How long a replica waits for its first look at what it looks at once per `period`.
pub(crate) fn before_first(period: Duration) -> Duration {
    let longest = period.mul_f64(FIRST_WITHIN).min(LATEST_FIRST);
    longest.mul_f64(rand::random_range(0.0..1.0))
}
