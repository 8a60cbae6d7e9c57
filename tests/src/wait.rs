//! Waiting for a condition.
//!
//! Deliberately the only place that pauses. Invariant: what does not become true in time fails the
//! test and names what was waited for.

use std::future::Future;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

/// Generous: a loaded machine with two cores needs it, and a passing test never uses it up.
pub const DEADLINE: Duration = Duration::from_secs(30);
/// Between two looks: a share of what was waited so far, within limits. Looks cost the machine that is waited for.
const PAUSE: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_millis(80);
const PAUSE_SHARE: u32 = 10;

/// Looks until there is something, for `deadline` at most.
///
/// # Panics
/// When nothing came in time.
pub async fn eventually<T, F, Look>(deadline: Duration, what: &str, mut look: F) -> T
where
    F: FnMut() -> Look,
    Look: Future<Output = Option<T>>,
{
    let started = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(
            started.elapsed() < deadline,
            "{what}: not within {deadline:?}"
        );
        let pause = started.elapsed() / PAUSE_SHARE;
        tokio::time::sleep(pause.clamp(*PAUSE.start(), *PAUSE.end())).await;
    }
}

/// Looks until it is so, for [`DEADLINE`] at most.
///
/// # Panics
/// When it did not become so.
pub async fn until<F, Look>(what: &str, mut look: F)
where
    F: FnMut() -> Look,
    Look: Future<Output = bool>,
{
    eventually(DEADLINE, what, || {
        let looked = look();
        async move { looked.await.then_some(()) }
    })
    .await;
}
