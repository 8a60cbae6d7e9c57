//! A dry run of a roll-out: a tenant's database is copied, the copy migrated and thrown away.
//!
//! Deliberately does not leave the tenant's own cluster and data, because that is where a migration fails
//! or is slow. Invariants: the tenant's database is only read; a migration that fails is a result of the
//! trial, not a failure of it; nothing of the copy is left.

use std::time::Instant;

use contract::internal::KnownDatabase;
use contract::operator::rollout::RolloutTrial;
use contract::{ClusterName, SchemaVersions};
use kit::error::{Problem, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::saga::{Saga, Traits};
use super::{Head, Step, Stop};
use crate::backups::archive::{self, Source};
use crate::clusters::postgres::Name;
use crate::clusters::{services, spare};
use crate::platform::Platform;
use crate::tenants::TenantRow;
use crate::tenants::place::Placed;

/// What was chosen before the first step, and what came of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TrialPlan {
    cluster: ClusterName,
    before: SchemaVersions,
    outcome: Option<RolloutTrial>,
}

impl TrialPlan {
    /// A trial on the cluster of a tenant.
    ///
    /// # Errors
    /// It has no place.
    pub(crate) fn of(tenant: &TenantRow) -> Result<Self> {
        let cluster = tenant.cluster.clone();
        Ok(Self {
            cluster: cluster.ok_or_else(|| Problem::internal("the tenant is not placed"))?,
            before: tenant.schema_versions.clone(),
            outcome: None,
        })
    }

    async fn copy(&self, platform: &Platform, head: &Head) -> Result<(), Stop> {
        let tenant = head.tenant()?;
        let placed = Placed::find(platform, tenant).await?;
        let server = platform.server(&self.cluster).await?;
        let name = scratch(head);
        spare::make_empty(platform, &server, &name, (tenant, head.id)).await?;
        let source = Source {
            server: &placed.server,
            name: &Name::Tenant(tenant.clone()),
            copy: placed.row.copy,
        };
        archive::copy(platform, source, &server, &name).await?;
        Ok(())
    }

    async fn migrate(&mut self, platform: &Platform, head: &Head) -> Result<(), Stop> {
        let server = platform.server(&self.cluster).await?;
        let name = scratch(head);
        let database = server.database(&name, spare::copy_of(&name));
        let services = services::living(platform).await?;
        let started = Instant::now();
        // Whatever the registry says of the tenant: the copy has what is true.
        let known = SchemaVersions::new();
        let copy = [KnownDatabase { database, known }];
        let brought = services::bring_up(platform, &services, &copy, 0).await?;
        let brought = brought.into_iter().next().unwrap_or_default();
        self.outcome = Some(RolloutTrial {
            before: self.before.clone(),
            after: brought.schema_versions,
            failed: brought.failed,
            milliseconds: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        });
        Ok(())
    }

    async fn drop_copy(&self, platform: &Platform, head: &Head) -> Result<(), Stop> {
        let server = platform.server(&self.cluster).await?;
        spare::drop_now(platform, &server, &scratch(head)).await
    }
}

fn scratch(head: &Head) -> Name {
    Name::Scratch(head.id.uuid())
}

impl Saga for TrialPlan {
    const STEPS: &'static [Step] = &[Step::Scratch, Step::Migrate, Step::Drop];

    fn point_of_no_return(&self) -> Step {
        Step::Migrate
    }

    fn traits(&self) -> Traits {
        Traits::LONG
    }

    async fn act(&mut self, platform: &Platform, head: &Head) -> Result<(), Stop> {
        match head.step {
            Step::Scratch => self.copy(platform, head).await,
            Step::Migrate => self.migrate(platform, head).await,
            Step::Drop => self.drop_copy(platform, head).await,
            other => Err(other.unexpected()),
        }
    }

    async fn undo(&mut self, platform: &Platform, head: &Head) -> Result<(), Stop> {
        match head.step {
            Step::Scratch => self.drop_copy(platform, head).await,
            _ => Ok(()),
        }
    }

    fn result(&self) -> Option<Value> {
        serde_json::to_value(self.outcome.as_ref()?).ok()
    }
}
