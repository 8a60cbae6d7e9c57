//! Tenants that this replica knows: asked for once, kept while they are used, renewed behind, and
//! dropped when news of a change comes.
//!
//! Deliberately two caches. Known tenants are kept for long and can be served stale while the
//! platform cannot be reached; refusals are kept for seconds. A failure to reach the platform is
//! never remembered. Invariant: an answer that was on its way when news of a newer generation came
//! is not kept.

mod fill;
mod news;
mod renewal;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use adapters::secret_store::SecretStore;
use contract::client::PlatformClient;
use contract::tenant::Hold;
use contract::{ClusterName, TenantId, TenantRoute};
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use time::OffsetDateTime;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use super::connections::{ClusterConnections, ConnectionLimits};
use super::doubt::{Doubts, IsTried, Trial};
use super::gate::Usage;
use super::hold::{self, Holds};
use super::known::{Known, RequestRate};
use super::look_ups::LookUps;
use super::migrations::Migrator;
use super::open::Opener;
use super::refusal::Refusal;

use self::fill::Fill;
pub(crate) use self::news::FeedState;
use self::renewal::RENEWALS;

/// Refusals that are remembered; small, since nobody without a token can add to it without limit.
const REMEMBERED_REFUSALS: u64 = 10_000;
/// Tenants of a cluster that are tried, one after the other, to have a session there.
const SOME: usize = 16;

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
    doubts: Doubts,
    hears_feed: AtomicBool,
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
            doubts: Doubts::default(),
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
            let is_over = match known.route.hold {
                Some(Hold { until }) => until <= OffsetDateTime::now_utc(),
                None if self.0.holds.is_held(id) => false,
                None => return Ok(known),
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || is_over {
                return Err(Refusal::Held);
            }
            let waited = self.0.holds.wait(id, left.min(hold::LOOK)).await;
            waited.map_err(|hold::Crowded| Refusal::Held)?;
            // A route and its hold are not known at the same moment: whoever makes them known is to get on.
            tokio::task::yield_now().await;
        }
    }

    /// The tenant as the platform knows it now, because its database refused what was known.
    pub(crate) async fn renewed(&self, known: &Arc<Known>) -> Result<Arc<Known>, Refusal> {
        known.close_idle();
        self.await_fill(&known.route.tenant).await
    }

    /// Remembers for a moment that a tenant's database refuses us, so that its requests do not
    /// load the cluster that others share.
    pub(crate) fn unavailable(&self, known: &Known) {
        let id = &known.route.tenant;
        self.supersede(id);
        self.0.refused.insert(id.clone(), Refusal::Unavailable);
    }

    /// The same of one that refuses us until somebody does something about it: later one request at a time
    /// tries it.
    pub(super) fn doubted(&self, known: &Known) {
        let (id, generation) = (&known.route.tenant, known.route.generation);
        self.0.doubts.begin(id, generation);
        self.unavailable(known);
    }

    /// The turn to try a tenant's database that is in doubt; none where it is not.
    ///
    /// # Errors
    /// Another request is trying.
    pub(super) fn trial(&self, known: &Known) -> Result<Option<Trial>, Refusal> {
        let (id, generation) = (&known.route.tenant, known.route.generation);
        let turn = self.0.doubts.turn(id, generation);
        turn.map_err(|IsTried| Refusal::Unavailable)
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

    fn now(&self) -> u64 {
        millis(self.0.started.elapsed())
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
