//! One tenant's connections and waiting requests, as the gate sees them.
//!
//! Deliberately decides for its tenant alone; who comes first among tenants is the gate's to say.
//! Invariant: a tenant that is at its limit asks for no further connection.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::Turn;

/// How long a request waits for a connection that its tenant has before one more is opened: about
/// what opening costs.
pub(crate) const PATIENCE: Duration = Duration::from_millis(5);
/// A request that has waited for this long is taken more seriously than the connections that others
/// keep idle.
pub(super) const LATE: Duration = Duration::from_millis(100);
/// What one grant costs a tenant of weight 1 in virtual time.
const COST: u64 = 1_000_000;
/// How many grants a tenant may be ahead of one that has no connection before a connection that it
/// gives back is closed for that one: closing and opening costs as much as some dozens of requests.
const QUANTUM: u64 = 16;
/// The same for one that has a connection and wants more. Where everybody wants more, connections
/// would be closed and opened for ever to level out a difference of one.
const LONG_QUANTUM: u64 = 512;

/// What a tenant may have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claim {
    /// Most connections at once.
    pub(crate) limit: usize,
    /// Share of a contended cluster relative to other tenants.
    pub(crate) weight: u32,
}

/// Why a tenant should get a permit, the greatest need first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Need {
    /// It waits and has no connection.
    First,
    /// It has, and its first request in line has waited for long.
    Late,
    /// It has, and its first request in line has waited longer than opening takes.
    More,
}

impl Need {
    pub(super) fn quantum(self) -> u64 {
        match self {
            Self::First => QUANTUM,
            Self::Late | Self::More => LONG_QUANTUM,
        }
    }
}

/// Where a tenant stands in the queue: by its need, then by its tag, then by who came first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) need: Need,
    pub(super) tag: u64,
    since: Instant,
}

/// See the module.
pub(super) struct Lane<C> {
    /// Number, since when, and the connection; the one used last is at the back.
    pub(super) idle: VecDeque<(u64, Instant, C)>,
    pub(super) permits: usize,
    /// Of the permits, those whose connection is being closed.
    pub(super) closing: usize,
    /// Requests in line, and since when.
    pub(super) waiters: VecDeque<(Instant, oneshot::Sender<Turn<C>>)>,
    pub(super) claim: Claim,
    pub(super) tag: u64,
    /// Its place in the queue.
    pub(super) place: Option<Place>,
}

impl<C> Lane<C> {
    pub(super) fn new(claim: Claim) -> Self {
        Self {
            idle: VecDeque::new(),
            permits: 0,
            closing: 0,
            waiters: VecDeque::new(),
            claim,
            tag: 0,
            place: None,
        }
    }

    /// Whether it has no connection, not counting what is being closed.
    pub(super) fn has_none(&self) -> bool {
        self.permits == self.closing
    }

    /// Whether and why it should get one more permit now.
    fn need(&self) -> Option<Need> {
        let (since, _) = self.waiters.front()?;
        if self.permits >= self.claim.limit {
            return None;
        }
        if self.has_none() {
            return Some(Need::First);
        }
        match since.elapsed() {
            waited if waited >= LATE => Some(Need::Late),
            waited if waited >= PATIENCE => Some(Need::More),
            _ => None,
        }
    }

    /// Whether its place in the queue is not the one that it should have by now.
    pub(super) fn has_moved(&self) -> bool {
        self.need() != self.place.map(|place| place.need)
    }

    /// Its place in the queue from now on, if it should stand there.
    pub(super) fn next_place(&mut self, virtual_now: u64) -> Option<Place> {
        let (since, _) = self.waiters.front()?;
        let since = *since;
        self.place = self.need().map(|need| {
            self.tag = self.tag.max(virtual_now);
            Place {
                need,
                tag: self.tag,
                since,
            }
        });
        self.place
    }

    pub(super) fn cost(&self) -> u64 {
        COST / u64::from(self.claim.weight.max(1))
    }

    /// Start-time fair queueing (Goyal, Vin, Cheng 1996): a grant moves the tenant's tag on by its
    /// cost, from the virtual time at the earliest. Gives the tag at which it started.
    pub(super) fn charge(&mut self, virtual_now: u64) -> u64 {
        let start = self.tag.max(virtual_now);
        self.tag = start + self.cost();
        start
    }
}
