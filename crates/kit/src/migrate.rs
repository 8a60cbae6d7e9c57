//! Runs an owner's migrations in one database: refinery over a sqlx connection, under a lock.
//!
//! Deliberately without knowledge of tenants, and without refinery's own drivers: a second database
//! client would bring a second way to connect. The usual case, a history that is the beginning of the
//! files, takes one round trip and one more per missing migration; any other is refinery's to judge.
//! Invariants: two runs in one database never overlap (refinery takes no lock of its own), and a
//! failed run leaves the schema at the last version that succeeded.

mod history;
mod opening;
mod statements;
mod step;

pub use history::{version, versions};
pub use opening::{Applied, Opened, Opening};

use std::error::Error;
use std::time::{Duration, Instant};

use contract::SchemaOwner;
use contract::tenant::{DATA_ROLE, READ_ROLE};
use refinery_core::error::Kind;
use refinery_core::traits::r#async::{AsyncMigrate, AsyncQuery, AsyncTransaction};
use refinery_core::{Migration, Target};
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, Row};

const LOCK_POLL: Duration = Duration::from_millis(20);
const HISTORY_TABLE: &str = "refinery_schema_history";
/// The first line of a file with one statement that cannot run in a transaction, such as
/// `create index concurrently`.
pub const NO_TRANSACTION: &str = "-- no-transaction";

/// How long a run waits and works.
#[derive(Debug, Clone, Copy)]
pub struct RunLimits {
    /// How long another run in the same database is waited for.
    pub lock_wait: Duration,
    /// `lock_timeout` of each statement.
    pub statement_lock: Duration,
    /// `statement_timeout` of each statement.
    pub statement: Duration,
}

impl Default for RunLimits {
    fn default() -> Self {
        Self {
            lock_wait: Duration::from_secs(30),
            statement_lock: Duration::from_secs(5),
            statement: Duration::from_secs(10 * 60),
        }
    }
}

/// Why a run did not finish.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// Another run holds the lock.
    #[error("another run is migrating this database")]
    Busy,
    /// A migration failed.
    #[error("{migration} failed: {message}")]
    Failed {
        /// Which one, or what was being done around them.
        migration: String,
        /// SQLSTATE where the server refused.
        sqlstate: Option<String>,
        /// What the server said.
        message: String,
        /// The statement that it refused, where that is known: on one line, and not all of a long one.
        statement: Option<String>,
        /// The whole of it.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// The history in the database contradicts the files.
    #[error("the migration history does not fit: {0}")]
    History(#[source] refinery_core::Error),
    /// A baseline that no file has.
    #[error("no migration has the version {0}")]
    NoSuchVersion(i32),
    /// The database could not be worked with.
    #[error("the database could not be worked with")]
    Database(#[from] sqlx::Error),
}

impl MigrateError {
    /// Whether an error is no word on a migration: the server stopped, or takes no writes just now.
    fn is_the_servers(error: &sqlx::Error) -> bool {
        match error.as_database_error().and_then(|refused| refused.code()) {
            Some(state) => matches!(&*state, "57P01" | "57P02" | "57P03" | "57P05" | "25006"),
            None => matches!(error, sqlx::Error::Io(_)),
        }
    }

    /// Whether the run broke off, and may go through when it is tried again.
    pub fn broke_off(&self) -> bool {
        let mut cause: Option<&(dyn Error + 'static)> = Some(self);
        while let Some(error) = cause {
            if let Some(error) = error.downcast_ref::<sqlx::Error>() {
                return Self::is_the_servers(error);
            }
            cause = error.source();
        }
        false
    }
}

/// Who may use the tables of a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grants {
    /// A tenant schema: data rights for `tn_data`, read rights for `tn_read`.
    TenantRoles,
    /// The owner alone.
    None,
}

/// The lock of a database. It spells the name of this project; advisory locks are per database, so one
/// number serves all. Others see by `pg_locks` who has it.
pub const LOCK: i64 = 8_387_231_245_791_425_145;

/// Whether a session has the lock of runs in its database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lock {
    /// It has, until its end.
    Held,
    /// Another session has it.
    Busy,
}

impl Lock {
    /// The statement that tries to take it: one row for [`Lock::read`].
    fn attempt() -> String {
        format!("select pg_try_advisory_lock({LOCK}) as locked")
    }

    fn read(row: &PgRow) -> Result<Self, sqlx::Error> {
        let held: bool = row.try_get("locked")?;
        Ok(if held { Self::Held } else { Self::Busy })
    }
}

/// Holds the lock of a database until it is released or its connection ends.
///
/// The caller closes the connection afterwards, so that a lock cannot stay behind.
pub async fn lock(connection: &mut PgConnection, wait: Duration) -> Result<(), MigrateError> {
    let deadline = Instant::now() + wait;
    loop {
        // Polled and not waited for: a session that waits in pg_advisory_lock holds a snapshot,
        // which deadlocks with `create index concurrently` of the one that holds the lock.
        let row = sqlx::raw_sql(AssertSqlSafe(Lock::attempt()))
            .fetch_one(&mut *connection)
            .await?;
        if Lock::read(&row)? == Lock::Held {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(MigrateError::Busy);
        }
        tokio::time::sleep(LOCK_POLL).await;
    }
}

/// Brings `owner`'s schema to the newest of `migrations`; the lock must be held.
///
/// Gives the version after the run, which is higher than the newest file where a newer release has
/// been here before.
pub async fn run(
    connection: &mut PgConnection,
    owner: &SchemaOwner,
    migrations: &[Migration],
    grants: Grants,
    limits: RunLimits,
) -> Result<i32, MigrateError> {
    let first = settings(limits) + &preparation(owner, grants);
    let applied = history::read(connection, owner, &first).await?;
    apply(connection, owner, migrations, applied).await
}

/// As [`run`] after an [`Opening`] that read what has been applied: nothing is asked again.
pub async fn run_from(
    connection: &mut PgConnection,
    owner: &SchemaOwner,
    migrations: &[Migration],
    applied: Applied,
) -> Result<i32, MigrateError> {
    apply(connection, owner, migrations, applied.0).await
}

/// As [`run`], in fewer round trips, for a schema that is known to have been made before; one that is
/// not there after all is made.
pub async fn catch_up(
    connection: &mut PgConnection,
    owner: &SchemaOwner,
    migrations: &[Migration],
    grants: Grants,
    limits: RunLimits,
) -> Result<i32, MigrateError> {
    match history::read(connection, owner, &settings(limits)).await {
        Ok(applied) => apply(connection, owner, migrations, applied).await,
        Err(error) if history::is_missing(&error) => {
            run(connection, owner, migrations, grants, limits).await
        }
        Err(error) => Err(error.into()),
    }
}

/// Notes the files up to `version` as applied without running them, where the schema has no history yet;
/// the lock must be held.
///
/// # Errors
/// No file has this version.
pub async fn baseline(
    connection: &mut PgConnection,
    owner: &SchemaOwner,
    migrations: &[Migration],
    version: i32,
    grants: Grants,
    limits: RunLimits,
) -> Result<(), MigrateError> {
    let first = settings(limits) + &preparation(owner, grants);
    if !history::read(connection, owner, &first).await?.is_empty() {
        return Ok(());
    }
    let table = history_table(owner);
    let mut notes = String::new();
    let mut reached = false;
    for migration in migrations.iter().filter(|file| file.version() <= version) {
        reached |= migration.version() == version;
        notes += &step::note(&table, migration)?;
        notes += ";\n";
    }
    if !reached {
        return Err(MigrateError::NoSuchVersion(version));
    }
    if grants == Grants::TenantRoles {
        // Rights on what migrations make were there before this table, which is nobody's but its
        // owner's where migrations made it.
        notes += &format!("revoke all on {table} from {DATA_ROLE}, {READ_ROLE};\n");
    }
    // One message is one transaction.
    sqlx::raw_sql(AssertSqlSafe(notes))
        .execute(connection)
        .await?;
    Ok(())
}

/// Runs what is missing: each migration in one message of its own where the history is the
/// beginning of the files, as refinery sees fit where it is not.
async fn apply(
    connection: &mut PgConnection,
    owner: &SchemaOwner,
    migrations: &[Migration],
    applied: Vec<Migration>,
) -> Result<i32, MigrateError> {
    let Some(missing) = history::missing(&applied, migrations) else {
        // A database ahead of this code lists migrations that we do not have: not an error.
        Session(&mut *connection)
            .migrate(
                migrations,
                true,
                false,
                false,
                Target::Latest,
                &history_table(owner),
            )
            .await
            .map_err(explain)?;
        return Ok(version(connection, owner).await?.unwrap_or(0));
    };
    let mut at = applied.last().map_or(0, Migration::version);
    for migration in missing {
        step::run(connection, &history_table(owner), migration).await?;
        at = migration.version();
    }
    Ok(at)
}

fn history_table(owner: &SchemaOwner) -> String {
    format!("{owner}.{HISTORY_TABLE}")
}

/// How long the statements of a run may take.
fn settings(limits: RunLimits) -> String {
    format!(
        "set lock_timeout = {}; set statement_timeout = {}; set client_min_messages = warning;\n",
        limits.statement_lock.as_millis(),
        limits.statement.as_millis(),
    )
}

/// The schema, the history table and the rights on what migrations will make.
fn preparation(owner: &SchemaOwner, grants: Grants) -> String {
    let mut statements = format!(
        "create schema if not exists {owner};\n\
         {};\n",
        <Session<'_> as AsyncMigrate>::assert_migrations_table_query(&history_table(owner))
            .trim_end_matches(';'),
    );
    if grants == Grants::TenantRoles {
        statements.push_str(&format!(
            "grant usage on schema {owner} to {DATA_ROLE}, {READ_ROLE};\n\
             alter default privileges in schema {owner} grant select, insert, update, delete on tables to {DATA_ROLE};\n\
             alter default privileges in schema {owner} grant usage on sequences to {DATA_ROLE};\n\
             alter default privileges in schema {owner} grant select on tables to {READ_ROLE};\n"
        ));
    }
    statements
}

/// The part of refinery's error that says which migration failed and how.
fn explain(error: refinery_core::Error) -> MigrateError {
    let Kind::Connection(context, cause) = error.kind() else {
        return MigrateError::History(error);
    };
    let migration = context
        .split_whitespace()
        .find(|word| word.starts_with('V') && word.contains("__"))
        .map_or_else(|| "the migration history".to_owned(), str::to_owned);
    let refused = cause
        .downcast_ref::<sqlx::Error>()
        .and_then(|cause| cause.as_database_error());
    MigrateError::Failed {
        migration,
        sqlstate: refused.and_then(|r| r.code()).map(Into::into),
        message: refused.map_or_else(|| cause.to_string(), |r| r.message().to_owned()),
        statement: None,
        source: error.into(),
    }
}

/// refinery's idea of a connection, on top of ours.
struct Session<'a>(&'a mut PgConnection);

impl AsyncTransaction for Session<'_> {
    type Error = sqlx::Error;

    async fn execute<'a, T: Iterator<Item = &'a str> + Send + 'a>(
        &'a mut self,
        queries: T,
    ) -> Result<usize, sqlx::Error> {
        let queries: Vec<&str> = queries.collect();
        let in_transaction = !queries
            .iter()
            .any(|query| query.starts_with(NO_TRANSACTION));
        if in_transaction {
            sqlx::raw_sql("begin").execute(&mut *self.0).await?;
        }
        for query in &queries {
            let done = sqlx::raw_sql(AssertSqlSafe(*query))
                .execute(&mut *self.0)
                .await;
            if let Err(error) = done {
                if in_transaction {
                    // The first error is the one to tell; a connection that cannot even roll back
                    // is closed by the caller, which undoes the transaction as well.
                    let _ = sqlx::raw_sql("rollback").execute(&mut *self.0).await;
                }
                return Err(error);
            }
        }
        if in_transaction {
            sqlx::raw_sql("commit").execute(&mut *self.0).await?;
        }
        Ok(queries.len())
    }
}

impl AsyncQuery<Vec<Migration>> for Session<'_> {
    async fn query<'a>(&'a mut self, query: &'a str) -> Result<Vec<Migration>, sqlx::Error> {
        history::fetch(self.0, query).await
    }
}

impl AsyncMigrate for Session<'_> {}
