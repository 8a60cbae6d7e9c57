//! A tenant's data on the way to another server: what is in it, copied whole, or followed while it
//! changes.
//!
//! Deliberately without the registry: the operation says when. Invariant: a copy counts only when it
//! was compared with what it was made from.

mod apply;
pub(crate) mod contents;
pub(crate) mod decode;
pub(crate) mod follow;
pub(crate) mod follower;
pub(crate) mod slot;

use std::path::PathBuf;
use std::time::Duration;

use contract::{Code, DatabaseRef};
use kit::error::Problem;
use sqlx::{Connection as _, PgConnection};

use super::connections::{ClusterRole, Server};
use super::postgres::{self, Name};
use crate::platform::Platform;
use crate::stop::Stop;
use crate::tools::{self, Compression, DumpOptions, Dumping, Tool, ToolLogin};

/// How long a copy waits for a migration that is under way.
const MIGRATION_PATIENCE: Duration = Duration::from_secs(2);
/// How soon it is looked again whether one is over.
const MIGRATION_LOOK: Duration = Duration::from_millis(300);

/// A database of a tenant on a server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Side<'a> {
    pub(crate) server: &'a Server,
    pub(crate) name: &'a Name,
    pub(crate) copy: u32,
}

impl Side<'_> {
    /// As services are told of it.
    pub(crate) fn database(&self) -> DatabaseRef {
        self.server.database(self.name, self.copy)
    }

    /// A connection of the owner of all that is in it.
    pub(crate) async fn owner(&self, platform: &Platform) -> Result<PgConnection, Stop> {
        self.server
            .connect_as(platform, ClusterRole::Schema, &self.database())
            .await
    }

    /// Sees that it is the database that is meant, and that no migration of it is under way.
    ///
    /// # Errors
    /// To be tried again where one is.
    pub(crate) async fn unmigrated(&self) -> Result<(), Stop> {
        let mut server = self.server.acquire().await?;
        let seen = postgres::moving::migration_of(&mut server, self.name).await?;
        let marker = Some(self.database().marker());
        match seen.filter(|seen| seen.marker == marker) {
            Some(seen) if seen.is_under_way => Err(under_way()),
            Some(_) => Ok(()),
            None => {
                let detail = format!("The database {} is not the one that is meant.", self.name);
                let problem = Problem::new(Code::TenantUnavailable).detail(detail);
                Err(Stop::Retry(problem))
            }
        }
    }

    /// A connection of the owner that holds the lock of migrations until it is closed.
    ///
    /// # Errors
    /// To be tried again where a migration is under way.
    pub(crate) async fn locked_owner(&self, platform: &Platform) -> Result<PgConnection, Stop> {
        let mut owner = self.owner(platform).await?;
        match kit::migrate::lock(&mut owner, MIGRATION_PATIENCE).await {
            Ok(()) => Ok(owner),
            Err(kit::migrate::MigrateError::Busy) => Err(under_way()),
            Err(error) => Err(Stop::Retry(Problem::internal(error))),
        }
    }
}

fn under_way() -> Stop {
    Stop::Later {
        wait: MIGRATION_LOOK,
        reason: "A migration of the tenant is under way.".into(),
    }
}

/// All that is in a database, on its way into an empty one.
pub(crate) struct Copying<'a> {
    dumping: Dumping,
    tool: Tool,
    to: ToolLogin,
    work_dir: PathBuf,
    target: Side<'a>,
}

impl Copying<'_> {
    /// Loads it to its end.
    pub(crate) async fn load(self) -> Result<(), Stop> {
        let Self {
            dumping,
            tool,
            to,
            work_dir,
            target,
        } = self;
        let loaded = tools::pipe(dumping, &tool, &to, &work_dir, target.name).await?;
        loaded.kept_by(target.server).await
    }
}

/// Begins to dump all that is in a database, as of one moment. `owner` is in the database, and in the
/// transaction of the snapshot if there is one.
pub(crate) async fn dump<'a>(
    platform: &Platform,
    (source, owner): (Side<'_>, &mut PgConnection),
    target: Side<'a>,
    snapshot: Option<String>,
) -> Result<Copying<'a>, Stop> {
    let found = tools::find(&platform.settings.tools).await;
    let versions = (source.server.version(), target.server.version());
    let tool = tools::pick(&found, versions.0, versions.1)?;
    let work_dir = work_dir(platform);
    let options = DumpOptions {
        compression: Compression::None,
        large_objects: contents::large_objects(owner).await?,
        snapshot,
    };
    let from = source.server.login(platform, ClusterRole::Schema).await?;
    let to = target.server.login(platform, ClusterRole::Schema).await?;
    Ok(Copying {
        dumping: tools::dump(tool, &from, &work_dir, source.name, &options)?,
        tool: tool.clone(),
        to,
        work_dir,
        target,
    })
}

/// Copies all that one snapshot of a database sees, and makes the copy ready to follow. Gives the
/// snapshot, as `pg_current_snapshot()` writes it. `owner` holds the lock of migrations, and ends with it.
pub(crate) async fn copy_snapshot(
    platform: &Platform,
    source: Side<'_>,
    mut owner: PgConnection,
    target: Side<'_>,
) -> Result<String, Stop> {
    sqlx::raw_sql(
        "set idle_in_transaction_session_timeout = 0;
         begin isolation level repeatable read read only",
    )
    .execute(&mut owner)
    .await?;
    let (exported, sees): (String, String) =
        sqlx::query_as("select pg_export_snapshot(), pg_current_snapshot()::text")
            .fetch_one(&mut owner)
            .await?;
    let dumping = dump(platform, (source, &mut owner), target, Some(exported)).await?;
    dumping.load().await?;
    // Its end ends the snapshot.
    owner.close().await?;
    let mut copied = target.owner(platform).await?;
    follower::begin(&mut copied).await?;
    copied.close().await?;
    Ok(sees)
}

fn work_dir(platform: &Platform) -> PathBuf {
    let configured = platform.settings.objects.work_dir.clone();
    configured.unwrap_or_else(std::env::temp_dir)
}
