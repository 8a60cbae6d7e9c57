//! What a gate knows: permits, idle connections, and who waits; and who is next.
//!
//! Deliberately without the lock around it, which the gate takes for each question. Invariant: a tenant stands in the
//! queue exactly while it should get one more permit.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use contract::TenantId;

use super::lane::{Lane, Need, Place};
use super::{ToClose, Turn};

/// An idle connection is closed for a tenant that has one and wants more only when nobody has used
/// it for so long; for one that has none it is closed at once.
pub(super) const SPARE_AFTER: Duration = Duration::from_secs(1);
/// How often a connection may be closed for a tenant that has one: each costs as much as some dozens
/// of requests, and where all are late none would be the better for it.
const MOVE_EVERY: Duration = Duration::from_millis(100);

pub(super) struct State<C> {
    pub(super) share: usize,
    /// Permits taken: opening, open (used or idle) and closing.
    pub(super) taken: usize,
    /// Of those, the ones whose connection is being closed to make room.
    pub(super) closing: usize,
    pub(super) waiting: usize,
    /// Whether somebody calls [`Gate::review`].
    pub(super) has_reviewer: bool,
    pub(super) lanes: HashMap<TenantId, Lane<C>>,
    /// All idle connections, least recently used first.
    pub(super) idle_order: BTreeMap<u64, TenantId>,
    pub(super) next_idle: u64,
    /// Tenants that should get a permit, and where each stands.
    pub(super) queue: BTreeSet<(Place, TenantId)>,
    /// When a connection was last closed for a tenant that had one.
    pub(super) moved: Option<Instant>,
    /// Tag of the last grant: where a tenant that comes anew starts.
    pub(super) virtual_now: u64,
}

impl<C> State<C> {
    /// Puts a tenant into the queue if it should get one more permit, at the place that it has now.
    pub(super) fn requeue(&mut self, tenant: &TenantId) {
        let Some(lane) = self.lanes.get_mut(tenant) else {
            return;
        };
        if let Some(place) = lane.place.take() {
            self.queue.remove(&(place, tenant.clone()));
        }
        if let Some(place) = lane.next_place(self.virtual_now) {
            self.queue.insert((place, tenant.clone()));
        }
    }

    pub(super) fn release(&mut self, tenant: &TenantId) -> ToClose<C> {
        self.taken = self.taken.saturating_sub(1);
        if let Some(lane) = self.lanes.get_mut(tenant) {
            lane.permits = lane.permits.saturating_sub(1);
        }
        self.requeue(tenant);
        let close = self.dispatch();
        self.forget_if_empty(tenant);
        close
    }

    /// Grants free permits to whoever is first, and closes idle connections for those who wait.
    pub(super) fn dispatch(&mut self) -> ToClose<C> {
        while self.taken < self.share {
            let Some((_, tenant)) = self.queue.pop_first() else {
                break;
            };
            let Some(lane) = self.lanes.get_mut(&tenant) else {
                continue;
            };
            lane.place = None;
            while let Some((_, waiter)) = lane.waiters.pop_front() {
                self.waiting -= 1;
                if waiter.send(Turn::Open).is_ok() {
                    lane.permits += 1;
                    self.taken += 1;
                    // A round of all who wait moves the time on by one grant, so that newcomers do
                    // not pass for ever those who had a grant before.
                    let round = 1 + self.queue.len() as u64;
                    self.virtual_now = lane.charge(self.virtual_now) + lane.cost() / round;
                    break;
                }
            }
            self.requeue(&tenant);
            self.forget_if_empty(&tenant);
        }
        let mut close = ToClose::none();
        while let Some(need) = self.unmet_need() {
            let evicted = match need {
                Need::First => self.evict_oldest(),
                Need::Late if self.may_move() => self.evict_oldest(),
                Need::Late | Need::More => self.evict_idle_for(SPARE_AFTER),
            };
            let Some(evicted) = evicted else { break };
            close.0.push(evicted);
            if need != Need::First {
                self.moved = Some(Instant::now());
            }
        }
        close
    }

    /// The need of the first tenant in the queue for which no permit is being freed.
    pub(super) fn unmet_need(&self) -> Option<Need> {
        self.queue
            .iter()
            .nth(self.closing)
            .map(|(place, _)| place.need)
    }

    pub(super) fn may_move(&self) -> bool {
        self.moved.is_none_or(|moved| moved.elapsed() >= MOVE_EVERY)
    }

    /// Takes the least recently used idle connection out.
    pub(super) fn evict_oldest(&mut self) -> Option<(TenantId, C)> {
        let (_, tenant) = self.idle_order.pop_first()?;
        // Within a tenant the front is the oldest, so it is the one that was first in the order.
        let (_, _, connection) = self.lanes.get_mut(&tenant)?.idle.pop_front()?;
        self.mark_closing(&tenant);
        Some((tenant, connection))
    }

    /// The same, if it has been idle for so long.
    pub(super) fn evict_idle_for(&mut self, age: Duration) -> Option<(TenantId, C)> {
        let (_, tenant) = self.idle_order.first_key_value()?;
        let (_, since, _) = self.lanes.get(tenant)?.idle.front()?;
        if since.elapsed() < age {
            return None;
        }
        self.evict_oldest()
    }

    pub(super) fn mark_closing(&mut self, tenant: &TenantId) {
        self.closing += 1;
        if let Some(lane) = self.lanes.get_mut(tenant) {
            lane.closing += 1;
        }
    }

    pub(super) fn forget_if_empty(&mut self, tenant: &TenantId) {
        if let Some(lane) = self.lanes.get(tenant)
            && lane.permits == 0
            && lane.waiters.is_empty()
        {
            if let Some(place) = lane.place {
                self.queue.remove(&(place, tenant.clone()));
            }
            self.lanes.remove(tenant);
        }
    }
}
