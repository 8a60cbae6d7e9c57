//! Migrations of tenant databases: on the platform's call, and on demand by [`on_demand`].
//!
//! Deliberately brings up one database at a time and does not choose whose turn it is: the caller does.
//! Invariants: a run holds the database's lock, so that replicas never run the same migration twice; a
//! failure is told to the platform, not tried again for a while, and disturbs no other tenant.

mod on_demand;

use std::borrow::Cow;
use std::collections::HashMap;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use adapters::secret_store::{ClusterRole, SecretStore, SecretSubject};
use contract::client::PlatformClient;
use contract::internal::{FailedMigration, MigrateAnswer, MigrateRequest, OwnedSchema};
use contract::{ClusterName, Code, DatabaseRef, SchemaOwner, SchemaVersions, TenantId};
use kit::error::{Problem, chain};
use kit::migrate::{Applied, Grants, MigrateError, Opening, RunLimits};
use moka::sync::Cache;
use refinery::Migration;
use serde::Deserialize;
use sqlx::{Connection as _, PgConnection};
use tokio::sync::Semaphore;

pub(crate) use self::on_demand::MigrateRefusal;
pub(super) use self::on_demand::Urgency;
use super::open::{Migrating, OpenError, open_as_schema_owner};
use crate::module::OwnedMigrations;

/// How long a failed migration is left alone.
const FAILURE_PAUSE: Duration = Duration::from_secs(30);
const REMEMBERED_FAILURES: u64 = 10_000;
/// So long after a run that broke off the next one counts as the next in a row.
const BREAKS_COUNT: Duration = Duration::from_secs(10 * 60);
const OPEN_LIMIT: Duration = Duration::from_secs(5);

/// Which tenants are migrated by their own requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnDemand {
    /// Every tenant that is behind the newest schema: right for small installations.
    Newest,
    /// Only tenants that this code cannot serve; the others wait for a roll-out.
    Minimum,
}

/// How migrations are run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MigratorSettings {
    /// Which tenants are migrated by their own requests.
    pub(crate) on_demand: OnDemand,
    /// Runs at once on a cluster; each holds a connection outside of the budget.
    pub(crate) at_once: usize,
}

/// Runs migrations of the modules of this program.
#[derive(Clone)]
pub(crate) struct Migrator(Arc<Inner>);

struct Inner {
    owned: Vec<OwnedMigrations>,
    settings: MigratorSettings,
    seal: Arc<SecretStore>,
    platform: PlatformClient,
    application: String,
    limits: RunLimits,
    slots: Mutex<HashMap<ClusterName, Arc<Semaphore>>>,
    failed: Cache<TenantId, ()>,
    /// How often in a row a tenant's run broke off.
    broken_off: Cache<TenantId, u32>,
}

impl Migrator {
    pub(crate) fn new(
        owned: Vec<OwnedMigrations>,
        settings: MigratorSettings,
        seal: Arc<SecretStore>,
        platform: PlatformClient,
        application: String,
    ) -> Self {
        Self(Arc::new(Inner {
            owned,
            settings,
            seal,
            platform,
            application,
            limits: RunLimits::default(),
            slots: Mutex::default(),
            failed: Cache::builder()
                .max_capacity(REMEMBERED_FAILURES)
                .time_to_live(FAILURE_PAUSE)
                .build(),
            broken_off: Cache::builder()
                .max_capacity(REMEMBERED_FAILURES)
                .time_to_live(BREAKS_COUNT)
                .build(),
        }))
    }

    /// What this program owns.
    pub(crate) fn owns(&self) -> Vec<OwnedSchema> {
        self.0.owned.iter().map(OwnedMigrations::declared).collect()
    }

    /// Brings every schema of this program in a database to its newest version; stops at the first
    /// migration that fails, and says which one.
    ///
    /// # Errors
    /// `tenant-migrating` while another run holds the lock, `tenant-unavailable` when the database
    /// cannot be reached or is not the right one.
    pub(crate) async fn migrate(&self, request: &MigrateRequest) -> Result<MigrateAnswer, Problem> {
        let database = &request.database;
        let known = |owned: &OwnedMigrations| {
            let known = request.known.as_ref();
            known.and_then(|known| known.get(&owned.owner).copied())
        };
        let mut schema_versions = SchemaVersions::new();
        let mut behind = Vec::new();
        for owned in &self.0.owned {
            let Some(target) = target(owned, request.until.as_ref()) else {
                continue;
            };
            match known(owned) {
                Some(version) if version >= target => {
                    schema_versions.insert(owned.owner.clone(), version);
                }
                known => {
                    let baseline = request.baseline.get(&owned.owner).copied();
                    let from = baseline.map_or(Standing::Known(known), Standing::Baseline);
                    behind.push((owned, Leg { from, target }));
                }
            }
        }
        let mut answer = MigrateAnswer {
            schema_versions,
            failed: None,
        };
        if behind.is_empty() {
            return Ok(answer);
        }
        let slots = self.slots(&database.cluster.name);
        let _slot = slots.acquire().await;
        let Migrating {
            postgres: mut connection,
            opened,
        } = self.open(database, &behind).await.map_err(unavailable)?;
        let mut applied = opened
            .locked(&mut connection, self.0.limits.lock_wait)
            .await
            .map_err(refused)?;
        for (owned, leg) in behind {
            match self.run(&mut connection, owned, leg, applied.take()).await {
                Ok(version) => {
                    answer.schema_versions.insert(owned.owner.clone(), version);
                }
                Err(error @ (MigrateError::Busy | MigrateError::Database(_))) => {
                    return Err(refused(error));
                }
                Err(error) if error.broke_off() => return Err(refused(error)),
                Err(error) => {
                    answer.failed = Some(told(&owned.owner, &error));
                    break;
                }
            }
        }
        self.close(connection).await;
        Ok(answer)
    }

    /// Runs what is missing of an owner, whose history may have been read already.
    async fn run(
        &self,
        connection: &mut PgConnection,
        owned: &OwnedMigrations,
        leg: Leg,
        applied: Option<Applied>,
    ) -> Result<i32, MigrateError> {
        let started = std::time::Instant::now();
        let (owner, limits, grants) = (&owned.owner, self.0.limits, Grants::TenantRoles);
        let files = files(owned, leg.target);
        let version = match (leg.from, applied) {
            (Standing::Known(_), Some(applied)) => {
                kit::migrate::run_from(connection, owner, &files, applied).await?
            }
            (Standing::Known(Some(1..)), None) => {
                kit::migrate::catch_up(connection, owner, &files, grants, limits).await?
            }
            (Standing::Known(_), None) => {
                kit::migrate::run(connection, owner, &files, grants, limits).await?
            }
            (Standing::Baseline(at), _) => {
                kit::migrate::baseline(connection, owner, &files, at, grants, limits).await?;
                kit::migrate::catch_up(connection, owner, &files, grants, limits).await?
            }
        };
        metrics::histogram!("tenant_migration_seconds", "owner" => owner.to_string())
            .record(started.elapsed().as_secs_f64());
        Ok(version)
    }

    fn slots(&self, cluster: &ClusterName) -> Arc<Semaphore> {
        let mut slots = self.0.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let slots = slots
            .entry(cluster.clone())
            .or_insert_with(|| Arc::new(Semaphore::new(self.0.settings.at_once)));
        Arc::clone(slots)
    }

    /// Opens a database for a run of these legs, and asks what the first of them needs.
    async fn open(
        &self,
        database: &DatabaseRef,
        legs: &[(&OwnedMigrations, Leg)],
    ) -> Result<Migrating, OpenError> {
        let known = legs.first().and_then(|(owned, leg)| match leg.from {
            Standing::Known(Some(1..)) => Some(&owned.owner),
            Standing::Known(_) | Standing::Baseline(_) => None,
        });
        let opening = Opening {
            owner: known,
            limits: self.0.limits,
        };
        let cluster = &database.cluster;
        let subject = SecretSubject::Cluster(cluster.name.clone(), ClusterRole::Schema);
        let secret = self
            .0
            .seal
            .open(&subject, &cluster.schema_credential)
            .await?;
        let login = (&secret, self.0.application.as_str());
        open_as_schema_owner(database, login, opening, OPEN_LIMIT).await
    }

    async fn close(&self, connection: PgConnection) {
        // The lock ends with the session, whether or not the goodbye arrives.
        if let Err(error) = connection.close().await {
            tracing::debug!(
                cause = chain(&error),
                "a migration connection was not closed cleanly"
            );
        }
    }
}

/// Which migrations of an owner are run.
#[derive(Debug, Clone, Copy)]
struct Leg {
    from: Standing,
    target: i32,
}

/// Where a schema stands before.
#[derive(Debug, Clone, Copy)]
enum Standing {
    /// At this version, where somebody knows it.
    Known(Option<i32>),
    /// At this version, which its history does not say yet.
    Baseline(i32),
}

/// The migrations up to a version.
fn files(owned: &OwnedMigrations, target: i32) -> Cow<'_, [Migration]> {
    if target >= owned.newest() {
        return Cow::Borrowed(&owned.migrations);
    }
    let files = owned.migrations.iter();
    files
        .filter(|file| file.version() <= target)
        .cloned()
        .collect()
}

/// How far an owner is brought; not at all where others are asked for.
fn target(owned: &OwnedMigrations, until: Option<&SchemaVersions>) -> Option<i32> {
    let newest = owned.newest();
    match until {
        Some(until) => until.get(&owned.owner).map(|version| newest.min(*version)),
        None => Some(newest),
    }
}

fn refused(error: MigrateError) -> Problem {
    match &error {
        MigrateError::Busy => Problem::new(Code::TenantMigrating),
        _ => unavailable(error),
    }
}

/// With the words of the server, or why there was none: the platform shows them to operators.
fn unavailable(error: impl Error + Send + Sync + 'static) -> Problem {
    let why = match kit::db::said(&error) {
        Some(said) => format!("the server said: {said}"),
        None => chain(&error),
    };
    Problem::new(Code::TenantUnavailable)
        .detail(why)
        .caused_by(error)
}

/// Which migration failed, at which statement, with which SQLSTATE and why.
fn told(owner: &SchemaOwner, error: &MigrateError) -> FailedMigration {
    let owner = owner.clone();
    match error {
        MigrateError::Failed {
            migration,
            sqlstate,
            message,
            statement,
            ..
        } => FailedMigration {
            owner,
            migration: migration.clone(),
            sqlstate: sqlstate.clone(),
            message: message.clone(),
            statement: statement.clone(),
        },
        other => FailedMigration {
            owner,
            migration: "the migration history".to_owned(),
            sqlstate: None,
            message: chain(other),
            statement: None,
        },
    }
}
