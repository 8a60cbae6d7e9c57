//! How much of a share is ours while the platform does not hear us.
//!
//! The platform gives the share of a silent replica to others when it has found no session of it on the
//! cluster for long enough; it cannot tell a dead replica from one behind a broken link. So a share
//! counts for as long as the platform said, from the last moment at which we were sure to be seen: when
//! the last heartbeat that was answered was sent, or a statement that was answered. After that one
//! connection of it counts for longer, then nothing, until a heartbeat is answered again. The platform
//! waits longer than that with each.
//!
//! Known tenants are served all the same, however long the platform is away: while it does not hear us,
//! the last idle session is not closed for its age, is asked for an answer again and again, and where
//! there is none one is opened ([`ClusterConnections::is_missed`]). The whole share is lost only where
//! the server itself was away from us for so long, and then the one connection is left.
//!
//! Deliberately believes no session that did not answer. Invariant: what may be opened is reserved for
//! us at the platform: what the lease leaves is looked at under one lock with every new grant, and right
//! before each connection is opened.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use contract::internal::ShareLease;

use super::{ClusterConnections, Reused, Usage};

/// Part of the lease after which a replica that is not heard shows itself to the servers.
const UNHEARD_PART: u32 = 4;

/// When this replica was last sure to be seen.
pub(super) struct Signs {
    started: Instant,
    lease: Mutex<ShareLease>,
    /// Milliseconds after `started` of the last sign of any kind.
    last: AtomicU64,
    /// The same of the last heartbeat that was answered.
    heard: AtomicU64,
}

impl Signs {
    pub(super) fn new() -> Self {
        Self {
            started: Instant::now(),
            lease: Mutex::default(),
            last: AtomicU64::new(0),
            heard: AtomicU64::new(0),
        }
    }

    fn lease(&self) -> MutexGuard<'_, ShareLease> {
        self.lease.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A session was open at that time.
    pub(super) fn seen(&self, at: Instant) {
        let at = millis(at.saturating_duration_since(self.started));
        self.last.fetch_max(at, Ordering::Relaxed);
    }

    /// A heartbeat that was sent at that time was answered.
    fn heard(&self, at: Instant) {
        self.seen(at);
        let at = millis(at.saturating_duration_since(self.started));
        self.heard.fetch_max(at, Ordering::Relaxed);
    }

    fn since(&self, sign: &AtomicU64) -> Duration {
        let at = Duration::from_millis(sign.load(Ordering::Relaxed));
        self.started.elapsed().saturating_sub(at)
    }

    /// Whether the platform has not heard us for so long that the servers are to see us.
    pub(super) fn is_unheard(&self) -> bool {
        let lease = *self.lease();
        self.since(&self.heard) >= lease.whole() / UNHEARD_PART
    }

    /// Whether the whole share is soon lost.
    fn is_late(&self) -> bool {
        let lease = *self.lease();
        self.since(&self.last) >= lease.whole() / 2
    }
}

impl ClusterConnections {
    /// Takes the platform's word on how many connections may be held, in answer to a heartbeat sent then.
    pub(crate) fn take_share(self: &Arc<Self>, share: usize, told: ShareLease, sent: Instant) {
        let mut lease = self.signs.lease();
        // An answer that took so long may be of a time before we were given up.
        if sent.elapsed() < told.whole() {
            *lease = told;
            self.signs.heard(sent);
            self.set_share(share);
        }
    }

    /// Lowers the share to what the lease leaves of it; gives whether more than that is held.
    pub(super) fn keep_to_lease(self: &Arc<Self>) -> bool {
        let lease = self.signs.lease();
        let Usage { share, .. } = self.usage();
        let left = lease.left(share, self.signs.since(&self.signs.last));
        if left < share {
            tracing::warn!(
                share,
                left,
                "neither the platform nor the server has heard of us"
            );
            self.set_share(left);
        }
        self.gate.is_over()
    }

    /// Whether another session is to be opened, so that we are seen. Lowers the share where it was so for too long;
    /// while the platform does not hear us, asks an idle session for an answer.
    pub(crate) async fn is_missed(self: &Arc<Self>) -> bool {
        self.keep_to_lease();
        while self.signs.is_unheard() {
            let Some(session) = self.gate.newest_idle() else {
                let is_late = self.signs.is_late();
                return is_late || self.gate.usage().taken == 0;
            };
            let held = self.hold(session, Reused::Yes);
            if let Some(held) = held.pinged().await {
                held.give_back();
                break;
            }
        }
        false
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
