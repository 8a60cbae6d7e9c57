//! Connections of this replica to the tenants of one cluster: opened with a permit, proved to be of
//! the right database, given back clean or closed.
//!
//! Deliberately hands out no connection by itself: [`super::lease`] wraps them for handlers.
//! Invariants: every server connection is covered by a permit of the [`Gate`] from before it is
//! opened until the server has closed it; a connection whose last statement was not answered never
//! goes back; what [`signs`] leaves of the share is not exceeded.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use contract::TenantId;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tokio::sync::{Semaphore, oneshot};
use tokio_util::task::TaskTracker;

use super::gate::{Claim, Entry, Gate, PATIENCE, Reviewer, ToClose, Turn, Usage};
use super::hold::Holds;
use super::lease::tidied;
use super::open::{OpenError, Opener, ServerMode};
pub(crate) use signs::Look;
use signs::Signs;

mod signs;

/// How connections are kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConnectionLimits {
    /// The longest that a request waits for a connection.
    pub(crate) queue_wait: Duration,
    /// An idle connection is closed after this.
    pub(crate) idle: Duration,
    /// The longest that opening one may take.
    pub(crate) open: Duration,
}

/// A connection that has been idle for longer is asked for a sign of life first.
const TRUSTED_IDLE: Duration = Duration::from_secs(1);
const PING_PATIENCE: Duration = Duration::from_millis(500);
/// How long an unanswered statement of a client that went away may take to end by itself.
const ROLLBACK_PATIENCE: Duration = Duration::from_millis(250);
/// How long ending a session on the server may take.
const TERMINATE_PATIENCE: Duration = Duration::from_secs(5);
/// A server process ends shortly after its client said goodbye; its permit is kept for so long, so
/// that the budget holds on the server's side and not only on ours.
const CLOSING_LINGER: Duration = Duration::from_millis(20);
/// Kept for sessions that cannot be ended in any other way: the server looks for vanished clients
/// every second (`client_connection_check_interval`).
const ABANDONED_LINGER: Duration = Duration::from_secs(2);
/// Pause before a server that was full is tried again.
const FULL_PAUSE: Duration = Duration::from_millis(50);

/// An open connection.
pub(crate) struct Session {
    pub(super) postgres: PgConnection,
    /// The server's process, for ending it.
    pub(super) process: i32,
    /// Whether the server took writes when it was opened.
    pub(super) server: ServerMode,
    /// Which database and credential it was opened for.
    pub(super) opener: Arc<Opener>,
}

/// A connection in use, with its permit.
pub(crate) struct Held {
    /// Taken out only by methods that consume the value, and by its drop.
    session: Option<Session>,
    cluster: Arc<ClusterConnections>,
    tenant: TenantId,
    reused: Reused,
    taken: Instant,
}

/// Whether a connection served somebody before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reused {
    /// It did, so it may be dead without our knowing.
    Yes,
    /// It was opened for this use.
    No,
}

/// Why no connection was had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AcquireError {
    /// The queue is full, or the wait for a turn took too long.
    #[error("no connection became free in time")]
    Overloaded,
    /// The tenant is held: wait for the end of that, without a permit.
    #[error("the tenant's database is being moved or replaced")]
    TenantHeld,
    /// It could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
}

/// This replica's connections to one cluster.
pub(crate) struct ClusterConnections {
    gate: Gate<Session>,
    limits: ConnectionLimits,
    tasks: TaskTracker,
    holds: Holds,
    /// One connection of the share is kept for ending sessions that do not end by themselves; a share
    /// of one has none to spare.
    rescue: Semaphore,
    kept_for_rescue: AtomicUsize,
    signs: Signs,
    started: Instant,
    /// Milliseconds after `started` at which the cluster last broke a connection.
    broke_at: AtomicU64,
}

impl ClusterConnections {
    pub(crate) fn new(limits: ConnectionLimits, tasks: TaskTracker, holds: Holds) -> Arc<Self> {
        Arc::new(Self {
            gate: Gate::new(),
            limits,
            tasks,
            holds,
            rescue: Semaphore::new(1),
            kept_for_rescue: AtomicUsize::new(0),
            signs: Signs::new(),
            started: Instant::now(),
            broke_at: AtomicU64::new(0),
        })
    }

    /// How full it is.
    pub(crate) fn usage(&self) -> Usage {
        let kept = self.kept_for_rescue.load(Ordering::Relaxed);
        // Also where the share became too small to keep one while it is open.
        let rescuing = usize::from(self.rescue.available_permits() == 0);
        let usage = self.gate.usage();
        Usage {
            share: usage.share + kept,
            taken: usage.taken + kept.max(rescuing),
            ..usage
        }
    }

    fn set_share(self: &Arc<Self>, share: usize) {
        let kept = usize::from(share > 1);
        self.kept_for_rescue.store(kept, Ordering::Relaxed);
        let close = self.gate.set_share(share - kept);
        self.close(close);
    }

    /// Closes connections that were idle for long; but for one while the platform does not hear us.
    pub(crate) fn sweep(self: &Arc<Self>) {
        let kept = usize::from(self.signs.is_unheard());
        let close = self.gate.idle_for(self.limits.idle, kept);
        self.close(close);
    }

    /// Closes every idle connection.
    pub(crate) fn close_idle(self: &Arc<Self>) {
        let close = self.gate.idle_for(Duration::ZERO, 0);
        self.close(close);
    }

    /// Closes the idle connections of one tenant.
    pub(crate) fn close_idle_of(self: &Arc<Self>, tenant: &TenantId) {
        let close = self.gate.idle_of(tenant);
        self.close(close);
    }

    /// A connection for `opener`'s tenant: an idle one, or a new one when it is its turn.
    pub(crate) async fn acquire(
        self: &Arc<Self>,
        opener: &Arc<Opener>,
        claim: Claim,
    ) -> Result<Held, AcquireError> {
        let deadline = Instant::now() + self.limits.queue_wait;
        loop {
            match self.acquire_once(opener, claim).await {
                // Others than us hold the server's connections: wait as for one of our own.
                Err(AcquireError::Open(error)) if error.is_full() => {
                    if Instant::now() + FULL_PAUSE >= deadline {
                        return Err(AcquireError::Overloaded);
                    }
                    tokio::time::sleep(FULL_PAUSE).await;
                }
                acquired => return acquired,
            }
        }
    }

    async fn acquire_once(
        self: &Arc<Self>,
        opener: &Arc<Opener>,
        claim: Claim,
    ) -> Result<Held, AcquireError> {
        let tenant = opener.tenant();
        loop {
            if self.holds.is_held(tenant) {
                return Err(AcquireError::TenantHeld);
            }
            let (entry, close) = self.gate.enter(tenant, claim);
            self.close(close);
            let turn = match entry {
                Entry::Idle(session, since) => {
                    let held = self.hold(session, Reused::Yes);
                    match held.fit(opener, since).await {
                        Some(held) => return held.unless_held(),
                        None => continue,
                    }
                }
                Entry::Full => return Err(AcquireError::Overloaded),
                Entry::Open => Turn::Open,
                Entry::Wait(receiver) => self.wait(tenant, receiver).await?,
            };
            match turn {
                Turn::Open if self.keep_to_lease() => self.gone(tenant),
                Turn::Open => return self.open(opener).await?.unless_held(),
                Turn::Handed(session) => {
                    let held = self.hold(session, Reused::Yes);
                    if let Some(held) = held.fit(opener, Instant::now()).await {
                        return held.unless_held();
                    }
                }
            }
        }
    }

    async fn wait(
        self: &Arc<Self>,
        tenant: &TenantId,
        receiver: oneshot::Receiver<Turn<Session>>,
    ) -> Result<Turn<Session>, AcquireError> {
        let mut waiting = Waiting {
            receiver: Some(receiver),
            cluster: self,
            tenant,
        };
        let started = Instant::now();
        self.keep_reviewing();
        let turn = tokio::time::timeout(self.limits.queue_wait, waiting.turn()).await;
        metrics::histogram!("tenant_connection_wait_seconds")
            .record(started.elapsed().as_secs_f64());
        turn.ok().flatten().ok_or(AcquireError::Overloaded)
    }

    /// Looks after those who wait, as long as somebody does. One task and not a timer of each: with a
    /// thousand requests in line, the timers would cost more than what they find.
    fn keep_reviewing(self: &Arc<Self>) {
        if self.gate.needs_reviewer() == Reviewer::NotNeeded {
            return;
        }
        let cluster = Arc::clone(self);
        self.tasks.spawn(async move {
            loop {
                tokio::time::sleep(PATIENCE).await;
                let Some(close) = cluster.gate.review() else {
                    break;
                };
                cluster.close(close);
            }
        });
    }

    async fn open(self: &Arc<Self>, opener: &Arc<Opener>) -> Result<Held, AcquireError> {
        let permit = Permit {
            cluster: Arc::clone(self),
            tenant: Some(opener.tenant().clone()),
        };
        if self.holds.is_held(opener.tenant()) {
            return Err(AcquireError::TenantHeld);
        }
        // Opened in a task of its own: a caller that goes away in the middle would leave a server
        // process behind whose permit is free already.
        let opener = Arc::clone(opener);
        let limit = self.limits.open;
        let asked = Instant::now();
        let opening = self.tasks.spawn(async move {
            metrics::counter!("tenant_connections_opened_total").increment(1);
            match opener.open(limit).await {
                Ok(session) => {
                    permit.cluster.signs.seen(asked);
                    Ok(permit.fill(session))
                }
                Err(error) => {
                    permit.free_after(linger_after(&error));
                    Err(error)
                }
            }
        });
        match opening.await {
            Ok(opened) => Ok(opened?),
            Err(_) => Err(OpenError::Interrupted.into()),
        }
    }

    fn hold(self: &Arc<Self>, session: Session, reused: Reused) -> Held {
        Held {
            tenant: session.opener.tenant().clone(),
            session: Some(session),
            cluster: Arc::clone(self),
            reused,
            taken: Instant::now(),
        }
    }

    fn close(self: &Arc<Self>, close: ToClose<Session>) {
        for (tenant, session) in close.0 {
            let cluster = Arc::clone(self);
            self.tasks.spawn(async move {
                say_goodbye(session.postgres).await;
                let close = cluster.gate.closed(&tenant);
                cluster.close(close);
            });
        }
    }

    /// Takes a clean connection back; one of a tenant that is held is closed.
    fn give_back(self: &Arc<Self>, tenant: &TenantId, session: Session) {
        let close = self.gate.give_back(tenant, session);
        self.close(close);
        // Looked at afterwards: a hold that begins meanwhile finds it idle.
        if self.holds.is_held(tenant) {
            self.close_idle_of(tenant);
        }
    }

    fn mark_broken(&self) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.broke_at.store(now, Ordering::Relaxed);
    }

    /// Whether some connection of the cluster broke after `since`.
    fn broke_after(&self, since: Instant) -> bool {
        let broke_at = self.broke_at.load(Ordering::Relaxed);
        broke_at > 0 && self.started + Duration::from_millis(broke_at) >= since
    }

    /// Ends a session whose statement goes on, and comes back when its process is gone from the server.
    ///
    /// With a place kept for that, over a second connection. A share of one keeps none: there the
    /// server finds out by itself that its client has gone.
    async fn end(&self, session: Session) {
        // Others wait for their turn with their permits in hand.
        let _turn = self.rescue.acquire().await;
        let linger = if self.kept_for_rescue.load(Ordering::Relaxed) == 0 {
            ABANDONED_LINGER
        } else {
            let (opener, process) = (&session.opener, session.process);
            match opener.terminate(process, TERMINATE_PATIENCE).await {
                Ok(()) => CLOSING_LINGER,
                Err(_) => {
                    self.mark_broken();
                    ABANDONED_LINGER
                }
            }
        };
        drop(session);
        tokio::time::sleep(linger).await;
    }

    fn gone(self: &Arc<Self>, tenant: &TenantId) {
        let close = self.gate.gone(tenant);
        self.close(close);
    }
}

/// How long the server may still hold a process for an opening that failed.
fn linger_after(error: &OpenError) -> Duration {
    match error {
        OpenError::TimedOut => ABANDONED_LINGER,
        OpenError::WrongDatabase { .. } | OpenError::RightsLost => CLOSING_LINGER,
        _ => Duration::ZERO,
    }
}

async fn say_goodbye(postgres: PgConnection) {
    let linger = match tokio::time::timeout(PING_PATIENCE, postgres.close()).await {
        // Where it cannot be said any more the server has ended it, or has seen that it is broken.
        Ok(_) => CLOSING_LINGER,
        Err(_) => ABANDONED_LINGER,
    };
    tokio::time::sleep(linger).await;
}

/// A permit without a connection yet.
struct Permit {
    cluster: Arc<ClusterConnections>,
    /// `None` once it is a connection's.
    tenant: Option<TenantId>,
}

impl Permit {
    fn fill(mut self, session: Session) -> Held {
        self.tenant = None;
        self.cluster.hold(session, Reused::No)
    }

    fn free_after(self, linger: Duration) {
        if linger > Duration::ZERO {
            let tasks = self.cluster.tasks.clone();
            tasks.spawn(async move {
                tokio::time::sleep(linger).await;
                drop(self);
            });
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(tenant) = &self.tenant {
            self.cluster.gone(tenant);
        }
    }
}

/// A place in the queue; a turn that arrives while its caller goes away is passed on.
struct Waiting<'a> {
    /// `None` once the turn was taken.
    receiver: Option<oneshot::Receiver<Turn<Session>>>,
    cluster: &'a Arc<ClusterConnections>,
    tenant: &'a TenantId,
}

impl Waiting<'_> {
    async fn turn(&mut self) -> Option<Turn<Session>> {
        let turn = self.receiver.as_mut()?.await.ok();
        self.receiver = None;
        turn
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let Some(mut receiver) = self.receiver.take() else {
            return;
        };
        receiver.close();
        match receiver.try_recv() {
            Ok(Turn::Open) => self.cluster.gone(self.tenant),
            Ok(Turn::Handed(session)) => self.cluster.give_back(self.tenant, session),
            Err(_) => self.cluster.gate.forget_abandoned(self.tenant),
        }
    }
}

impl std::ops::Deref for Held {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        match &self.session {
            Some(session) => &session.postgres,
            None => unreachable!("the session leaves only with the value itself"),
        }
    }
}

impl std::ops::DerefMut for Held {
    fn deref_mut(&mut self) -> &mut PgConnection {
        match &mut self.session {
            Some(session) => &mut session.postgres,
            None => unreachable!("the session leaves only with the value itself"),
        }
    }
}

impl Held {
    /// Whether it served somebody before.
    pub(super) fn reused(&self) -> Reused {
        self.reused
    }

    /// Gives it back; its last statement, COMMIT or ROLLBACK was answered.
    ///
    /// One of a server that takes no writes is closed: the next one may lead to the server that does.
    pub(super) fn give_back(mut self) {
        let server = self.session.as_ref().map(|session| session.server);
        if server == Some(ServerMode::ReadOnly) {
            self.close();
        } else if let Some(session) = self.session.take() {
            // It was open when its last statement was sent, and that was later.
            self.cluster.signs.seen(self.taken);
            self.cluster.give_back(&self.tenant, session);
        }
    }

    /// Itself, unless a hold of its tenant began while it was made ready. Looked at last: what was given
    /// out before is seen on the server by whoever waits for its end.
    fn unless_held(self) -> Result<Self, AcquireError> {
        if self.cluster.holds.is_held(&self.tenant) {
            self.close();
            return Err(AcquireError::TenantHeld);
        }
        Ok(self)
    }

    /// Itself, if it is of the database that is meant now and gives a sign of life where that is in
    /// doubt; else it is closed.
    async fn fit(mut self, opener: &Arc<Opener>, since: Instant) -> Option<Self> {
        let session = self.session.as_mut()?;
        if !session.opener.same_target(opener) {
            self.close();
            return None;
        }
        if since.elapsed() < TRUSTED_IDLE && !self.cluster.broke_after(since) {
            return Some(self);
        }
        self.pinged().await
    }

    /// Itself, if it gives a sign of life; else it is closed.
    pub(super) async fn pinged(mut self) -> Option<Self> {
        let session = self.session.as_mut()?;
        match tokio::time::timeout(PING_PATIENCE, session.postgres.ping()).await {
            Ok(Ok(())) => return Some(self),
            Ok(Err(_)) => self.discard(),
            Err(_) => self.abandon(),
        }
        None
    }

    fn close(mut self) {
        if let Some(session) = self.session.take() {
            let (cluster, tenant) = (Arc::clone(&self.cluster), self.tenant.clone());
            self.cluster.tasks.spawn(async move {
                say_goodbye(session.postgres).await;
                cluster.gone(&tenant);
            });
        }
    }

    /// Drops a connection that is known to be dead.
    fn discard(mut self) {
        self.cluster.mark_broken();
        if self.session.take().is_some() {
            self.cluster.gone(&self.tenant);
        }
    }

    /// Ends a connection that does not answer, which the server may hold all the same.
    fn abandon(mut self) {
        self.cluster.mark_broken();
        if let Some(session) = self.session.take() {
            let (cluster, tenant) = (Arc::clone(&self.cluster), self.tenant.clone());
            self.cluster.tasks.spawn(async move {
                cluster.end(session).await;
                cluster.gone(&tenant);
            });
        }
    }

    /// Closes a connection that met an error: it may be dead, and others with it.
    pub(super) fn retire(self) {
        self.cluster.mark_broken();
        self.close();
    }
}

impl Drop for Held {
    /// Dropped without having been given back: its caller went away, or met an error, in the middle
    /// of something. A rollback tells whether the connection is still good.
    fn drop(&mut self) {
        let Some(session) = self.session.take() else {
            return;
        };
        let (cluster, tenant) = (Arc::clone(&self.cluster), self.tenant.clone());
        if tokio::runtime::Handle::try_current().is_ok() {
            self.cluster.tasks.spawn(recover(cluster, tenant, session));
        }
    }
}

/// Rolls back whatever is open, and asks in the same message whether the server takes writes.
async fn roll_back(postgres: &mut PgConnection) -> Result<ServerMode, sqlx::Error> {
    let all = format!("{}; {}", tidied!("rollback"), ServerMode::QUESTION);
    let rows = sqlx::raw_sql(AssertSqlSafe(all))
        .fetch_all(postgres)
        .await?;
    ServerMode::of(rows.last().ok_or(sqlx::Error::RowNotFound)?)
}

async fn recover(cluster: Arc<ClusterConnections>, tenant: TenantId, mut session: Session) {
    match tokio::time::timeout(ROLLBACK_PATIENCE, roll_back(&mut session.postgres)).await {
        Ok(Ok(ServerMode::Writable)) => cluster.give_back(&tenant, session),
        Ok(Ok(ServerMode::ReadOnly)) => {
            // It was a failover, or soon is one: others' connections lead there as well.
            cluster.close_idle();
            say_goodbye(session.postgres).await;
            cluster.gone(&tenant);
        }
        Ok(Err(_)) => {
            cluster.mark_broken();
            drop(session);
            cluster.gone(&tenant);
        }
        Err(_) => {
            cluster.end(session).await;
            cluster.gone(&tenant);
        }
    }
}
