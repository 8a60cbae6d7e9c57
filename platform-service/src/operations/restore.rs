//! Bringing a tenant back to one of its backups, or to the database that the last restore replaced.
//!
//! Deliberately beside the tenant's database until the last moment: all that takes long happens while
//! the tenant is served. Invariants: what is swapped in was compared with what was backed up; the role
//! is locked out and nobody is connected while names change; no route names the new copy before the
//! registry does, so an undo loses no write; what was replaced is kept for a time.

mod swap;

use std::time::Duration;

use contract::operator::backup::BackupId;
use contract::{ClusterName, Code, SchemaVersions, TenantId};
use kit::error::{Problem, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::PgConnection;

use super::saga::{Saga, Traits};
use super::{Head, Step, Stop, hold, lease};
use crate::backups::archive::{self, Archive, Tables};
use crate::backups::changes::{self, Changes};
use crate::backups::store::{self, BackupRow};
use crate::clusters::postgres::wall::{Wall, Who};
use crate::clusters::postgres::{self, Name, sign_ins};
use crate::clusters::store::kept;
use crate::clusters::{drops, services, spare};
use crate::platform::Platform;
use crate::tenants::place::Placed;
use crate::tenants::{self, TenantRow};

/// What was chosen before the first step, and what was learned.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RestorePlan {
    cluster: ClusterName,
    /// The copy that is replaced, and the one that it will be.
    from_copy: u32,
    to_copy: u32,
    keep_old: Duration,
    source: RestoreSource,
    /// Of what is swapped in.
    schema_versions: SchemaVersions,
    /// Known once the role is locked out.
    #[serde(default)]
    replaced: Replaced,
    #[serde(default)]
    requests: Requests,
    /// Known once the rows of both are counted.
    #[serde(default)]
    changes: Option<Changes>,
}

/// What becomes of the tenant's requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Requests {
    #[default]
    Served,
    /// They wait from here on.
    Held,
}

/// What has the tenant's name before the swap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Replaced {
    /// A database, which is kept.
    #[default]
    Kept,
    /// Nothing: somebody dropped it behind our back.
    Missing,
}

/// Where the data comes from.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RestoreSource {
    Backup {
        id: BackupId,
        archive: Archive,
        tables: Tables,
    },
    /// A database of this tenant that was replaced, by its copy.
    Previous { copy: u32 },
}

impl RestorePlan {
    /// A tenant's restore from a backup of its own.
    ///
    /// # Errors
    /// The backup is another tenant's, or none that can be loaded.
    pub(crate) fn from_backup(
        tenant: &TenantRow,
        backup: &BackupRow,
        keep_old: Duration,
    ) -> Result<Self> {
        backup.must_be_of(&tenant.id)?;
        let source = RestoreSource::Backup {
            id: backup.id,
            archive: backup.archive()?,
            tables: backup.tables.clone(),
        };
        Self::of(tenant, source, keep_old)
    }

    /// A tenant's return to a database that was replaced, by its name.
    ///
    /// # Errors
    /// The name is none of such a database.
    pub(crate) fn from_previous(
        tenant: &TenantRow,
        kept: &str,
        keep_old: Duration,
    ) -> Result<Self> {
        let Ok(Name::Old(_, copy)) = kept.parse::<Name>() else {
            return Err(Problem::internal("a kept database has another name"));
        };
        Self::of(tenant, RestoreSource::Previous { copy }, keep_old)
    }

    fn of(tenant: &TenantRow, source: RestoreSource, keep_old: Duration) -> Result<Self> {
        let cluster = tenant.cluster.clone();
        Ok(Self {
            cluster: cluster.ok_or_else(|| Problem::internal("the tenant is not placed"))?,
            from_copy: tenant.copy,
            to_copy: tenant.copy + 1,
            keep_old,
            source,
            schema_versions: SchemaVersions::new(),
            replaced: Replaced::Kept,
            requests: Requests::Served,
            changes: None,
        })
    }

    /// The database that is to be the tenant's.
    fn coming(&self, tenant: &TenantId) -> Name {
        match self.source {
            RestoreSource::Backup { .. } => Name::Side(tenant.clone(), self.to_copy),
            RestoreSource::Previous { copy } => Name::Old(tenant.clone(), copy),
        }
    }

    /// What the replaced one is called.
    fn away(&self, tenant: &TenantId) -> Name {
        Name::Old(tenant.clone(), self.from_copy)
    }

    async fn load(&self, platform: &Platform, head: &Head) -> Result<(), Stop> {
        let RestoreSource::Backup { archive, .. } = &self.source else {
            return Ok(());
        };
        let tenant = head.tenant()?;
        let server = platform.server(&self.cluster).await?;
        let name = self.coming(tenant);
        spare::make_empty(platform, &server, &name, (tenant, head.id)).await?;
        archive::load(platform, &server, &name, archive).await
    }

    async fn compare(&self, platform: &Platform, head: &Head) -> Result<(), Stop> {
        if let RestoreSource::Backup { tables, .. } = &self.source {
            let server = platform.server(&self.cluster).await?;
            let name = self.coming(head.tenant()?);
            archive::compare(platform, &server, &name, tables).await?;
        }
        Ok(())
    }

    /// Brings the schemas up to date before anybody is served from them.
    async fn migrate(&mut self, platform: &Platform, head: &Head) -> Result<(), Stop> {
        let server = platform.server(&self.cluster).await?;
        let name = self.coming(head.tenant()?);
        // A kept one is not dropped while it is being brought back.
        let place = (server.name(), &name);
        let mut registry = platform.registry.acquire().await?;
        kept::expect(&mut registry, place, head.tenant()?, head.id).await?;
        drop(registry);
        if let RestoreSource::Previous { .. } = self.source
            && drops::look_after(&server, &name).await?.database.is_none()
        {
            let detail = format!("The database {name} is not there any more.");
            return Err(Stop::Fail(Problem::new(Code::Conflict).detail(detail)));
        }
        let database = server.database(&name, spare::copy_of(&name));
        self.schema_versions = services::bring_to_serve(platform, head, &server, &database).await?;
        Ok(())
    }

    /// Counts what goes and what comes, while the tenant is served from the one and nobody from the other.
    async fn count(&mut self, platform: &Platform, head: &Head) -> Result<(), Stop> {
        let tenant = head.tenant()?;
        let server = platform.server(&self.cluster).await?;
        let (now, then) = (Name::Tenant(tenant.clone()), self.coming(tenant));
        let (now, then) = ((&now, self.from_copy), (&then, spare::copy_of(&then)));
        self.changes = changes::to_database(platform, &server, now, then).await;
        Ok(())
    }

    async fn hold(&mut self, platform: &Platform, head: &Head) -> Result<(), Stop> {
        let tenant = head.tenant()?;
        let server = platform.server(&self.cluster).await?;
        sign_ins::end_in(platform, &server, &self.coming(tenant)).await?;
        self.requests = Requests::Held;
        let longest = platform.settings.hold.longest.get();
        let mut transaction = platform.registry.begin().await?;
        let change = hold::set(&mut transaction, tenant, longest).await?;
        transaction.commit().await?;
        platform.feed.ring();
        hold::settled(platform, tenant, change).await
    }

    async fn release(&self, platform: &Platform, head: &Head) -> Result<(), Stop> {
        let mut transaction = platform.registry.begin().await?;
        hold::clear(&mut transaction, head.tenant()?).await?;
        transaction.commit().await?;
        platform.feed.ring();
        Ok(())
    }

    /// Locks the role out and ends every session, in both databases: neither can be renamed otherwise,
    /// and nobody who missed the news writes to what is replaced.
    async fn lock_out(&mut self, platform: &Platform, head: &Head) -> Result<(), Stop> {
        let tenant = head.tenant()?;
        let server = platform.server(&self.cluster).await?;
        let name = Name::Tenant(tenant.clone());
        lease::set_wall((platform, head), &server, tenant, Wall::Blocked).await?;
        let found = postgres::look(&mut *server.acquire().await?, &name).await?;
        self.replaced = match found.database {
            Some(_) => Replaced::Kept,
            None => Replaced::Missing,
        };
        tenants::wall::end_sessions(&server, &name, Who::Everybody).await?;
        tenants::wall::end_sessions(&server, &self.coming(tenant), Who::Everybody).await?;
        Ok(())
    }

    /// The wall that the tenant had.
    async fn let_in(&self, platform: &Platform, head: &Head) -> Result<(), Stop> {
        let placed = Placed::find(platform, head.tenant()?).await?;
        let (tenant, wanted) = (&placed.row.id, tenants::wall::wanted(&placed.row));
        lease::set_wall((platform, head), &placed.server, tenant, wanted).await
    }

    /// A database that was kept is kept again.
    async fn keep_again(&self, platform: &Platform, head: &Head) -> Result<(), Stop> {
        if let RestoreSource::Previous { .. } = self.source {
            let tenant = head.tenant()?;
            let name = self.coming(tenant);
            let mut registry = platform.registry.acquire().await?;
            let place = (&self.cluster, &name);
            kept::keep(&mut registry, place, tenant, head.id, self.keep_old).await?;
        }
        Ok(())
    }

    async fn drop_side(&self, platform: &Platform, head: &Head) -> Result<(), Stop> {
        let server = platform.server(&self.cluster).await?;
        spare::drop_now(platform, &server, &self.coming(head.tenant()?)).await
    }
}

/// From a database that was replaced; there is nothing to load and to compare.
const FROM_PREVIOUS: &[Step] = &[
    Step::Schema,
    Step::Count,
    Step::Hold,
    Step::Wall,
    Step::Swap,
];

impl Saga for RestorePlan {
    const STEPS: &'static [Step] = &[
        Step::Load,
        Step::Compare,
        Step::Schema,
        Step::Count,
        Step::Hold,
        Step::Wall,
        Step::Swap,
    ];

    fn steps(&self) -> &'static [Step] {
        match self.source {
            RestoreSource::Backup { .. } => Self::STEPS,
            RestoreSource::Previous { .. } => FROM_PREVIOUS,
        }
    }

    fn point_of_no_return(&self) -> Step {
        Step::Swap
    }

    /// Nobody's long work stands before requests that wait.
    fn traits(&self) -> Traits {
        match self.requests {
            Requests::Served => Traits::LONG,
            Requests::Held => Traits::QUICK,
        }
    }

    async fn act(&mut self, platform: &Platform, head: &Head) -> Result<(), Stop> {
        match head.step {
            Step::Load => self.load(platform, head).await,
            Step::Compare => self.compare(platform, head).await,
            Step::Schema => self.migrate(platform, head).await,
            Step::Count => self.count(platform, head).await,
            Step::Hold => self.hold(platform, head).await,
            Step::Wall => self.lock_out(platform, head).await,
            Step::Swap => self.swap(platform, head).await,
            other => Err(other.unexpected()),
        }
    }

    async fn record(
        &self,
        connection: &mut PgConnection,
        head: &Head,
        step: Step,
    ) -> Result<(), Stop> {
        if step != Step::Swap {
            return Ok(());
        }
        let tenant = head.tenant()?;
        let (coming, away) = (self.coming(tenant), self.away(tenant));
        kept::forget(&mut *connection, (&self.cluster, &coming)).await?;
        if self.replaced == Replaced::Kept {
            let place = (&self.cluster, &away);
            kept::keep(&mut *connection, place, tenant, head.id, self.keep_old).await?;
        }
        let versions = &self.schema_versions;
        let news =
            store::replace_database(&mut *connection, tenant, self.to_copy, versions).await?;
        news.announce(connection).await?;
        Ok(())
    }

    async fn undo(&mut self, platform: &Platform, head: &Head) -> Result<(), Stop> {
        match head.step {
            Step::Load => self.drop_side(platform, head).await,
            Step::Schema => self.keep_again(platform, head).await,
            Step::Hold => self.release(platform, head).await,
            Step::Wall => self.let_in(platform, head).await,
            Step::Swap => self.swap_back(platform, head).await,
            _ => Ok(()),
        }
    }

    async fn forget(&self, connection: &mut PgConnection, head: &Head) -> Result<(), Stop> {
        let failed = head.failure.as_ref().map(|failure| failure.code);
        if let RestoreSource::Backup { id, .. } = &self.source
            && head.step == Step::Load
            && failed == Some(Code::ArchiveCorrupt)
        {
            store::mark_corrupt(connection, *id).await?;
        }
        Ok(())
    }

    fn result(&self) -> Option<Value> {
        let from = match &self.source {
            RestoreSource::Backup { id, .. } => json!(id),
            RestoreSource::Previous { copy } => json!({ "copy": copy }),
        };
        let mut result = json!({
            "from": from, "copy": self.to_copy, "changes": self.changes,
            "schema_versions": self.schema_versions,
        });
        if self.replaced == Replaced::Kept {
            result["kept_copy"] = json!(self.from_copy);
            result["kept_hours"] = json!(self.keep_old.as_secs() / 3600);
        }
        Some(result)
    }
}
