//! Who may hold a connection to one cluster: this replica's share of the cluster's budget, and the
//! queue for it, fair between tenants and weighted by tier.
//!
//! Deliberately without I/O: it decides, its callers open and close. It is generic over the
//! connection so that the rules can be tested by the thousand without a server.
//! Invariants: permits taken never exceed the share (but for a share that shrank, until enough are
//! given back); a connection that exists has a permit, from before it is opened until after it is
//! closed; a tenant never holds more permits than its own limit.
//!
//! A tenant that has a connection gets another one only when a request has waited for a while
//! ([`Gate::review`]): statements are short, so its own is free again long before another is open,
//! and one more for every peak would take the connections of others away.

mod lane;
mod state;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use contract::TenantId;
use tokio::sync::oneshot;

pub(crate) use self::lane::{Claim, PATIENCE};
use self::lane::{Lane, Need};
use self::state::State;

/// Requests of one tenant that may wait.
const QUEUE_PER_TENANT: usize = 512;
/// Requests of all tenants of a cluster that may wait.
const QUEUE_TOTAL: usize = 8192;

/// What a caller of [`Gate::enter`] gets.
pub(crate) enum Entry<C> {
    /// A connection that was idle, and since when.
    Idle(C, Instant),
    /// Leave to open one; give the permit back after closing it.
    Open,
    /// Wait for one of the other two.
    Wait(oneshot::Receiver<Turn<C>>),
    /// The queue is full.
    Full,
}

/// What a waiting caller gets.
pub(crate) enum Turn<C> {
    /// A connection that its last user has just given back.
    Handed(C),
    /// Leave to open one.
    Open,
}

/// See [`Gate::needs_reviewer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reviewer {
    Needed,
    NotNeeded,
}

/// Connections that must be closed now; their permits come back by [`Gate::closed`].
#[must_use]
pub(crate) struct ToClose<C>(pub(crate) Vec<(TenantId, C)>);

impl<C> ToClose<C> {
    fn none() -> Self {
        Self(Vec::new())
    }
}

/// The gate of one cluster.
pub(crate) struct Gate<C>(Mutex<State<C>>);

/// A look at a gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Usage {
    /// The share.
    pub(crate) share: usize,
    /// Permits taken.
    pub(crate) taken: usize,
    /// Connections without a user.
    pub(crate) idle: usize,
    /// Requests that wait.
    pub(crate) waiting: usize,
}

impl<C> Gate<C> {
    /// A gate that lets nobody in until it is given a share.
    pub(crate) fn new() -> Self {
        Self(Mutex::new(State {
            share: 0,
            taken: 0,
            closing: 0,
            waiting: 0,
            has_reviewer: false,
            lanes: HashMap::new(),
            idle_order: BTreeMap::new(),
            next_idle: 0,
            queue: BTreeSet::new(),
            moved: None,
            virtual_now: 0,
        }))
    }

    fn state(&self) -> MutexGuard<'_, State<C>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for a connection of `tenant`.
    pub(crate) fn enter(&self, tenant: &TenantId, claim: Claim) -> (Entry<C>, ToClose<C>) {
        let mut state = self.state();
        let state = &mut *state;
        let lane = state
            .lanes
            .entry(tenant.clone())
            .or_insert_with(|| Lane::new(claim));
        lane.claim = claim;
        if lane.waiters.is_empty()
            && let Some((number, since, connection)) = lane.idle.pop_back()
        {
            state.idle_order.remove(&number);
            let start = lane.charge(state.virtual_now);
            if state.queue.is_empty() {
                state.virtual_now = start;
            }
            return (Entry::Idle(connection, since), ToClose::none());
        }
        let nobody_waits = state.queue.is_empty() && lane.waiters.is_empty();
        let needs_one = lane.has_none() && lane.permits < claim.limit;
        if nobody_waits && needs_one && state.taken < state.share {
            lane.permits += 1;
            state.taken += 1;
            state.virtual_now = lane.charge(state.virtual_now);
            return (Entry::Open, ToClose::none());
        }
        if lane.waiters.len() >= QUEUE_PER_TENANT || state.waiting >= QUEUE_TOTAL {
            state.forget_if_empty(tenant);
            return (Entry::Full, ToClose::none());
        }
        let (sender, receiver) = oneshot::channel();
        lane.waiters.push_back((Instant::now(), sender));
        state.waiting += 1;
        state.requeue(tenant);
        let close = state.dispatch();
        (Entry::Wait(receiver), close)
    }

    /// Whether somebody has to begin to call [`Gate::review`] every [`PATIENCE`] now; who is told so
    /// does it until that ends.
    pub(crate) fn needs_reviewer(&self) -> Reviewer {
        let mut state = self.state();
        if state.waiting == 0 || state.has_reviewer {
            return Reviewer::NotNeeded;
        }
        state.has_reviewer = true;
        Reviewer::Needed
    }

    /// Looks again at the tenants whose requests wait: they may have waited for so long by now that
    /// another connection is worth its price. `None` when nobody waits, and then it is over.
    pub(crate) fn review(&self) -> Option<ToClose<C>> {
        let mut state = self.state();
        if state.waiting == 0 {
            state.has_reviewer = false;
            return None;
        }
        let moved = state.lanes.iter().filter(|(_, lane)| lane.has_moved());
        let moved: Vec<TenantId> = moved.map(|(tenant, _)| tenant.clone()).collect();
        for tenant in moved {
            state.requeue(&tenant);
        }
        Some(state.dispatch())
    }

    /// Forgets requests of `tenant` that do not wait any more.
    pub(crate) fn forget_abandoned(&self, tenant: &TenantId) {
        let mut state = self.state();
        let state = &mut *state;
        if let Some(lane) = state.lanes.get_mut(tenant) {
            let before = lane.waiters.len();
            lane.waiters.retain(|(_, waiter)| !waiter.is_closed());
            state.waiting -= before - lane.waiters.len();
            state.requeue(tenant);
            state.forget_if_empty(tenant);
        }
    }

    /// Takes back a connection that is clean: its last COMMIT, ROLLBACK or statement was answered.
    pub(crate) fn give_back(&self, tenant: &TenantId, mut connection: C) -> ToClose<C> {
        let mut state = self.state();
        let state = &mut *state;
        let over = state.taken - state.closing > state.share;
        let other = state.queue.iter().find(|(_, other)| other != tenant);
        let other = other.map(|(place, _)| *place);
        let unmet = state.unmet_need();
        let may_move = state.may_move();
        let Some(lane) = state.lanes.get_mut(tenant) else {
            return ToClose(vec![(tenant.clone(), connection)]);
        };
        let ahead = other.is_some_and(|other| {
            (other.need == Need::First || may_move)
                && lane.tag > other.tag + other.need.quantum() * lane.cost()
        });
        let make_room = over || (ahead && unmet.is_some());
        if !make_room {
            while let Some((_, waiter)) = lane.waiters.pop_front() {
                state.waiting -= 1;
                match waiter.send(Turn::Handed(connection)) {
                    Ok(()) => {
                        lane.charge(state.virtual_now);
                        state.requeue(tenant);
                        return ToClose::none();
                    }
                    Err(Turn::Handed(back)) => connection = back,
                    Err(Turn::Open) => return ToClose::none(),
                }
            }
            state.requeue(tenant);
        }
        let waits = state
            .lanes
            .get(tenant)
            .is_some_and(|lane| !lane.waiters.is_empty());
        let wanted = match unmet {
            Some(Need::First) => true,
            Some(Need::Late) => may_move,
            Some(Need::More) | None => false,
        };
        if over || waits || wanted {
            if unmet.is_some_and(|need| need != Need::First) {
                state.moved = Some(Instant::now());
            }
            state.mark_closing(tenant);
            state.requeue(tenant);
            return ToClose(vec![(tenant.clone(), connection)]);
        }
        let number = state.next_idle;
        state.next_idle += 1;
        state.idle_order.insert(number, tenant.clone());
        if let Some(lane) = state.lanes.get_mut(tenant) {
            lane.idle.push_back((number, Instant::now(), connection));
        }
        ToClose::none()
    }

    /// Takes back the permit of a connection that the gate wanted closed and that is closed now.
    pub(crate) fn closed(&self, tenant: &TenantId) -> ToClose<C> {
        let mut state = self.state();
        state.closing = state.closing.saturating_sub(1);
        if let Some(lane) = state.lanes.get_mut(tenant) {
            lane.closing = lane.closing.saturating_sub(1);
        }
        state.release(tenant)
    }

    /// Takes back the permit of a connection that was never opened, or that broke and is gone.
    pub(crate) fn gone(&self, tenant: &TenantId) -> ToClose<C> {
        self.state().release(tenant)
    }

    /// Sets the share; idle connections over it must be closed at once.
    pub(crate) fn set_share(&self, share: usize) -> ToClose<C> {
        let mut state = self.state();
        state.share = share;
        let mut close = state.dispatch();
        while state.taken - state.closing > state.share {
            match state.evict_oldest() {
                Some(evicted) => close.0.push(evicted),
                None => break,
            }
        }
        close
    }

    /// Idle connections that have had no user for `age`, as long as more than `kept` are left.
    pub(crate) fn idle_for(&self, age: Duration, kept: usize) -> ToClose<C> {
        let mut state = self.state();
        let mut close = ToClose::none();
        while state.taken - state.closing > kept
            && let Some(evicted) = state.evict_idle_for(age)
        {
            close.0.push(evicted);
        }
        close
    }

    /// The connection that became idle last, taken out of turn; it is to be given back soon.
    pub(crate) fn newest_idle(&self) -> Option<C> {
        let mut state = self.state();
        let (_, tenant) = state.idle_order.pop_last()?;
        // Within a tenant the back is the newest, so it is the one that was last in the order.
        let (_, _, connection) = state.lanes.get_mut(&tenant)?.idle.pop_back()?;
        Some(connection)
    }

    /// Idle connections of one tenant: its database, role or rights changed.
    pub(crate) fn idle_of(&self, tenant: &TenantId) -> ToClose<C> {
        let mut state = self.state();
        let state = &mut *state;
        let mut close = ToClose::none();
        if let Some(lane) = state.lanes.get_mut(tenant) {
            while let Some((number, _, connection)) = lane.idle.pop_front() {
                state.idle_order.remove(&number);
                state.closing += 1;
                lane.closing += 1;
                close.0.push((tenant.clone(), connection));
            }
        }
        close
    }

    /// Whether more permits are taken than the share has, but for those that come back anyway.
    pub(crate) fn is_over(&self) -> bool {
        let state = self.state();
        state.taken - state.closing > state.share
    }

    /// A look at it.
    pub(crate) fn usage(&self) -> Usage {
        let state = self.state();
        Usage {
            share: state.share,
            taken: state.taken,
            idle: state.idle_order.len(),
            waiting: state.waiting,
        }
    }
}

#[cfg(test)]
mod tests;
