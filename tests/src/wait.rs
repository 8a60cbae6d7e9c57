//! Waiting for a condition.
//!
//! Deliberately the only place that pauses. Invariant: what does not become true in time fails the
//! test and names what was waited for.

use std::future::Future;
use std::time::{Duration, Instant};

/// Generous: a loaded machine with two cores needs it, and a passing test never uses it up.
pub const DEADLINE: Duration = Duration::from_secs(30);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(15);

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
        tokio::time::sleep(PAUSE).await;
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
