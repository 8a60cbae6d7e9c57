//! Making a tenant of an archive, written by this installation or by another one.
//!
//! Deliberately makes no owner account: the people are in the archive. Invariants: before anybody can reach
//! the tenant, every checksum of the archive was right and every row of it is loaded; the uploaded file is
//! removed with the import, whatever became of it.

use contract::OperationId;
use kit::error::{Problem, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::PgConnection;
use tokio::io::AsyncReadExt;

use super::arrive::Arrival;
use super::saga::{Saga, Traits};
use super::{Head, Step, Stop};
use crate::archives::format::{self, DUMP, Manifest, RegistryFacts};
use crate::archives::store as uploads;
use crate::backups::archive;
use crate::backups::discard::discard;
use crate::clusters::postgres::sign_ins;
use crate::meter;
use crate::platform::Platform;
use crate::tenants::NewTenant;

/// What was chosen before the first step.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ImportPlan {
    arrival: Arrival,
    object: String,
    manifest: Manifest,
}

impl ImportPlan {
    /// Records the tenant that is to be made.
    ///
    /// # Errors
    /// The slug is taken.
    pub(crate) async fn record(
        connection: &mut PgConnection,
        platform: &Platform,
        operation: OperationId,
        tenant: &NewTenant,
        (object, manifest, registry): (String, Manifest, &RegistryFacts),
    ) -> Result<Self> {
        let overrides = registry.overrides.clone();
        let mut arrival =
            Arrival::record(connection, platform, operation, tenant, overrides, None).await?;
        // Compressed: it gets larger than that.
        arrival.bytes = manifest.entries.get(DUMP).map_or(0, |dump| dump.size_bytes);
        Ok(Self {
            arrival,
            object,
            manifest,
        })
    }

    /// The archive, at the first byte of its dump.
    async fn open(&self, platform: &Platform) -> Result<impl tokio::io::AsyncRead + use<>, Stop> {
        let objects = archive::objects(&platform.settings)?;
        let path = archive::object_path(&self.object)?;
        let mut reader = objects.get(&path).await.map_err(archive::object_stop)?;
        let head = format::unpack_head(&mut reader).await;
        let (manifest, _) = head.map_err(archive::unreadable)?;
        if manifest.entries != self.manifest.entries {
            let detail = "The archive is another one than when the import was asked for.";
            let problem = Problem::new(contract::Code::ArchiveCorrupt).detail(detail);
            return Err(Stop::Fail(problem));
        }
        Ok(reader)
    }

    async fn check(&self, platform: &Platform) -> Result<(), Stop> {
        let mut reader = self.open(platform).await?;
        let checked = format::check_dump(&mut reader, &self.manifest).await;
        checked.map_err(archive::unreadable)
    }

    /// Removes the upload, which holds a tenant's data and would outlive its purge; another import may
    /// still need it. What cannot be removed now goes with its age.
    async fn remove_upload(&self, platform: &Platform, head: &Head) -> Result<(), Stop> {
        let mut registry = platform.registry.acquire().await?;
        if uploads::is_needed(&mut registry, &self.object, Some(head.id)).await? {
            return Ok(());
        }
        drop(registry);
        discard(platform, head, &self.object).await
    }

    async fn load(&self, platform: &Platform, head: &Head) -> Result<(), Stop> {
        let reader = self.open(platform).await?;
        let entry = self.manifest.entries.get(DUMP);
        let size = entry.map_or(0, |entry| entry.size_bytes);
        let server = Arrival::server(platform, head).await?;
        let side = Arrival::make_side(platform, head).await?;
        let version = self.manifest.server_version;
        meter::expect(size);
        archive::load_stream(platform, &server, &side, version, reader.take(size)).await?;
        self.arrival.reclaim(platform, head).await?;
        let found = Arrival::unattended(platform, head).await?;
        if !found.is_empty() {
            let versions = &self.manifest.schema_versions;
            let expected = Arrival::unattended_of_migrations(platform, head, versions).await?;
            Arrival::as_expected(&found, &expected)?;
        }
        archive::compare(platform, &server, &side, &self.manifest.tables).await?;
        sign_ins::end_in(platform, &server, &side).await
    }
}

impl Saga for ImportPlan {
    const STEPS: &'static [Step] = &[
        Step::Unpack,
        Step::Secret,
        Step::Place,
        Step::Survey,
        Step::Load,
        Step::Schema,
        Step::Database,
        Step::Activate,
        Step::Remove,
    ];

    fn point_of_no_return(&self) -> Step {
        Step::Activate
    }

    fn traits(&self) -> Traits {
        Traits::LONG
    }

    fn needs_no_act(&self, step: Step) -> bool {
        matches!(step, Step::Place | Step::Activate)
    }

    async fn act(&mut self, platform: &Platform, head: &Head) -> Result<(), Stop> {
        match head.step {
            Step::Unpack => self.check(platform).await,
            Step::Load => self.load(platform, head).await,
            Step::Schema => {
                self.arrival.act(platform, head).await?;
                // What was loaded may have run with the migrations.
                self.arrival.reclaim(platform, head).await
            }
            Step::Remove => self.remove_upload(platform, head).await,
            _ => self.arrival.act(platform, head).await,
        }
    }

    async fn record(
        &self,
        connection: &mut PgConnection,
        head: &Head,
        step: Step,
    ) -> Result<(), Stop> {
        self.arrival.record_step(connection, head, step).await
    }

    async fn undo(&mut self, platform: &Platform, head: &Head) -> Result<(), Stop> {
        match head.step {
            Step::Unpack => self.remove_upload(platform, head).await,
            _ => self.arrival.undo(platform, head).await,
        }
    }

    async fn forget(&self, connection: &mut PgConnection, head: &Head) -> Result<(), Stop> {
        match head.step {
            // The first step is the last one to be undone.
            Step::Unpack => Arrival::free(connection, head).await,
            _ => Ok(()),
        }
    }

    fn result(&self) -> Option<Value> {
        Some(json!({
            "archive_of": self.manifest.tenant, "rows": archive::rows(&self.manifest.tables),
            "schema_versions": self.arrival.schema_versions,
        }))
    }
}
