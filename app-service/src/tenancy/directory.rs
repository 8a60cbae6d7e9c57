//! Tenants that this replica knows: asked for once, kept while they are used, renewed behind, and
//! dropped when news of a change comes.
//!
//! Deliberately two caches. Known tenants are kept for long and can be served stale while the
//! platform cannot be reached; refusals are kept for seconds. A failure to reach the platform is
//! never remembered. Invariant: an answer that was on its way when news of a newer generation came
//! is not kept.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use adapters::secret_store::SecretStore;
use contract::client::PlatformClient;
use contract::internal::Change;
use contract::tenant::Hold;
use contract::{ClusterName, Code, TenantId, TenantRoute, TenantStatus};
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use time::OffsetDateTime;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use super::admission;
use super::connections::{ClusterConnections, ConnectionLimits};
use super::gate::Usage;
use super::hold::{self, Holds};
use super::known::{Known, RequestRate};
use super::look_ups::{LookUps, NoRoute};
use super::migrations::{MigrateRefusal, Migrator, Urgency};
use super::open::Opener;
use super::refusal::Refusal;

/// Refusals that are remembered; small, since nobody without a token can add to it without limit.
const REMEMBERED_REFUSALS: u64 = 10_000;
/// Renewals that are under way at once; nobody waits for one.
const RENEWALS: usize = 16;
/// Tenants of a cluster that are tried, one after the other, to have a session there.
const SOME: usize = 16;
/// How long a failed renewal is left alone.
const RENEWAL_PAUSE: Duration = Duration::from_secs(2);

/// How the directory keeps what it knows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DirectorySettings {
    /// Tenants that are kept at most.
    pub(crate) capacity: u64,
    /// A tenant without a request for so long is dropped.
    pub(crate) idle: Duration,
    /// What is known is renewed behind after this, while the change feed is heard.
    pub(crate) fresh: Duration,
    /// The same while the change feed is not heard.
    pub(crate) fresh_without_feed: Duration,
    /// How long a refusal is remembered.
    pub(crate) refusal: Duration,
    /// The longest that a request waits for a tenant to become known.
    pub(crate) wait: Duration,
    /// The longest that a request waits for the end of a hold, however long that lasts.
    pub(crate) held: Duration,
    /// How connections are kept.
    pub(crate) connections: ConnectionLimits,
}

/// The directory of this replica; cheap to clone.
#[derive(Clone)]
pub(crate) struct Directory(Arc<Inner>);

struct Inner {
    settings: DirectorySettings,
    platform: PlatformClient,
    secrets: Arc<SecretStore>,
    migrator: Migrator,
    application: Arc<str>,
    tasks: TaskTracker,
    started: Instant,
    known: Cache<TenantId, Arc<Known>>,
    refused: Cache<TenantId, Refusal>,
    fills: Mutex<HashMap<TenantId, Fill>>,
    clusters: Mutex<HashMap<ClusterName, Arc<ClusterConnections>>>,
    look_ups: LookUps,
    renewals: Arc<Semaphore>,
    holds: Holds,
    hears_feed: AtomicBool,
}

/// A look-up that is under way.
struct Fill {
    awaited: Awaited,
    /// The newest generation heard of while it was under way.
    heard: u64,
}

/// What those who wait for a look-up have of it.
#[derive(Clone)]
struct Awaited {
    answer: Shared<BoxFuture<'static, Result<Arc<Known>, Refusal>>>,
    /// Whether the platform has answered: what is waited for since is a migration.
    routed: Arc<AtomicBool>,
}

/// What is known of an id without asking anybody.
pub(crate) enum Glance {
    /// The tenant is known.
    Known(Arc<Known>),
    /// It was refused a moment ago.
    Refused(Refusal),
    /// Nothing is known.
    Nothing,
}

impl Directory {
    pub(crate) fn new(
        settings: DirectorySettings,
        platform: PlatformClient,
        secrets: Arc<SecretStore>,
        migrator: Migrator,
        application: Arc<str>,
        tasks: TaskTracker,
    ) -> Self {
        Self(Arc::new(Inner {
            known: Cache::builder()
                .max_capacity(settings.capacity)
                .eviction_policy(EvictionPolicy::lru())
                .time_to_idle(settings.idle)
                .build(),
            refused: Cache::builder()
                .max_capacity(REMEMBERED_REFUSALS)
                .time_to_live(settings.refusal)
                .build(),
            settings,
            platform,
            secrets,
            migrator,
            application,
            tasks,
            started: Instant::now(),
            fills: Mutex::default(),
            clusters: Mutex::default(),
            look_ups: LookUps::new(),
            renewals: Arc::new(Semaphore::new(RENEWALS)),
            holds: Holds::default(),
            hears_feed: AtomicBool::new(false),
        }))
    }

    /// What is known of an id without asking anybody; renews behind what has become old.
    pub(crate) fn glance(&self, id: &TenantId) -> Glance {
        if let Some(known) = self.0.known.get(id) {
            if self.now() >= known.renew_at.load(Ordering::Relaxed) {
                self.renew_behind(&known);
            }
            return Glance::Known(known);
        }
        match self.0.refused.get(id) {
            Some(refusal) => Glance::Refused(refusal),
            None => Glance::Nothing,
        }
    }

    /// The tenant, asked for if it is not known; everybody who asks meanwhile waits for one answer.
    pub(crate) async fn find(&self, id: &TenantId) -> Result<Arc<Known>, Refusal> {
        match self.glance(id) {
            Glance::Known(known) => Ok(known),
            Glance::Refused(refusal) => Err(refusal),
            Glance::Nothing => self.await_fill(id).await,
        }
    }

    /// The tenant as it is known now and not held: what was found at the door may be old by the time
    /// that a connection is wanted.
    pub(super) async fn current(&self, known: &Arc<Known>) -> Result<Arc<Known>, Refusal> {
        if !known.is_superseded() && known.route.hold.is_none() {
            return Ok(Arc::clone(known));
        }
        self.released(&known.route.tenant).await
    }

    /// The tenant once it is not held; waits for that.
    pub(super) async fn released(&self, id: &TenantId) -> Result<Arc<Known>, Refusal> {
        let deadline = Instant::now() + self.0.settings.held;
        loop {
            let known = self.find(id).await?;
            let Some(Hold { until }) = known.route.hold else {
                return Ok(known);
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || until <= OffsetDateTime::now_utc() {
                return Err(Refusal::Held);
            }
            let waited = self.0.holds.wait(id, left.min(hold::LOOK)).await;
            waited.map_err(|hold::Crowded| Refusal::Held)?;
        }
    }

    /// The tenant as the platform knows it now, because its database refused what was known.
    pub(crate) async fn renewed(&self, known: &Arc<Known>) -> Result<Arc<Known>, Refusal> {
        known.close_idle();
        self.await_fill(&known.route.tenant).await
    }

    /// Remembers for a moment that a tenant's database refuses us, so that its requests do not
    /// load the cluster that others share.
    pub(crate) fn unavailable(&self, id: &TenantId) {
        self.supersede(id);
        self.0.refused.insert(id.clone(), Refusal::Unavailable);
    }

    async fn await_fill(&self, id: &TenantId) -> Result<Arc<Known>, Refusal> {
        let Awaited { answer, routed } = self.fill(id);
        let answer = tokio::time::timeout(self.0.settings.wait, answer).await;
        answer.unwrap_or_else(|_| {
            Err(match routed.load(Ordering::Relaxed) {
                true => Refusal::TimedOut,
                false => Refusal::PlatformSilent,
            })
        })
    }

    /// Starts a look-up, or joins the one that is under way. It runs in a task of its own, so that
    /// a client that goes away does not break it off for the others.
    fn fill(&self, id: &TenantId) -> Awaited {
        let mut fills = self.fills();
        if let Some(fill) = fills.get(id) {
            return fill.awaited.clone();
        }
        let routed = Arc::new(AtomicBool::new(false));
        let (directory, tenant, known) = (self.clone(), id.clone(), Arc::clone(&routed));
        let task = self
            .0
            .tasks
            .spawn(async move { directory.run_fill(&tenant, &known).await });
        let (directory, tenant) = (self.clone(), id.clone());
        let answer = task
            .map(move |joined| {
                joined.unwrap_or_else(|_| {
                    directory.fills().remove(&tenant);
                    Err(Refusal::TimedOut)
                })
            })
            .boxed()
            .shared();
        let awaited = Awaited { answer, routed };
        let fill = Fill {
            awaited: awaited.clone(),
            heard: 0,
        };
        fills.insert(id.clone(), fill);
        awaited
    }

    /// Asks until the answer is not older than the news that came meanwhile.
    async fn run_fill(&self, id: &TenantId, routed: &AtomicBool) -> Result<Arc<Known>, Refusal> {
        loop {
            let answer = self.ask(id, routed).await;
            match &answer {
                Ok(known) => {
                    self.supersede(id);
                    self.0.known.insert(id.clone(), Arc::clone(known));
                }
                Err(refusal) if refusal.is_remembered() => {
                    self.supersede(id);
                    self.0.refused.insert(id.clone(), refusal.clone());
                }
                // No answer says nothing about the tenant: what is known of it stays.
                Err(_) => {}
            }
            // Looked at after the insert and under the lock that news take: what came before is
            // seen here, what comes later finds the entry.
            let mut fills = self.fills();
            let heard = fills
                .get_mut(id)
                .map_or(0, |fill| std::mem::take(&mut fill.heard));
            let generation = answer.as_ref().map_or(0, |known| known.route.generation);
            if heard <= generation {
                self.heed_hold(id, &answer);
                fills.remove(id);
                return answer;
            }
            drop(fills);
            self.supersede(id);
            self.0.refused.invalidate(id);
        }
    }

    /// Begins or ends the hold of a tenant, as an answer of the platform says. Under the lock that news
    /// take, so that the later of both decides.
    fn heed_hold(&self, id: &TenantId, answer: &Result<Arc<Known>, Refusal>) {
        match answer {
            Ok(known) if known.route.hold.is_some() => {
                self.0.holds.begin(id, known.route.generation);
                known.close_idle();
            }
            Ok(known) => self.0.holds.end(id, known.route.generation),
            Err(refusal) if refusal.is_remembered() => self.0.holds.end(id, u64::MAX),
            Err(_) => {}
        }
    }

    async fn ask(&self, id: &TenantId, routed: &AtomicBool) -> Result<Arc<Known>, Refusal> {
        routed.store(false, Ordering::Relaxed);
        let asked = self.0.look_ups.route(&self.0.platform, id).await;
        routed.store(true, Ordering::Relaxed);
        let route = match asked {
            Ok(route) => route,
            Err(NoRoute::Silent) => return Err(Refusal::PlatformSilent),
            Err(NoRoute::Asked(error)) => {
                return Err(match error.refusal() {
                    Some(Code::NotFound) => Refusal::Unknown,
                    Some(Code::TenantProvisioning) => Refusal::Provisioning,
                    Some(Code::TenantDeleted) => Refusal::Deleted,
                    _ => Refusal::PlatformUnavailable(Arc::new(error)),
                });
            }
        };
        match route.status {
            TenantStatus::Provisioning => return Err(Refusal::Provisioning),
            TenantStatus::Deleted => return Err(Refusal::Deleted),
            // Nobody migrates what is about to be moved or replaced.
            TenantStatus::Active | TenantStatus::Suspended if route.hold.is_some() => {}
            TenantStatus::Suspended if !admission::reads(&route) => {}
            TenantStatus::Active | TenantStatus::Suspended => {
                self.migrate(&route).await.map_err(Refusal::Migration)?;
            }
        }
        let known = self.know(route);
        if known.route.status == TenantStatus::Suspended {
            // They were ended when the tenant was held back, or soon will be.
            known.close_idle();
        }
        Ok(known)
    }

    /// Brings a tenant up that is behind: first where it cannot be served as it is, else meanwhile.
    async fn migrate(&self, route: &TenantRoute) -> Result<(), MigrateRefusal> {
        let migrator = &self.0.migrator;
        match migrator.due(route)? {
            None => Ok(()),
            Some(urgency @ Urgency::Needed) => migrator.bring_up(route, urgency).await,
            Some(Urgency::Wanted) => {
                self.migrate_behind(route);
                Ok(())
            }
        }
    }

    /// Brings a tenant up that is served meanwhile, where that is wanted and nothing is in its way.
    fn migrate_behind(&self, route: &TenantRoute) {
        let is_served = route.status == TenantStatus::Active && route.hold.is_none();
        let wanted = Ok(Some(Urgency::Wanted));
        if !is_served || self.0.migrator.due(route) != wanted {
            return;
        }
        let (migrator, route) = (self.0.migrator.clone(), route.clone());
        self.0.tasks.spawn(async move {
            // What kept it from coming up was logged, and told where it is a failure.
            let _ = migrator.bring_up(&route, Urgency::Wanted).await;
        });
    }

    /// What a route says, ready to be used.
    pub(crate) fn know(&self, route: TenantRoute) -> Arc<Known> {
        let cluster = self.cluster(&route.database.cluster.name);
        let rate = RequestRate::of(&route.tier);
        let opener = Opener::new(
            &route,
            Arc::clone(&self.0.secrets),
            Arc::clone(&self.0.application),
        );
        let fresh = self.freshness_of(&route);
        Arc::new(Known {
            tier_name: route.tier.name.as_str().into(),
            opener: Arc::new(opener),
            cluster,
            rate,
            renew_at: AtomicU64::new(self.now() + fresh),
            superseded: AtomicBool::new(false),
            route,
        })
    }

    fn renew_behind(&self, known: &Arc<Known>) {
        let pause = millis(RENEWAL_PAUSE).min(self.freshness_of(&known.route));
        known.renew_at.store(self.now() + pause, Ordering::Relaxed);
        let Ok(turn) = Arc::clone(&self.0.renewals).try_acquire_owned() else {
            return;
        };
        let (directory, known) = (self.clone(), Arc::clone(known));
        self.0.tasks.spawn(async move {
            let id = &known.route.tenant;
            match directory.0.platform.route(id).await {
                Ok(route) if route == known.route => {
                    let next = directory.now() + directory.freshness_of(&known.route);
                    known.renew_at.store(next, Ordering::Relaxed);
                    directory.migrate_behind(&known.route);
                }
                Ok(_) => directory.forget(id),
                Err(error) if error.refusal() == Some(Code::NotFound) => directory.forget(id),
                // Served on as it is: the data plane outlives the control plane.
                Err(_) => {}
            }
            drop(turn);
        });
    }

    fn forget(&self, id: &TenantId) {
        self.supersede(id);
        self.0.refused.invalidate(id);
    }

    /// Takes out what is known of a tenant; requests that have it in hand look again.
    fn supersede(&self, id: &TenantId) {
        if let Some(known) = self.0.known.remove(id) {
            known.superseded.store(true, Ordering::Release);
        }
    }

    /// Acts on the news of a change. When it returns, no idle connection of a held tenant is left and
    /// none is given out any more.
    pub(crate) fn heard(&self, change: &Change) {
        let (id, generation) = (&change.tenant, change.generation);
        let mut fills = self.fills();
        if let Some(fill) = fills.get_mut(id) {
            fill.heard = fill.heard.max(generation);
        }
        self.0.refused.invalidate(id);
        let known = self.0.known.get(id);
        if known.is_some_and(|known| known.route.generation >= generation) {
            return;
        }
        self.forget(id);
        if change.hold.is_none() {
            self.0.holds.end(id, generation);
            return;
        }
        self.0.holds.begin(id, generation);
        for cluster in self.clusters().values() {
            cluster.close_idle_of(id);
        }
    }

    /// Forgets everything: news were missed.
    pub(crate) fn forget_all(&self) {
        for fill in self.fills().values_mut() {
            fill.heard = u64::MAX - 1;
        }
        for (_, known) in &self.0.known {
            known.superseded.store(true, Ordering::Release);
        }
        self.0.known.invalidate_all();
        self.0.refused.invalidate_all();
        self.0.holds.end_all();
        for cluster in self.clusters().values() {
            cluster.close_idle();
        }
    }

    /// Says whether the change feed is being heard; while it is not, what is known is renewed often.
    pub(crate) fn hears_feed(&self, hears: FeedState) {
        let hears = hears == FeedState::Heard;
        let before = self.0.hears_feed.swap(hears, Ordering::Relaxed);
        if before && !hears {
            let soon = self.now() + self.freshness();
            for (_, known) in &self.0.known {
                known.renew_at.fetch_min(soon, Ordering::Relaxed);
            }
        }
    }

    /// What is held is looked at often: the news of the end may be lost.
    fn freshness_of(&self, route: &TenantRoute) -> u64 {
        match route.hold {
            Some(_) => millis(hold::LOOK),
            None => self.freshness(),
        }
    }

    fn freshness(&self) -> u64 {
        let fresh = if self.0.hears_feed.load(Ordering::Relaxed) {
            self.0.settings.fresh
        } else {
            self.0.settings.fresh_without_feed
        };
        millis(fresh)
    }

    fn now(&self) -> u64 {
        millis(self.0.started.elapsed())
    }

    fn fills(&self) -> MutexGuard<'_, HashMap<TenantId, Fill>> {
        self.0.fills.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn clusters(&self) -> MutexGuard<'_, HashMap<ClusterName, Arc<ClusterConnections>>> {
        self.0
            .clusters
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// This replica's connections to a cluster.
    pub(crate) fn cluster(&self, name: &ClusterName) -> Arc<ClusterConnections> {
        let mut clusters = self.clusters();
        let cluster = clusters.entry(name.clone()).or_insert_with(|| {
            let (limits, tasks) = (self.0.settings.connections, self.0.tasks.clone());
            ClusterConnections::new(limits, tasks, self.0.holds.clone())
        });
        Arc::clone(cluster)
    }

    /// The clusters on which this replica has, or had, connections.
    pub(super) fn on_clusters(&self) -> Vec<(ClusterName, Arc<ClusterConnections>)> {
        let clusters = self.clusters();
        let named = clusters.iter();
        named
            .map(|(name, cluster)| (name.clone(), Arc::clone(cluster)))
            .collect()
    }

    /// Some known tenants of a cluster whose databases can be entered.
    pub(super) fn some_on(&self, cluster: &Arc<ClusterConnections>) -> Vec<Arc<Known>> {
        self.0
            .known
            .iter()
            .map(|(_, known)| known)
            .filter(|known| Arc::ptr_eq(&known.cluster, cluster) && known.can_be_entered())
            .take(SOME)
            .collect()
    }

    /// How full each cluster is.
    pub(crate) fn usage(&self) -> Vec<(ClusterName, Usage)> {
        self.clusters()
            .iter()
            .map(|(name, cluster)| (name.clone(), cluster.usage()))
            .collect()
    }

    /// Closes connections that were idle for long, on all clusters.
    pub(crate) fn sweep(&self) {
        for cluster in self.clusters().values() {
            cluster.sweep();
        }
    }

    /// Closes every idle connection, on all clusters.
    pub(crate) fn close_idle(&self) {
        for cluster in self.clusters().values() {
            cluster.close_idle();
        }
    }

    /// Tenants that are known now.
    pub(crate) fn len(&self) -> u64 {
        self.0.known.run_pending_tasks();
        self.0.known.entry_count()
    }

    /// Refusals that are remembered now.
    pub(crate) fn refusals(&self) -> u64 {
        self.0.refused.run_pending_tasks();
        self.0.refused.entry_count()
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Whether news of changes come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FeedState {
    /// They do.
    Heard,
    /// They do not.
    Silent,
}
