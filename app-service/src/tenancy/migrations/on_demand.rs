//! Migrations on demand: a tenant that is behind is brought up by its own requests.
//!
//! Deliberately no roll-out: where a setting says so, a tenant whose schema can be served as it is waits
//! for that. Invariant: a request waits only for migrations without which its tenant cannot be served.

use std::time::Duration;

use contract::internal::{MigrationOutcome, MigrationReport};
use contract::tenant::RolloutGate;
use contract::{SchemaOwner, TenantId, TenantRoute};
use kit::error::chain;
use kit::migrate::MigrateError;

use super::{Leg, Migrating, Migrator, OnDemand, Standing, told};
use crate::module::OwnedMigrations;

/// A run that has not come to an end by then is given up; the server's own limits end its
/// statements long before, unless the network swallows what it says.
const RUN_LIMIT: Duration = Duration::from_secs(15 * 60);
/// How long a request waits for another replica's run.
const LOCK_WAIT_ON_DEMAND: Duration = Duration::from_secs(9);
/// A run that breaks off so often in a row has failed: it may be what ends the server's process.
const MOST_BREAKS: u32 = 3;

/// How much a tenant needs its migration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::tenancy) enum Urgency {
    /// This code cannot serve it as it is.
    Needed,
    /// It is behind, but can be served meanwhile.
    Wanted,
}

/// Why a tenant that needs a migration cannot be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MigrateRefusal {
    /// Another replica is at it.
    Busy,
    /// A migration failed.
    Failed,
    /// The roll-out that brings it has halted.
    Halted,
    /// The database could not be worked with.
    Unavailable,
}

impl Migrator {
    /// How much a tenant needs its migration; not at all where it is not behind, or the setting, a
    /// roll-out or a failure a moment ago leaves it as it is.
    ///
    /// # Errors
    /// It cannot be served as it is, and is not to be migrated now.
    pub(in crate::tenancy) fn due(
        &self,
        route: &TenantRoute,
    ) -> Result<Option<Urgency>, MigrateRefusal> {
        let behind = self.behind(route);
        if behind.is_empty() {
            return Ok(None);
        }
        let is_halted = route.rollout == RolloutGate::Halted;
        let has_failed = self.0.failed.contains_key(&route.tenant);
        if behind
            .iter()
            .any(|owned| version(route, owned) < owned.minimum)
        {
            if is_halted {
                // What failed for others would fail here: an operator decides.
                return Err(MigrateRefusal::Halted);
            }
            if has_failed {
                return Err(MigrateRefusal::Failed);
            }
            return Ok(Some(Urgency::Needed));
        }
        let is_left_alone =
            self.0.settings.on_demand == OnDemand::Minimum || is_halted || has_failed;
        Ok((!is_left_alone).then_some(Urgency::Wanted))
    }

    /// Brings a tenant up.
    ///
    /// # Errors
    /// It is as it was, and may be served so where the migration was merely wanted.
    pub(in crate::tenancy) async fn bring_up(
        &self,
        route: &TenantRoute,
        urgency: Urgency,
    ) -> Result<(), MigrateRefusal> {
        tokio::time::timeout(RUN_LIMIT, self.run_for(route, urgency))
            .await
            .unwrap_or(Err(MigrateRefusal::Unavailable))
    }

    /// The owners that bring something newer than the tenant has.
    fn behind(&self, route: &TenantRoute) -> Vec<&OwnedMigrations> {
        let owned = self.0.owned.iter();
        owned
            .filter(|owned| version(route, owned) < owned.newest())
            .collect()
    }

    async fn run_for(&self, route: &TenantRoute, urgency: Urgency) -> Result<(), MigrateRefusal> {
        let tenant = &route.tenant;
        let slots = self.slots(&route.database.cluster.name);
        let slot = match urgency {
            Urgency::Needed => slots.acquire().await.ok(),
            // It can be served as it is; its next renewal tries again.
            Urgency::Wanted => slots.try_acquire().ok(),
        };
        let Some(_slot) = slot else {
            return Err(MigrateRefusal::Busy);
        };
        let legs = legs(route, &self.behind(route));
        let Migrating {
            postgres: mut database,
            opened,
        } = match self.open(&route.database, &legs).await {
            Ok(migrating) => migrating,
            Err(error) => {
                tracing::warn!(tenant.id = %tenant, cause = chain(&error), "a tenant cannot be migrated");
                return Err(MigrateRefusal::Unavailable);
            }
        };
        let lock_wait = match urgency {
            Urgency::Needed => LOCK_WAIT_ON_DEMAND,
            Urgency::Wanted => Duration::ZERO,
        };
        let mut applied = match opened.locked(&mut database, lock_wait).await {
            Ok(applied) => applied,
            Err(MigrateError::Busy) => return Err(MigrateRefusal::Busy),
            Err(_) => return Err(MigrateRefusal::Unavailable),
        };
        let mut outcome = Ok(());
        for (owned, leg) in legs {
            let run = self.run(&mut database, owned, leg, applied.take()).await;
            match &run {
                Ok(version) => {
                    self.0.broken_off.invalidate(tenant);
                    let outcome = MigrationOutcome::Migrated { version: *version };
                    self.report(route, &owned.owner, outcome).await;
                }
                Err(error) if error.broke_off() && !self.breaks_again(tenant) => {
                    let (owner, cause) = (&owned.owner, chain(error));
                    tracing::warn!(tenant.id = %tenant, schema.owner = %owner, cause, "a run broke off");
                    outcome = outcome.and(Err(MigrateRefusal::Unavailable));
                    break;
                }
                Err(error) => {
                    outcome = Err(MigrateRefusal::Failed);
                    self.report_failed(route, &owned.owner, error).await;
                    if error.broke_off() {
                        break;
                    }
                }
            }
        }
        self.close(database).await;
        outcome
    }

    /// Counts a run that broke off; whether it did so too often.
    fn breaks_again(&self, tenant: &TenantId) -> bool {
        let breaks = self.0.broken_off.get(tenant).unwrap_or(0) + 1;
        self.0.broken_off.insert(tenant.clone(), breaks);
        breaks >= MOST_BREAKS
    }

    /// Tells the platform of a failure, and leaves the tenant alone for a while.
    async fn report_failed(&self, route: &TenantRoute, owner: &SchemaOwner, error: &MigrateError) {
        self.0.failed.insert(route.tenant.clone(), ());
        self.report(route, owner, failure(owner, error)).await;
    }

    /// Tells the platform. A report that is lost is made again by the next run, which finds nothing
    /// to do.
    async fn report(&self, route: &TenantRoute, owner: &SchemaOwner, outcome: MigrationOutcome) {
        let tenant = &route.tenant;
        if let MigrationOutcome::Failed {
            migration,
            sqlstate,
            message,
            statement,
        } = &outcome
        {
            tracing::error!(
                tenant.id = %tenant, schema.owner = %owner, migration, sqlstate, message, statement,
                "a tenant's migration failed"
            );
        }
        let report = MigrationReport {
            tenant: tenant.clone(),
            copy: Some(route.database.copy),
            owner: owner.clone(),
            outcome,
        };
        if let Err(error) = self.0.platform.report_migration(&report).await {
            tracing::warn!(tenant.id = %tenant, cause = chain(&error), "a migration was not reported");
        }
    }
}

/// The version of an owner's schema that the platform knows of.
fn version(route: &TenantRoute, owned: &OwnedMigrations) -> i32 {
    let known = route.schema_versions.get(&owned.owner);
    known.copied().unwrap_or(0)
}

/// From where to where each owner's schema goes that is behind.
fn legs<'o>(
    route: &TenantRoute,
    behind: &[&'o OwnedMigrations],
) -> Vec<(&'o OwnedMigrations, Leg)> {
    let leg = |owned: &&'o OwnedMigrations| {
        let known = route.schema_versions.get(&owned.owner).copied();
        let (from, target) = (Standing::Known(known), owned.newest());
        (*owned, Leg { from, target })
    };
    behind.iter().map(leg).collect()
}

fn failure(owner: &SchemaOwner, error: &MigrateError) -> MigrationOutcome {
    let failed = told(owner, error);
    MigrationOutcome::Failed {
        migration: failed.migration,
        sqlstate: failed.sqlstate,
        message: failed.message,
        statement: failed.statement,
    }
}
