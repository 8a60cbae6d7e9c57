//! The publication and the slot through which a tenant's changes are read while it moves.
//!
//! Deliberately no subscription: one needs a superuser, and keeps a password in the target. Invariants:
//! the publication is there before the slot, so that every change that the slot gives is published; a
//! slot that is left behind fills the source's disk, so whatever ends a move drops it.

use std::time::Duration;

use contract::{Code, OperationId};
use kit::error::Problem;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::{Side, contents};
use crate::clusters::connections::ClusterRole;
use crate::platform::Platform;
use crate::stop::Stop;

/// Publishes the tables of a database that is being moved.
pub(super) const PUBLICATION: &str = "tn_move";

/// How soon a slot that is being made is looked at again.
const SOON: Duration = Duration::from_millis(200);

/// The slot of a move.
pub(crate) fn name(operation: OperationId) -> String {
    format!("tn_{}", operation.uuid().simple())
}

/// Publishes every table and makes the slot; `owner` holds the lock of migrations meanwhile.
///
/// # Errors
/// A table whose changes cannot be followed is named.
pub(crate) async fn open(
    platform: &Platform,
    source: Side<'_>,
    owner: &mut PgConnection,
    slot: &str,
) -> Result<(), Stop> {
    let mut connection = connect(platform, source).await?;
    match made(&mut connection, slot).await? {
        Made::Done if publishes_all(owner).await? => return Ok(connection.close().await?),
        // A table was made after an earlier try: what was written to it is not in the slot.
        Made::Done => drop_slot(&mut connection, slot).await?,
        Made::Underway => {
            return Err(Stop::Later {
                wait: SOON,
                reason: "The replication slot is being made.".into(),
            });
        }
        Made::Nothing => {}
    }
    if let Some(reason) = contents::cannot_be_followed(owner).await? {
        let detail = format!(
            "{reason}, so that its changes cannot be followed: name the variant `dump`, which holds \
             requests for longer."
        );
        return Err(Stop::Fail(Problem::new(Code::Conflict).detail(detail)));
    }
    publish(owner).await?;
    // It waits for every transaction of the server that is under way; too long is tried again.
    sqlx::raw_sql("set statement_timeout = '30s'")
        .execute(&mut connection)
        .await?;
    sqlx::query("select pg_create_logical_replication_slot($1, 'pgoutput')")
        .bind(slot)
        .execute(&mut connection)
        .await?;
    Ok(connection.close().await?)
}

async fn publish(owner: &mut PgConnection) -> Result<(), sqlx::Error> {
    let tables = contents::tables(&mut *owner).await?.join(", ");
    let publish = format!(
        "drop publication if exists {PUBLICATION}; create publication {PUBLICATION}{}",
        if tables.is_empty() {
            String::new()
        } else {
            format!(" for table {tables}")
        }
    );
    sqlx::raw_sql(AssertSqlSafe(publish)).execute(owner).await?;
    Ok(())
}

/// Whether every table that there is now is published.
async fn publishes_all(owner: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let published: Vec<String> = sqlx::query_scalar(
        "select pg_catalog.format('%I.%I', schemaname, tablename) from pg_publication_tables
         where pubname = $1 order by 1",
    )
    .bind(PUBLICATION)
    .fetch_all(&mut *owner)
    .await?;
    Ok(published == contents::tables(owner).await?)
}

async fn drop_slot(connection: &mut PgConnection, slot: &str) -> Result<(), sqlx::Error> {
    sqlx::query(
        "select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = $1",
    )
    .bind(slot)
    .execute(connection)
    .await?;
    Ok(())
}

/// Drops the slot and the publication; nothing there is success.
pub(crate) async fn close(platform: &Platform, source: Side<'_>, slot: &str) -> Result<(), Stop> {
    let mut connection = connect(platform, source).await?;
    drop_slot(&mut connection, slot).await?;
    connection.close().await?;
    let mut owner = source.owner(platform).await?;
    sqlx::raw_sql(AssertSqlSafe(format!(
        "drop publication if exists {PUBLICATION}"
    )))
    .execute(&mut owner)
    .await?;
    Ok(owner.close().await?)
}

/// A connection that may read the slot.
pub(super) async fn connect(platform: &Platform, source: Side<'_>) -> Result<PgConnection, Stop> {
    source
        .server
        .connect_as(platform, ClusterRole::Platform, &source.database())
        .await
}

/// How far a slot is made.
enum Made {
    Nothing,
    /// The session of a process that has died makes it, and takes it along where it ends before it is done.
    Underway,
    Done,
}

async fn made(connection: &mut PgConnection, slot: &str) -> Result<Made, sqlx::Error> {
    let in_use: Option<bool> = sqlx::query_scalar(
        "select active_pid is not null from pg_replication_slots where slot_name = $1",
    )
    .bind(slot)
    .fetch_optional(connection)
    .await?;
    Ok(match in_use {
        None => Made::Nothing,
        Some(true) => Made::Underway,
        Some(false) => Made::Done,
    })
}
