//! Tenants whose database is about to be moved or replaced: their requests wait here.
//!
//! Deliberately before any permit is taken, so that a tenant that waits takes nothing from others.
//! Invariants: once a hold has begun, no connection of the tenant is given out or kept idle on this
//! replica until it ends; those who wait are bounded, for each tenant and in all.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use contract::TenantId;
use tokio::sync::watch;

/// How often those who wait look by themselves, for the case that the news of the end are lost; a
/// held tenant is renewed as often.
pub(super) const LOOK: Duration = Duration::from_millis(500);
/// Requests of one tenant that wait at once.
const WAITING_PER_TENANT: usize = 512;
/// Requests of all tenants that wait at once.
const WAITING_IN_ALL: usize = 8192;

/// The holds of this replica; clones share them.
#[derive(Clone, Default)]
pub(crate) struct Holds(Arc<Inner>);

#[derive(Default)]
struct Inner {
    /// How many tenants are held, for a look without a lock.
    count: AtomicUsize,
    waiting: AtomicUsize,
    tenants: Mutex<HashMap<TenantId, Hold>>,
}

struct Hold {
    /// The tenant's generation with which it began.
    generation: u64,
    /// Dropped at the end, which wakes those who wait.
    bell: watch::Sender<()>,
}

/// There is no room left to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Crowded;

impl Holds {
    /// Holds a tenant from this generation on.
    pub(super) fn begin(&self, tenant: &TenantId, generation: u64) {
        let mut tenants = self.tenants();
        match tenants.get_mut(tenant) {
            Some(hold) => hold.generation = hold.generation.max(generation),
            None => {
                let (bell, _) = watch::channel(());
                tenants.insert(tenant.clone(), Hold { generation, bell });
                self.0.count.store(tenants.len(), Ordering::SeqCst);
            }
        }
    }

    /// Ends the hold of a tenant that is of this generation now and not held, and wakes its requests.
    pub(super) fn end(&self, tenant: &TenantId, generation: u64) {
        if self.0.count.load(Ordering::SeqCst) == 0 {
            return;
        }
        let mut tenants = self.tenants();
        if tenants
            .get(tenant)
            .is_some_and(|hold| hold.generation < generation)
        {
            tenants.remove(tenant);
            self.0.count.store(tenants.len(), Ordering::SeqCst);
        }
    }

    /// Ends the hold of a tenant that is gone, whenever it began.
    pub(super) fn end_any(&self, tenant: &TenantId) {
        let mut tenants = self.tenants();
        tenants.remove(tenant);
        self.0.count.store(tenants.len(), Ordering::SeqCst);
    }

    /// Ends all: what was heard counts no more. Those who wait ask again.
    pub(super) fn end_all(&self) {
        let mut tenants = self.tenants();
        tenants.clear();
        self.0.count.store(0, Ordering::SeqCst);
    }

    /// Whether a tenant is held.
    pub(super) fn is_held(&self, tenant: &TenantId) -> bool {
        self.0.count.load(Ordering::SeqCst) > 0 && self.tenants().contains_key(tenant)
    }

    /// Waits for the end of a tenant's hold, for `longest` at most.
    ///
    /// # Errors
    /// Too many wait already.
    pub(super) async fn wait(&self, tenant: &TenantId, longest: Duration) -> Result<(), Crowded> {
        let end = {
            let tenants = self.tenants();
            let Some(hold) = tenants.get(tenant) else {
                return Ok(());
            };
            if hold.bell.receiver_count() >= WAITING_PER_TENANT {
                return Err(Crowded);
            }
            hold.bell.subscribe()
        };
        let _place = Place::take(&self.0.waiting).ok_or(Crowded)?;
        // Whether it ended or not, the caller looks again.
        let _ = tokio::time::timeout(longest, ended(end)).await;
        Ok(())
    }

    fn tenants(&self) -> MutexGuard<'_, HashMap<TenantId, Hold>> {
        self.0
            .tenants
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

async fn ended(mut end: watch::Receiver<()>) {
    while end.changed().await.is_ok() {}
}

/// A place among all who wait, given back with the value.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize) -> Option<Self> {
        metrics::gauge!("tenant_held_requests").increment(1.0);
        let place = Self(waiting);
        if waiting.fetch_add(1, Ordering::Relaxed) < WAITING_IN_ALL {
            Some(place)
        } else {
            None
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
        metrics::gauge!("tenant_held_requests").decrement(1.0);
    }
}

#[cfg(test)]
mod tests;
