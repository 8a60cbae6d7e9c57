//! Copying a tenant, or a backup of it, to a new id, without what is personal where an operator's SQL takes
//! it out.
//!
//! Deliberately of one moment, and without the original noticing: it is served meanwhile, and a copy of a
//! backup asks nothing of its database. Invariants: nobody can reach the copy before it is anonymised; no
//! session of the original is good in the copy; a backup is only read.

use adapters::secret_store::{MAX_SECRET_BYTES, SecretSubject};
use contract::operator::backup::BackupId;
use contract::secret::{Secret, SecretRef};
use contract::{Code, OperationId, TenantId};
use kit::error::{Problem, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};

use super::arrive::Arrival;
use super::saga::{Saga, Traits};
use super::{Head, Step, Stop};
use crate::backups::archive::{self, Source, Tables};
use crate::backups::found;
use crate::backups::store::{self, BackupRow};
use crate::clusters::connections::{ClusterRole, Server};
use crate::clusters::postgres::anonymise::{self, AnonymiseError};
use crate::clusters::postgres::{self, Name};
use crate::clusters::spare;
use crate::platform::Platform;
use crate::tenants::place::Placed;
use crate::tenants::{NewTenant, TenantRow};

/// What was chosen before the first step, and what was learned.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClonePlan {
    arrival: Arrival,
    source: TenantId,
    /// Of the source; left out where its database is copied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    backup: Option<BackupId>,
    /// Sealed, because statements may quote what they replace.
    anonymise_sql: Option<SecretRef>,
    rows: u64,
}

impl ClonePlan {
    /// Records the copy that is to be made.
    ///
    /// # Errors
    /// The slug is taken, or the statements are too long.
    pub(crate) async fn record(
        connection: &mut PgConnection,
        platform: &Platform,
        operation: OperationId,
        (source, copy): (&TenantRow, &NewTenant),
        backup: Option<&BackupRow>,
        anonymise_sql: Option<String>,
    ) -> Result<Self> {
        let sealed = match anonymise_sql {
            Some(sql) => Some(seal(platform, operation, sql).await?),
            None => None,
        };
        let (overrides, near) = (source.overrides.clone(), source.cluster.clone());
        let mut arrival =
            Arrival::record(connection, platform, operation, copy, overrides, near).await?;
        // Compressed: it gets larger than that.
        let written = backup.and_then(|backup| backup.written);
        arrival.bytes = written.map_or(0, |written| written.size_bytes);
        Ok(Self {
            arrival,
            source: source.id.clone(),
            backup: backup.map(|backup| backup.id),
            anonymise_sql: sealed,
            rows: 0,
        })
    }

    async fn load(&mut self, platform: &Platform, head: &Head) -> Result<(), Stop> {
        let server = Arrival::server(platform, head).await?;
        let tables = match self.backup {
            Some(backup) => {
                // As it is now: somebody may have removed it.
                let row = found(&mut *platform.registry.acquire().await?, backup).await?;
                let archive = row.archive()?;
                let side = Arrival::make_side(platform, head).await?;
                archive::load(platform, &server, &side, &archive).await?;
                row.tables
            }
            None => self.copy(platform, head, &server).await?,
        };
        let side = Arrival::side(head.tenant()?);
        archive::compare(platform, &server, &side, &tables).await?;
        self.rows = archive::rows(&tables);
        // In the same step: what was loaded anew is anonymised anew.
        self.anonymise(platform, head).await
    }

    /// Copies the database that the source has now.
    async fn copy(
        &self,
        platform: &Platform,
        head: &Head,
        server: &Server,
    ) -> Result<Tables, Stop> {
        let source = Placed::find(platform, &self.source).await?;
        let side = Arrival::make_side(platform, head).await?;
        let from = Source {
            server: &source.server,
            name: &Name::Tenant(self.source.clone()),
            copy: source.row.copy,
        };
        Ok(archive::copy(platform, from, server, &side).await?.tables)
    }

    /// Learns what placement has to know of the data.
    async fn survey(&mut self, platform: &Platform) -> Result<(), Stop> {
        if self.backup.is_some() {
            return self.arrival.avoid_silence(platform).await;
        }
        let source = Placed::find(platform, &self.source).await?;
        let mut connection = source.server.acquire().await?;
        let name = Name::Tenant(self.source.clone());
        self.arrival.bytes = postgres::moving::bytes_of(&mut connection, &name).await?;
        Ok(())
    }

    async fn anonymise(&self, platform: &Platform, head: &Head) -> Result<(), Stop> {
        let Some(sealed) = &self.anonymise_sql else {
            return self.run(platform, head, None).await;
        };
        let subject = SecretSubject::Operation(head.id);
        let opened = platform.seal.open(&subject, sealed).await;
        let sql = opened.map_err(|error| Stop::Fail(Problem::internal(error)))?;
        // The source's own stay.
        let expected = Arrival::unattended(platform, head).await?;
        self.run(platform, head, Some(&sql)).await?;
        self.arrival.reclaim(platform, head).await?;
        Arrival::as_expected(&Arrival::unattended(platform, head).await?, &expected)
    }

    /// Ends the sessions that were copied, and runs an operator's statements.
    async fn run(
        &self,
        platform: &Platform,
        head: &Head,
        sql: Option<&Secret>,
    ) -> Result<(), Stop> {
        let server = Arrival::server(platform, head).await?;
        let side = Arrival::side(head.tenant()?);
        let database = server.database(&side, spare::copy_of(&side));
        let mut session = server
            .connect_as(platform, ClusterRole::Schema, &database)
            .await?;
        let ran = anonymise::run(&mut session, sql.map(Secret::expose)).await;
        ran.map_err(stop)?;
        Ok(session.close().await?)
    }

    async fn say_if_corrupt(&self, connection: &mut PgConnection, head: &Head) -> Result<(), Stop> {
        let failed = head.failure.as_ref().map(|failure| failure.code);
        if let (Some(backup), Some(Code::ArchiveCorrupt)) = (self.backup, failed) {
            store::mark_corrupt(connection, backup).await?;
        }
        Ok(())
    }
}

fn stop(error: AnonymiseError) -> Stop {
    let failed = |detail: String| Stop::Fail(Problem::new(Code::ValidationFailed).detail(detail));
    match error {
        AnonymiseError::TransactionEnded => failed(
            "The statements that anonymise run in one transaction and must not end it: leave out commit \
             and rollback."
                .to_owned(),
        ),
        AnonymiseError::Database(error) => match kit::db::said(&error) {
            Some(said) => failed(format!(
                "The server refused the statements that anonymise: {said}."
            )),
            None => error.into(),
        },
    }
}

async fn seal(platform: &Platform, operation: OperationId, sql: String) -> Result<SecretRef> {
    if sql.is_empty() || sql.len() > MAX_SECRET_BYTES {
        let rule = format!("is 1 to {MAX_SECRET_BYTES} bytes");
        return Err(Problem::field("/anonymise_sql", rule));
    }
    let subject = SecretSubject::Operation(operation);
    let sealed = platform.seal.put(&subject, "sql", &Secret::new(sql)).await;
    sealed.map_err(Problem::internal)
}

impl Saga for ClonePlan {
    const STEPS: &'static [Step] = &[
        Step::Secret,
        Step::Place,
        Step::Survey,
        Step::Load,
        Step::Schema,
        Step::Database,
        Step::Activate,
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
            Step::Secret => {
                self.survey(platform).await?;
                self.arrival.act(platform, head).await
            }
            Step::Load => self.load(platform, head).await,
            Step::Schema if self.anonymise_sql.is_some() => {
                self.arrival.act(platform, head).await?;
                // What they left may have run with the migrations.
                self.arrival.reclaim(platform, head).await
            }
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
        self.arrival.undo(platform, head).await
    }

    async fn forget(&self, connection: &mut PgConnection, head: &Head) -> Result<(), Stop> {
        match head.step {
            // The first step is the last one to be undone.
            Step::Secret => Arrival::free(connection, head).await,
            Step::Load => self.say_if_corrupt(connection, head).await,
            _ => Ok(()),
        }
    }

    fn result(&self) -> Option<Value> {
        let mut result = json!({
            "source": self.source, "rows": self.rows,
            "schema_versions": self.arrival.schema_versions,
        });
        if let Some(backup) = self.backup {
            result["backup"] = json!(backup);
        }
        Some(result)
    }
}
