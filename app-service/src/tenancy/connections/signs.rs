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
//! there is none one is opened ([`ClusterConnections::look`]); where all of them are busy for long, the one
//! that is kept for ending others shows that the server is there. The whole share is lost only where
//! the server itself was away from us for so long, and then the one connection is left.
//!
//! Deliberately believes no session that did not answer. Invariant: what may be opened is reserved for
//! us at the platform: what the lease leaves is looked at under one lock with every new grant, and right
//! before each connection is opened.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use contract::internal::ShareLease;
use sqlx::Connection as _;

use super::super::open::Opener;
use super::{ABANDONED_LINGER, ClusterConnections, PING_PATIENCE, Reused, Usage, say_goodbye};

/// Part of the lease after which a replica that is not heard shows itself to the servers.
const UNHEARD_PART: u32 = 4;

/// How long the server may take to let the connection in that shows it to us.
const PATIENCE: Duration = Duration::from_secs(1);
/// The longest that it stays: platforms look more often.
const SHOWN: Duration = Duration::from_secs(3);

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
    pub(crate) fn keep_to_lease(self: &Arc<Self>) -> bool {
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

    /// Looks whether the server sees us; while the platform does not hear us, asks an idle session for an
    /// answer. Lowers the share where nobody has seen us for too long.
    pub(crate) async fn look(self: &Arc<Self>) -> Look {
        // Before anything is let go of: a session that answers was open all the time.
        while self.signs.is_unheard() {
            let Some(session) = self.gate.newest_idle() else {
                break;
            };
            let held = self.hold(session, Reused::Yes);
            if let Some(held) = held.pinged().await {
                held.give_back();
                return Look::Seen;
            }
        }
        self.keep_to_lease();
        if !self.signs.is_unheard() {
            return Look::Seen;
        }
        match self.gate.usage().taken {
            0 => Look::NoSession,
            _ if self.signs.is_late() => Look::AllBusy,
            _ => Look::Seen,
        }
    }

    /// Opens the connection that is kept for ending others, for so long that the platform's next look finds
    /// it; gives whether the server let it in. Where none is kept, or it is in use, nothing happens.
    pub(crate) async fn show_up(self: &Arc<Self>, opener: &Opener) -> bool {
        let Ok(_turn) = self.rescue.try_acquire() else {
            return true;
        };
        self.keep_to_lease();
        if self.kept_for_rescue.load(Ordering::Relaxed) == 0 {
            return true;
        }
        let asked = Instant::now();
        let mut postgres = match tokio::time::timeout(PATIENCE, opener.connect()).await {
            Ok(Ok(postgres)) => postgres,
            Ok(Err(_)) => return false,
            Err(_) => {
                tokio::time::sleep(ABANDONED_LINGER).await;
                return false;
            }
        };
        self.signs.seen(asked);
        let shown = self.signs.lease().whole() / UNHEARD_PART;
        tokio::time::sleep(shown.min(SHOWN)).await;
        let asked = Instant::now();
        if let Ok(Ok(())) = tokio::time::timeout(PING_PATIENCE, postgres.ping()).await {
            self.signs.seen(asked);
        }
        say_goodbye(postgres).await;
        true
    }
}

/// Whether the server sees us, as far as that is to be seen to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// It does, or the platform hears us.
    Seen,
    /// Nothing is open.
    NoSession,
    /// What is open is in use, and gave no sign for long.
    AllBusy,
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
