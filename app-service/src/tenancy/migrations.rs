//! Migrations of tenant databases: on the platform's call, and on demand by [`on_demand`].
//!
//! Deliberately brings up one database after the other and does not choose whose turn it is: the caller does.
//! Invariants: a run holds the database's lock, so that replicas never run the same migration twice; a
//! failure is told to the platform, not tried again for a while, and disturbs no other tenant.

mod on_demand;
mod patience;

use std::borrow::Cow;
use std::collections::HashMap;
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use adapters::secret_store::{ClusterRole, SecretStore, SecretSubject};
use contract::client::PlatformClient;
use contract::internal::{FailedMigration, MigrateAnswer, MigrateRequest, Migrated, OwnedSchema};
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
use self::patience::Patience;
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
    /// A call that has lasted so long begins no further database: whoever calls may have other plans by then.
    pub(crate) call_budget: Duration,
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

    /// Brings up a database and then more of them, until one does not come up or the budget of
    /// a call is over.
    ///
    /// # Errors
    /// What [`Migrator::bring`] says of the first one; the others were not begun then.
    pub(crate) async fn migrate(&self, request: &MigrateRequest) -> Result<MigrateAnswer, Problem> {
        let over_at = Instant::now() + self.0.settings.call_budget;
        let task = Task {
            database: &request.database,
            known: request.known.as_ref(),
            baseline: Some(&request.baseline),
            until: request.until.as_ref(),
            patience: Patience::Long,
        };
        let mut answer = MigrateAnswer {
            first: self.bring(task).await?,
            more: Vec::new(),
        };
        for next in &request.more {
            let has_failed = answer.more.last().unwrap_or(&answer.first).failed.is_some();
            if has_failed || Instant::now() >= over_at {
                break;
            }
            let task = Task {
                database: &next.database,
                known: Some(&next.known),
                baseline: None,
                until: None,
                // Other runs' ends are not waited for at the cost of those that come after.
                patience: Patience::Until(over_at),
            };
            match self.bring(task).await {
                Ok(migrated) => answer.more.push(migrated),
                Err(problem) => {
                    let (database, cause) = (&next.database.name, chain(&problem));
                    tracing::info!(database, cause, "a database is left to a call of its own");
                    break;
                }
            }
        }
        Ok(answer)
    }

    /// Brings every schema of this program in a database to its newest version; stops at the first
    /// migration that fails, and says which one.
    ///
    /// # Errors
    /// `tenant-migrating` when other runs are in the way for longer than the task's patience,
    /// `tenant-unavailable` when the database cannot be reached or is not the right one.
    async fn bring(&self, task: Task<'_>) -> Result<Migrated, Problem> {
        let (schema_versions, behind) = self.behind_of(task);
        let mut migrated = Migrated {
            schema_versions,
            failed: None,
        };
        if behind.is_empty() {
            return Ok(migrated);
        }
        let slots = self.slots(&task.database.cluster.name);
        let Some(_slot) = task.patience.slot(&slots).await else {
            return Err(Problem::new(Code::TenantMigrating));
        };
        let Migrating {
            postgres: mut connection,
            opened,
        } = self
            .open(task.database, &behind)
            .await
            .map_err(unavailable)?;
        let lock_wait = task.patience.lock_wait(self.0.limits);
        let mut applied = opened
            .locked(&mut connection, lock_wait)
            .await
            .map_err(refused)?;
        for (owned, leg) in behind {
            match self.run(&mut connection, owned, leg, applied.take()).await {
                Ok(version) => {
                    let versions = &mut migrated.schema_versions;
                    versions.insert(owned.owner.clone(), version);
                }
                Err(error @ (MigrateError::Busy | MigrateError::Database(_))) => {
                    return Err(refused(error));
                }
                Err(error) if error.broke_off() => return Err(refused(error)),
                Err(error) => {
                    migrated.failed = Some(told(&owned.owner, &error));
                    break;
                }
            }
        }
        self.close(connection).await;
        Ok(migrated)
    }

    /// The versions of those that need nothing, and from where to where the others go.
    fn behind_of(&self, task: Task<'_>) -> (SchemaVersions, Vec<(&OwnedMigrations, Leg)>) {
        let (mut newest, mut behind) = (SchemaVersions::new(), Vec::new());
        for owned in &self.0.owned {
            let Some(target) = target(owned, task.until) else {
                continue;
            };
            match of_owner(task.known, owned) {
                Some(version) if version >= target => {
                    newest.insert(owned.owner.clone(), version);
                }
                known => {
                    let baseline = of_owner(task.baseline, owned);
                    let from = baseline.map_or(Standing::Known(known), Standing::Baseline);
                    behind.push((owned, Leg { from, target }));
                }
            }
        }
        (newest, behind)
    }

    /// Runs what is missing of an owner, whose history may have been read already.
    async fn run(
        &self,
        connection: &mut PgConnection,
        owned: &OwnedMigrations,
        leg: Leg,
        applied: Option<Applied>,
    ) -> Result<i32, MigrateError> {
        let started = Instant::now();
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

/// A database, and what is to become of it.
#[derive(Clone, Copy)]
struct Task<'a> {
    database: &'a DatabaseRef,
    known: Option<&'a SchemaVersions>,
    baseline: Option<&'a SchemaVersions>,
    until: Option<&'a SchemaVersions>,
    patience: Patience,
}

/// An owner's version among those that are given.
fn of_owner(versions: Option<&SchemaVersions>, owned: &OwnedMigrations) -> Option<i32> {
    versions.and_then(|versions| versions.get(&owned.owner).copied())
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
        Some(_) => of_owner(until, owned).map(|version| newest.min(version)),
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
