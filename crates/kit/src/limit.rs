//! Rate limits: one for everybody, or one per key with bounded memory.
//!
//! Deliberately per process: replicas do not share counts. Invariant: a [`KeyedLimiter`] never
//! holds more keys than its cap; when all of them are in use, unknown keys are refused, so a flood
//! of new keys cannot grow it and cannot push the known ones out.

#[cfg(test)]
mod tests;

mod rate;

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use governor::RateLimiter;
use governor::clock::{Clock, DefaultClock};
use governor::nanos::Nanos;
use governor::state::keyed::ShrinkableKeyedStateStore;
use governor::state::{InMemoryState, NotKeyed, StateStore};

pub use rate::{Rate, RateError};

/// A full map is searched for stale keys at most this often.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Refused: ask again after this long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("over the rate limit for another {0:?}")]
pub struct Wait(pub Duration);

/// One rate limit for all callers.
#[derive(Debug)]
pub struct GlobalLimiter {
    limiter: RateLimiter<NotKeyed, InMemoryState, DefaultClock>,
    clock: DefaultClock,
}

impl GlobalLimiter {
    /// Starts with the whole burst available.
    pub fn new(rate: Rate) -> Self {
        let clock = DefaultClock::default();
        Self {
            limiter: RateLimiter::direct_with_clock(rate.quota(), clock.clone()),
            clock,
        }
    }

    /// Takes one, or says how long until there is one.
    pub fn check(&self) -> Result<(), Wait> {
        self.limiter
            .check()
            .map_err(|refused| Wait(refused.wait_time_from(self.clock.now())))
    }
}

/// One rate limit per key, for at most `cap` keys at once.
pub struct KeyedLimiter<K: Hash + Eq + Clone> {
    limiter: RateLimiter<K, Bounded<K>, DefaultClock>,
    store: Bounded<K>,
    clock: DefaultClock,
    swept: Mutex<Option<Instant>>,
}

impl<K: Hash + Eq + Clone> KeyedLimiter<K> {
    /// Every key starts with the whole burst available; `cap` bounds the keys that are remembered.
    pub fn new(rate: Rate, cap: usize) -> Self {
        let clock = DefaultClock::default();
        let store = Bounded {
            cap,
            arrivals: Arc::new(Mutex::new(HashMap::new())),
        };
        Self {
            limiter: RateLimiter::new(rate.quota(), store.clone(), clock.clone()),
            store,
            clock,
            swept: Mutex::new(None),
        }
    }

    /// Takes one for this key, or says how long until there is one. A new key is refused while
    /// the cap is spent on keys that are in use.
    pub fn check(&self, key: &K) -> Result<(), Wait> {
        if !self.store.admits(key) {
            self.sweep();
            if !self.store.admits(key) {
                return Err(Wait(SWEEP_INTERVAL));
            }
        }
        self.limiter
            .check_key(key)
            .map_err(|refused| Wait(refused.wait_time_from(self.clock.now())))
    }

    /// Keys that are remembered now.
    pub fn len(&self) -> usize {
        self.limiter.len()
    }

    /// Whether no key is remembered.
    pub fn is_empty(&self) -> bool {
        self.limiter.is_empty()
    }

    /// Forgets the keys whose burst is whole again, unless that was just done.
    fn sweep(&self) {
        {
            let mut swept = lock(&self.swept);
            if swept.is_some_and(|at| at.elapsed() < SWEEP_INTERVAL) {
                return;
            }
            *swept = Some(Instant::now());
        }
        self.limiter.retain_recent();
    }
}

impl<K: Hash + Eq + Clone> std::fmt::Debug for KeyedLimiter<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyedLimiter")
            .field("cap", &self.store.cap)
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

/// The theoretical arrival time of each key's next cell; clones share it.
#[derive(Clone)]
struct Bounded<K> {
    cap: usize,
    arrivals: Arc<Mutex<HashMap<K, Nanos>>>,
}

impl<K: Hash + Eq> Bounded<K> {
    fn admits(&self, key: &K) -> bool {
        let arrivals = lock(&self.arrivals);
        arrivals.len() < self.cap || arrivals.contains_key(key)
    }
}

impl<K: Hash + Eq + Clone> StateStore for Bounded<K> {
    type Key = K;

    fn measure_and_replace<T, F, E>(&self, key: &K, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut arrivals = lock(&self.arrivals);
        if let Some(arrival) = arrivals.get_mut(key) {
            let (outcome, next) = f(Some(*arrival))?;
            *arrival = next;
            return Ok(outcome);
        }
        let (outcome, next) = f(None)?;
        // Two new keys can be admitted at once for the last place; the later one is let through
        // and not remembered.
        if arrivals.len() < self.cap {
            arrivals.insert(key.clone(), next);
        }
        Ok(outcome)
    }
}

impl<K: Hash + Eq + Clone> ShrinkableKeyedStateStore<K> for Bounded<K> {
    fn retain_recent(&self, drop_below: Nanos) {
        lock(&self.arrivals).retain(|_, arrival| *arrival > drop_below);
    }

    fn len(&self) -> usize {
        lock(&self.arrivals).len()
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The maps hold plain numbers, which are whole after a panic too.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
