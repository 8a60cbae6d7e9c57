//! Trying a backup: it is loaded into a database of its own, compared and thrown away; on the way it is
//! counted what a restore over the tenant would change.
//!
//! Deliberately touches nothing of the tenant, but is done on its cluster, where a restore would be.
//! Invariant: a backup that cannot be restored says so in its row, and nothing of the try is left.

use contract::ClusterName;
use contract::Code;
use contract::operator::backup::BackupId;
use kit::error::{Problem, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::PgConnection;

use super::saga::{Saga, Traits};
use super::{Head, Step, Stop};
use crate::backups::archive::{self, Archive, Tables};
use crate::backups::changes::{self, Changes};
use crate::backups::store::{self, BackupRow};
use crate::clusters::postgres::Name;
use crate::clusters::spare;
use crate::platform::Platform;
use crate::tenants::TenantRow;
use crate::tenants::place::Placed;

/// What was chosen before the first step.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct VerifyBackupPlan {
    backup: BackupId,
    archive: Archive,
    tables: Tables,
    cluster: ClusterName,
    /// Known once the tenant's rows are counted.
    #[serde(default)]
    changes: Option<Changes>,
}

impl VerifyBackupPlan {
    /// A try of a backup on its tenant's cluster.
    ///
    /// # Errors
    /// It is none that can be loaded.
    pub(crate) fn of(row: &BackupRow, tenant: &TenantRow) -> Result<Self> {
        let cluster = tenant.cluster.clone();
        Ok(Self {
            backup: row.id,
            archive: row.archive()?,
            tables: row.tables.clone(),
            cluster: cluster.ok_or_else(|| Problem::internal("the tenant is not placed"))?,
            changes: None,
        })
    }

    /// The backup's rows are those that were recorded: only the tenant's are counted.
    async fn count(&mut self, platform: &Platform, head: &Head) -> Result<(), Stop> {
        let placed = Placed::find(platform, head.tenant()?).await?;
        let now = Name::Tenant(placed.row.id.clone());
        let now = (&now, placed.row.copy);
        self.changes = changes::to_tables(platform, &placed.server, now, &self.tables).await;
        Ok(())
    }

    async fn drop_scratch(&self, platform: &Platform, head: &Head) -> Result<(), Stop> {
        let server = platform.server(&self.cluster).await?;
        spare::drop_now(platform, &server, &scratch(head)).await
    }
}

fn scratch(head: &Head) -> Name {
    Name::Scratch(head.id.uuid())
}

impl Saga for VerifyBackupPlan {
    const STEPS: &'static [Step] = &[Step::Load, Step::Compare, Step::Count, Step::Drop];

    fn point_of_no_return(&self) -> Step {
        Step::Compare
    }

    fn traits(&self) -> Traits {
        Traits::LONG
    }

    async fn act(&mut self, platform: &Platform, head: &Head) -> Result<(), Stop> {
        let server = platform.server(&self.cluster).await?;
        let name = scratch(head);
        match head.step {
            Step::Load => {
                let owner = (&self.archive.tenant, head.id);
                spare::make_empty(platform, &server, &name, owner).await?;
                archive::load(platform, &server, &name, &self.archive).await
            }
            Step::Compare => {
                archive::compare(platform, &server, &name, &self.tables).await?;
                Ok(())
            }
            Step::Count => self.count(platform, head).await,
            Step::Drop => self.drop_scratch(platform, head).await,
            other => Err(other.unexpected()),
        }
    }

    async fn record(
        &self,
        connection: &mut PgConnection,
        _head: &Head,
        step: Step,
    ) -> Result<(), Stop> {
        if step == Step::Compare {
            store::mark_verified(connection, self.backup).await?;
        }
        Ok(())
    }

    async fn undo(&mut self, platform: &Platform, head: &Head) -> Result<(), Stop> {
        match head.step {
            Step::Load => self.drop_scratch(platform, head).await,
            _ => Ok(()),
        }
    }

    async fn forget(&self, connection: &mut PgConnection, head: &Head) -> Result<(), Stop> {
        let failed = head.failure.as_ref().map(|failure| failure.code);
        if head.step == Step::Load && failed == Some(Code::ArchiveCorrupt) {
            store::mark_corrupt(connection, self.backup).await?;
        }
        Ok(())
    }

    fn result(&self) -> Option<Value> {
        Some(json!({
            "backup": self.backup, "tables": self.tables.len(), "rows": archive::rows(&self.tables),
            "changes": self.changes,
        }))
    }
}
