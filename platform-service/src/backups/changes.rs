//! What a restore changes: tables whose rows differ in number between a tenant's database and what replaces
//! it.
//!
//! Deliberately counts, and compares no contents: it is for a person who decides, or who wonders afterwards.
//! Invariants: nothing here fails an operation, what could not be counted says so; no table is counted for
//! longer than [`TABLE`], no database for longer than [`DATABASE`], no list is longer than [`LISTED`].

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use contract::DatabaseRef;
use serde::{Deserialize, Serialize};
use sqlx::Connection as _;

use super::archive::Tables;
use super::facts;
use crate::clusters::connections::{ClusterRole, Server};
use crate::clusters::postgres::{self, Name};
use crate::platform::Platform;
use crate::stop::Stop;

/// The longest that a table is counted.
const TABLE: Duration = Duration::from_secs(5);
/// The longest that all tables of a database are.
const DATABASE: Duration = Duration::from_secs(60);
/// Tables that are named.
const LISTED: usize = 50;

/// Rows by schema and table, e.g. `auth.account`; none where they were not counted.
type Rows = BTreeMap<String, Option<u64>>;

/// What a restore changes, or would change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Changes {
    /// Tables whose rows differ in number, the most differing first, then those that were not counted.
    tables: Vec<Change>,
    /// Further ones.
    unlisted: usize,
}

/// A table whose rows differ in number, or were not counted. One that is not there has none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Change {
    table: String,
    /// In the tenant's database, as long as it is that.
    rows_now: Option<u64>,
    /// In what is brought back.
    rows_then: Option<u64>,
}

impl Change {
    /// By how many rows; none where that is not known.
    fn by(&self) -> Option<u64> {
        Some(self.rows_now?.abs_diff(self.rows_then?))
    }
}

impl Changes {
    fn between(now: &Rows, then: &Rows) -> Self {
        let rows = |side: &Rows, table: &String| side.get(table).copied().unwrap_or(Some(0));
        let mut names: Vec<&String> = now.keys().chain(then.keys()).collect();
        names.sort_unstable();
        names.dedup();
        let mut tables: Vec<Change> = names
            .into_iter()
            .map(|table| Change {
                table: table.clone(),
                rows_now: rows(now, table),
                rows_then: rows(then, table),
            })
            .filter(|change| change.by() != Some(0))
            .collect();
        // Stable: tables of one difference stay in the order of their names.
        tables.sort_by_key(|change| std::cmp::Reverse(change.by()));
        let unlisted = tables.len().saturating_sub(LISTED);
        tables.truncate(LISTED);
        Self { tables, unlisted }
    }
}

/// What brings a tenant's database to what another one of its server holds; none where one of them could
/// not be looked into.
pub(crate) async fn to_database(
    platform: &Platform,
    server: &Server,
    now: (&Name, u32),
    then: (&Name, u32),
) -> Option<Changes> {
    let (now, then) = tokio::join!(
        counted(platform, server, now),
        counted(platform, server, then)
    );
    Some(Changes::between(&now?, &then?))
}

/// What brings a tenant's database to what a backup holds; none where it could not be looked into.
pub(crate) async fn to_tables(
    platform: &Platform,
    server: &Server,
    now: (&Name, u32),
    then: &Tables,
) -> Option<Changes> {
    let now = counted(platform, server, now).await?;
    let then = then.iter();
    let then = then.map(|(table, facts)| (table.clone(), Some(facts.rows)));
    Some(Changes::between(&now, &then.collect()))
}

async fn counted(platform: &Platform, server: &Server, (name, copy): (&Name, u32)) -> Option<Rows> {
    let mut rows = None;
    let counting = count(platform, server, (name, copy), &mut rows);
    let stop = match tokio::time::timeout(DATABASE, counting).await {
        Ok(Ok(())) => return rows,
        Ok(Err(stop)) => stop.words(),
        Err(_) => "not in time".to_owned(),
    };
    tracing::info!(database = %name, stop, "rows were not counted to the end");
    rows
}

/// Counts into `rows`, which says from the first table on which ones are still to be counted.
async fn count(
    platform: &Platform,
    server: &Server,
    (name, copy): (&Name, u32),
    rows: &mut Option<Rows>,
) -> Result<(), Stop> {
    let found = postgres::look(&mut *server.acquire().await?, name).await?;
    if found.database.is_none() {
        // Somebody dropped it: nothing is in it.
        *rows = Some(Rows::new());
        return Ok(());
    }
    let database: DatabaseRef = server.database(name, copy);
    let mut session = server
        .connect_as(platform, ClusterRole::Schema, &database)
        .await?;
    facts::begin_counting(&mut session, TABLE).await?;
    let tables = facts::tables(&mut session).await?;
    let rows = rows.insert(
        tables
            .iter()
            .map(|table| (table.name.clone(), None))
            .collect(),
    );
    for table in &tables {
        rows.insert(table.name.clone(), facts::count(&mut session, table).await?);
    }
    Ok(session.close().await?)
}
