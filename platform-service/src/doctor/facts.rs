//! What the doctor knows: asked of the registry, of each cluster's server and of the clocks.
//!
//! Deliberately as plain values, so that they can be made up in a test. Invariant: nothing here
//! changes anything, and no server is waited for longer than [`PATIENCE`].

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use contract::operator::rollout::RolloutState;
use contract::{ClusterName, OperationId, TenantId};
use futures::StreamExt as _;
use futures::stream;
use sqlx::{Connection as _, PgConnection};
use time::OffsetDateTime;

use super::{look, store};
use crate::clusters::beside::Beside;
use crate::clusters::connections::{ClusterRole, Database, Server};
use crate::clusters::placement::{Needs, Purpose, Unfit};
use crate::clusters::postgres::{Name, inventory, server};
use crate::clusters::requirements::ServerSettings;
use crate::clusters::store::beside;
use crate::housekeeping;
use crate::keys;
use crate::platform::Platform;
use crate::stop::Stop;
use crate::{backups, rollouts};

/// How long a server may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Servers that are asked at once.
const AT_ONCE: usize = 8;

/// A cluster, as it was found.
#[derive(Debug, Clone)]
pub(super) struct ClusterFacts {
    pub(super) row: ClusterRow,
    /// Ready databases that it should have.
    pub(super) stock_level: u32,
    /// Who has connections beside the tenants' budget.
    pub(super) beside: Beside,
    /// Tenants that it is not meant for any more.
    pub(super) misplaced: Vec<(TenantId, Unfit)>,
    /// What its server says; none with the words of who did not answer.
    pub(super) server: Result<ServerFacts, String>,
}

/// What the registry says of a cluster.
#[derive(Debug, Clone)]
pub(super) struct ClusterRow {
    pub(super) name: ClusterName,
    pub(super) status: String,
    pub(super) region: String,
    /// Tiers that it is kept for; `None` takes every tier.
    pub(super) tiers: Option<Vec<String>>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) connection_budget: u32,
    pub(super) max_disk_bytes: Option<u64>,
    pub(super) used_bytes: Option<u64>,
    pub(super) stock: u32,
    /// Finds that nobody said should stay.
    pub(super) findings: u32,
}

/// What a server says of itself.
#[derive(Debug, Clone, Default)]
pub(super) struct ServerFacts {
    pub(super) required: ServerSettings,
    pub(super) settings: SettingFacts,
    /// Of ours.
    pub(super) databases: u64,
    /// Of one of them; 0 where there is none to look at.
    pub(super) files_each: u64,
    /// Of databases that everybody may connect to.
    pub(super) public: Vec<String>,
    /// Of templates that take connections, or that somebody sits in.
    pub(super) open_templates: Vec<String>,
    /// Of databases whose drop was interrupted.
    pub(super) half_dropped: Vec<String>,
    /// Of slots that nobody reads from, with what is kept for each.
    pub(super) idle_slots: Vec<(String, u64)>,
    /// Tenants that the registry has there and the server has not.
    pub(super) missing: Vec<TenantId>,
    pub(super) skew: Skew,
}

/// What else is looked at of a server than what its requirements are about.
#[derive(Debug, Clone, Default, sqlx::FromRow)]
pub(super) struct SettingFacts {
    pub(super) wal_level: String,
    pub(super) max_replication_slots: i32,
    pub(super) used_replication_slots: i32,
    pub(super) may_replicate: bool,
    /// Whether the login of the schemas' owner can be put back if somebody changes it.
    pub(super) may_put_back: bool,
    /// Whether databases may be marked with a setting.
    pub(super) may_mark: bool,
    /// Databases of ours whose setting is not what their comment is.
    pub(super) unmarked: i64,
    /// The oldest transaction id of any database that can be used, in transactions ago.
    pub(super) oldest_transaction: i64,
    /// The same of row locks.
    pub(super) oldest_multixact: i64,
}

/// How far a clock is from ours.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Skew {
    /// Positive where theirs is ahead.
    pub(super) seconds: f64,
    /// How far that may be wrong.
    pub(super) within_seconds: f64,
}

/// The platform, as it was found.
#[derive(Debug, Clone)]
pub(super) struct PlatformFacts {
    pub(super) now: OffsetDateTime,
    pub(super) skew: Skew,
    /// From when on the newest signing key signs.
    pub(super) signing_key: Option<OffsetDateTime>,
    /// How long one is to sign.
    pub(super) signing_key_life: Duration,
    /// Secrets per sealing key, in the order of the ring; the first one seals.
    pub(super) sealing: Vec<keys::SealedWith>,
    /// Operator keys that are good: the oldest, those that end next, those unused for longest.
    pub(super) operator_keys: Vec<OperatorKeyFacts>,
    pub(super) stuck: Vec<(OperationId, String)>,
    /// Active tenants whose schemas are older than the newest.
    pub(super) behind: u64,
    /// The roll-out that is not over.
    pub(super) rollout: Option<(OperationId, RolloutState)>,
    /// Tenants without a backup as young as two intervals of their schedule.
    pub(super) overdue: Vec<TenantId>,
    /// Tiers with a schedule of backups, where no object store is set.
    pub(super) without_store: Vec<String>,
    /// Finds that are on no cluster.
    pub(super) findings: u32,
    /// Replicas of services that live.
    pub(super) replicas: u64,
}

/// An operator key that is good.
#[derive(Debug, Clone)]
pub(super) struct OperatorKeyFacts {
    pub(super) name: String,
    pub(super) made: OffsetDateTime,
    pub(super) ends: Option<OffsetDateTime>,
    /// When it was last used; where no use was seen, since when one would have been.
    pub(super) unused_since: OffsetDateTime,
}

/// Looks at the clusters of this name, or at all.
pub(super) async fn clusters(
    platform: &Platform,
    only: Option<&ClusterName>,
) -> Result<Vec<ClusterFacts>, sqlx::Error> {
    let (rows, beside) = {
        let mut registry = platform.registry.acquire().await?;
        let mut rows = Vec::new();
        for row in store::clusters(&mut registry, only).await? {
            let placed = store::placed(&mut registry, &row.name).await?;
            rows.push((row, placed));
        }
        (rows, beside::count(&mut registry).await?)
    };
    let looks = rows.into_iter().map(|(row, placed)| async move {
        let looked = ask(platform, &row.name, &placed);
        let server = match tokio::time::timeout(PATIENCE, looked).await {
            Ok(Ok(server)) => Ok(server?),
            Ok(Err(stop)) => Err(stop.words()),
            Err(_) => Err("no answer in time".to_owned()),
        };
        Some(ClusterFacts {
            misplaced: misplaced(&row, &placed),
            row,
            stock_level: platform.settings.stock.level,
            beside,
            server,
        })
    });
    let looked = stream::iter(looks).buffered(AT_ONCE);
    Ok(looked.filter_map(std::future::ready).collect().await)
}

/// The tenants on a cluster that it would not take now, however much room it had.
fn misplaced(row: &ClusterRow, placed: &[PlacedTenant]) -> Vec<(TenantId, Unfit)> {
    let purpose = Purpose {
        region: &row.region,
        tiers: row.tiers.as_deref(),
        labels: &row.labels,
    };
    let judged = placed.iter().filter_map(|tenant| {
        let needs = Needs {
            region: &tenant.region,
            tier: &tenant.tier,
            labels: &tenant.labels,
            bytes: 0,
        };
        let unfit = purpose.judge(needs).err()?;
        Some((tenant.id.clone(), unfit))
    });
    judged.collect()
}

/// What a cluster's server says, where these tenants are expected; none where the cluster was removed.
async fn ask(
    platform: &Platform,
    cluster: &ClusterName,
    expected: &[PlacedTenant],
) -> Result<Option<ServerFacts>, Stop> {
    let Some(server) = platform.find_server(cluster).await? else {
        return Ok(None);
    };
    // Not of the pool: what was idle there while the server was restarted says nothing of the server now.
    let mut connection = server.connect(Database::Maintenance).await?;
    let databases = inventory::databases(&mut connection).await?;
    let there: HashSet<&str> = databases.iter().map(|one| one.name.as_str()).collect();
    let missing = expected
        .iter()
        .filter(|tenant| !there.contains(tenant.id.as_str()))
        .map(|tenant| tenant.id.clone())
        .collect();
    let idle_slots = inventory::slots(&mut connection)
        .await?
        .into_iter()
        .filter(|slot| !slot.active)
        .map(|slot| (slot.name, slot.kept_bytes.unsigned_abs()))
        .collect();
    let required = server::settings(&mut connection).await?;
    let settings = look::settings(&mut connection).await?;
    let public = look::public(&mut connection).await?;
    let open_templates = look::open_templates(&mut connection).await?;
    let skew = skew(&mut connection).await?;
    connection.close().await?;
    Ok(Some(ServerFacts {
        required,
        settings,
        databases: databases.len() as u64,
        public,
        open_templates,
        half_dropped: databases
            .iter()
            .filter(|one| one.half_dropped)
            .map(|one| one.name.clone())
            .collect(),
        idle_slots,
        skew,
        files_each: match expected
            .iter()
            .find(|tenant| there.contains(tenant.id.as_str()))
        {
            Some(tenant) => {
                // One database that cannot be entered just now says nothing of its server.
                let files = files_of(platform, &server, tenant).await;
                files.unwrap_or_else(|stop| {
                    tracing::debug!(tenant.id = %tenant.id, ?stop, "files were not counted");
                    0
                })
            }
            None => 0,
        },
        missing,
    }))
}

/// A tenant's place, as the registry has it.
#[derive(Debug)]
pub(super) struct PlacedTenant {
    pub(super) id: TenantId,
    pub(super) copy: u32,
    pub(super) region: String,
    pub(super) tier: String,
    pub(super) labels: BTreeMap<String, String>,
}

/// Files of one tenant's database. Its template is the same for all, so one stands for all of them.
async fn files_of(
    platform: &Platform,
    server: &Server,
    tenant: &PlacedTenant,
) -> Result<u64, Stop> {
    let database = server.database(&Name::Tenant(tenant.id.clone()), tenant.copy);
    let mut connection = server
        .connect_as(platform, ClusterRole::Query, &database)
        .await?;
    let files = look::files(&mut connection).await?;
    connection.close().await?;
    Ok(files)
}

/// Compares a server's clock with ours. The answer was on its way for a time that is the most that the
/// figure can be wrong by.
async fn skew(connection: &mut PgConnection) -> Result<Skew, sqlx::Error> {
    let (asked, clock) = (OffsetDateTime::now_utc(), Instant::now());
    let theirs = look::clock(connection).await?;
    let half = clock.elapsed().as_secs_f64() / 2.0;
    Ok(Skew {
        seconds: (theirs - asked).as_seconds_f64() - half,
        within_seconds: half,
    })
}

/// Looks at the platform itself.
pub(super) async fn platform(platform: &Platform) -> Result<PlatformFacts, sqlx::Error> {
    let mut registry = platform.registry.acquire().await?;
    Ok(PlatformFacts {
        now: OffsetDateTime::now_utc(),
        skew: skew(&mut registry).await?,
        signing_key: crate::signing_keys::store::newest_signs_from(&mut registry).await?,
        signing_key_life: platform.settings.signing_keys.rotate_after.get(),
        sealing: keys::sealing(platform, &mut registry).await?,
        operator_keys: store::operator_keys(&mut registry).await?,
        stuck: store::stuck(&mut registry).await?,
        behind: housekeeping::store::tenants_behind(&mut registry).await?,
        rollout: rollouts::store::live(&mut registry).await?,
        overdue: backups::store::due::overdue(&mut registry).await?,
        without_store: match backups::archive::objects(&platform.settings) {
            Ok(_) => Vec::new(),
            Err(_) => backups::store::due::scheduled_tiers(&mut registry).await?,
        },
        findings: store::findings_elsewhere(&mut registry).await?,
        replicas: beside::count(&mut registry).await?.services,
    })
}
