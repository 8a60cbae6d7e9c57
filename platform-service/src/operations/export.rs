//! Writing a tenant to an archive that any installation can import.
//!
//! Deliberately spooled first: a tar says the length of a file before the file. Invariant: an export
//! that fails leaves neither object nor row, and no spool outlives its process.

use contract::TenantId;
use contract::operator::backup::{BackupEncryption, BackupId, BackupKind};
use kit::error::{Problem, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sqlx::PgConnection;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use super::saga::{Saga, Traits};
use super::{Head, Step, Stop};
use crate::archives::format;
use crate::backups::archive::{self, Facts, Source, Written};
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
    pub(crate) async fn record(connection: &mut PgConnection, tenant: &TenantId) -> Result<Self> {
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
            keep_for: None,
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
        let objects = archive::objects(&platform.settings)?;
        let placed = Placed::find(platform, head.tenant()?).await?;
        let source = Source {
            server: &placed.server,
            name: &Name::Tenant(placed.row.id.clone()),
            copy: placed.row.copy,
        };
        // Without a name: it is gone with its last handle.
        let folder = archive::work_dir(&platform.settings);
        let spool = tempfile::tempfile_in(folder).map_err(Problem::internal)?;
        let mut spool = tokio::fs::File::from_std(spool);
        let facts = archive::spool(platform, source, &mut spool).await?;
        let dump = checked(&mut spool).await?;
        let body = format::pack(&placed.row, placed.server.version(), &facts, (dump, spool));
        let body = body.map_err(|error| Stop::Fail(Problem::internal(error)))?;
        let path = archive::object_path(&self.object)?;
        let stored = objects.put(&path, body).await;
        let stored = stored.map_err(archive::object_stop)?;
        self.done = Some((stored.into(), facts));
        Ok(())
    }
}

/// Length and checksum of a spooled file, which is at its beginning afterwards.
async fn checked(file: &mut tokio::fs::File) -> Result<Written, Stop> {
    let mut hash = Sha256::new();
    let mut size_bytes = 0;
    let mut chunk = vec![0; 256 * 1024];
    let failed = |error: std::io::Error| Stop::Retry(Problem::internal(error));
    file.rewind().await.map_err(failed)?;
    loop {
        let read = file.read(&mut chunk).await.map_err(failed)?;
        if read == 0 {
            break;
        }
        hash.update(&chunk[..read]);
        size_bytes += read as u64;
    }
    file.rewind().await.map_err(failed)?;
    Ok(Written {
        size_bytes,
        sha256: hash.finalize().into(),
    })
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
            _ => Ok(()),
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
            let objects = archive::objects(&platform.settings)?;
            let path = archive::object_path(&self.object)?;
            objects.delete(&path).await.map_err(archive::object_stop)?;
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
