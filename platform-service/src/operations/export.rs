//! Writing a tenant to an archive that any installation can import.
//!
//! Deliberately locks nothing: the tenant is served meanwhile. Invariant: an export that fails leaves no
//! row, and no object unless the store refused to delete it.

use std::time::Duration;

use contract::TenantId;
use contract::operator::backup::{BackupEncryption, BackupId, BackupKind};
use kit::error::{Problem, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::PgConnection;

use super::saga::{Saga, Traits};
use super::{Head, Step, Stop};
use crate::archives::write::write;
use crate::backups::archive::{Facts, Source, Written};
use crate::backups::discard::discard;
use crate::backups::store::{self, NewRow};
use crate::backups::{living, object, server_version};
use crate::clusters::postgres::Name;
use crate::platform::Platform;
use crate::tenants::place::Placed;

/// What was chosen before the first step, and what was written.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExportPlan {
    id: BackupId,
    object: String,
    done: Option<(Written, Facts)>,
}

impl ExportPlan {
    /// Records an export that is to be written, of a tenant that is locked by this.
    ///
    /// # Errors
    /// The tenant has no database of its own now.
    pub(crate) async fn record(
        connection: &mut PgConnection,
        tenant: &TenantId,
        keep_for: Duration,
    ) -> Result<Self> {
        let row = living(connection, tenant).await?;
        let (id, kind) = (BackupId::new(), BackupKind::Export);
        let object = object(tenant, id, kind);
        let new = NewRow {
            id,
            tenant,
            kind,
            object: &object,
            encryption: BackupEncryption::None,
            server_version: server_version(connection, &row).await?,
            copy: row.copy,
            keep_for: Some(keep_for),
        };
        store::insert(connection, &new).await?;
        Ok(Self {
            id,
            object,
            done: None,
        })
    }

    /// The export's id.
    pub(crate) fn id(&self) -> BackupId {
        self.id
    }

    async fn pack(&mut self, platform: &Platform, head: &Head) -> Result<(), Stop> {
        let placed = Placed::find(platform, head.tenant()?).await?;
        let source = Source {
            server: &placed.server,
            name: &Name::Tenant(placed.row.id.clone()),
            copy: placed.row.copy,
        };
        let written = write(platform, &placed.row, source, &self.object).await?;
        self.done = Some(written);
        Ok(())
    }
}

impl Saga for ExportPlan {
    const STEPS: &'static [Step] = &[Step::Pack, Step::Record];

    fn point_of_no_return(&self) -> Step {
        Step::Record
    }

    fn traits(&self) -> Traits {
        Traits::LONG
    }

    fn needs_no_act(&self, step: Step) -> bool {
        step == Step::Record
    }

    async fn act(&mut self, platform: &Platform, head: &Head) -> Result<(), Stop> {
        match head.step {
            Step::Pack => self.pack(platform, head).await,
            Step::Record => Ok(()),
            other => Err(other.unexpected()),
        }
    }

    async fn record(
        &self,
        connection: &mut PgConnection,
        _head: &Head,
        step: Step,
    ) -> Result<(), Stop> {
        if step == Step::Record {
            let missing = || Stop::Fail(Problem::internal("nothing was written"));
            let (written, facts) = self.done.as_ref().ok_or_else(missing)?;
            store::finish(connection, self.id, written, facts).await?;
        }
        Ok(())
    }

    async fn undo(&mut self, platform: &Platform, head: &Head) -> Result<(), Stop> {
        if head.step == Step::Pack {
            discard(platform, head, &self.object).await?;
        }
        Ok(())
    }

    async fn forget(&self, connection: &mut PgConnection, head: &Head) -> Result<(), Stop> {
        if head.step == Step::Pack {
            store::delete(connection, self.id).await?;
        }
        Ok(())
    }

    fn result(&self) -> Option<Value> {
        let (written, facts) = self.done.as_ref()?;
        Some(json!({
            "export": self.id, "size_bytes": written.size_bytes,
            "sha256": written.sha256_text(), "tables": facts.tables.len(), "rows": facts.rows(),
        }))
    }
}
