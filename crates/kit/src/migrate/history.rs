//! What has been applied to a schema, and what is missing.
//!
//! Deliberately judges only the usual case: the history is the beginning of the files. Invariant: a
//! history that contradicts the files in any way is nobody's usual case.

use contract::{SchemaOwner, SchemaVersions};
use refinery_core::Migration;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, Row};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{HISTORY_TABLE, history_table};

/// SQLSTATE of a table and of a schema that is not there.
const UNDEFINED: [&str; 2] = ["42P01", "3F000"];

/// What has been applied, oldest first; `first` are statements that go before it in the same message.
pub(super) async fn read(
    connection: &mut PgConnection,
    owner: &SchemaOwner,
    first: &str,
) -> Result<Vec<Migration>, sqlx::Error> {
    fetch(connection, &format!("{first}{}", query(owner))).await
}

/// The statement that gives what has been applied. Without an order, which [`parse`] brings in: in a session
/// that has nothing cached, sorting costs the server more than the rows.
pub(super) fn query(owner: &SchemaOwner) -> String {
    let table = history_table(owner);
    format!("select version, name, applied_on, checksum from {table}")
}

/// Whether a history could not be read because there is none.
pub(super) fn is_missing(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code)
        .is_some_and(|code| UNDEFINED.contains(&code.as_ref()))
}

/// The migrations that a query gives.
pub(super) async fn fetch(
    connection: &mut PgConnection,
    query: &str,
) -> Result<Vec<Migration>, sqlx::Error> {
    let rows = sqlx::raw_sql(AssertSqlSafe(query))
        .fetch_all(connection)
        .await?;
    parse(&rows)
}

/// Reads the rows of a history: the oldest first.
pub(super) fn parse(rows: &[PgRow]) -> Result<Vec<Migration>, sqlx::Error> {
    let mut applied = rows
        .iter()
        .map(|row| {
            let applied_on: String = row.try_get("applied_on")?;
            let checksum: String = row.try_get("checksum")?;
            Ok(Migration::applied(
                row.try_get("version")?,
                row.try_get("name")?,
                OffsetDateTime::parse(&applied_on, &Rfc3339)
                    .map_err(|error| sqlx::Error::Decode(error.into()))?,
                checksum
                    .parse()
                    .map_err(|error: std::num::ParseIntError| sqlx::Error::Decode(error.into()))?,
            ))
        })
        .collect::<Result<Vec<_>, sqlx::Error>>()?;
    applied.sort_by_key(Migration::version);
    Ok(applied)
}

/// The version of an owner's schema; `None` where it has none.
pub async fn version(
    connection: &mut PgConnection,
    owner: &SchemaOwner,
) -> Result<Option<i32>, sqlx::Error> {
    let exists: bool = sqlx::query_scalar("select to_regclass($1) is not null")
        .bind(history_table(owner))
        .fetch_one(&mut *connection)
        .await?;
    if !exists {
        return Ok(None);
    }
    let statement = format!("select max(version) from {}", history_table(owner));
    sqlx::query_scalar(AssertSqlSafe(statement))
        .fetch_one(connection)
        .await
}

/// The versions that the histories of these owners say; one that is not there, is empty or may not be
/// read says nothing.
pub async fn versions(
    connection: &mut PgConnection,
    owners: &[SchemaOwner],
) -> Result<SchemaVersions, sqlx::Error> {
    let names: Vec<&str> = owners.iter().map(SchemaOwner::as_str).collect();
    let there: Vec<String> = sqlx::query_scalar(
        "select space.nspname::text
         from pg_class history join pg_namespace space on space.oid = history.relnamespace
         where space.nspname = any($1) and history.relname = $2
             and has_schema_privilege(space.oid, 'usage')
             and has_table_privilege(history.oid, 'select')",
    )
    .bind(&names)
    .bind(HISTORY_TABLE)
    .fetch_all(&mut *connection)
    .await?;
    let questions: Vec<String> = owners
        .iter()
        .filter(|owner| there.iter().any(|there| there == owner.as_str()))
        .map(|owner| {
            let table = history_table(owner);
            format!("select '{owner}' as owner, max(version) as version from {table}")
        })
        .collect();
    if questions.is_empty() {
        return Ok(SchemaVersions::new());
    }
    let rows = sqlx::raw_sql(AssertSqlSafe(questions.join(" union all ")))
        .fetch_all(connection)
        .await?;
    let mut versions = SchemaVersions::new();
    for row in rows {
        let owner: String = row.try_get("owner")?;
        let owner = owners.iter().find(|one| one.as_str() == owner);
        if let (Some(owner), Some(version)) = (owner, row.try_get("version")?) {
            versions.insert(owner.clone(), version);
        }
    }
    Ok(versions)
}

/// What is to be run, in order, where every file up to the newest applied version was applied as it
/// is; `None` for any other history.
pub(super) fn missing<'a>(
    applied: &[Migration],
    migrations: &'a [Migration],
) -> Option<Vec<&'a Migration>> {
    let at = applied.iter().map(Migration::version).max();
    let is_new = |migration: &&Migration| at.is_none_or(|at| migration.version() > at);
    let (mut new, old): (Vec<_>, Vec<_>) = migrations.iter().partition(is_new);
    new.sort();
    let fits = old.iter().all(|migration| applied.contains(migration));
    let versioned = migrations
        .iter()
        .all(|migration| migration.to_string().starts_with('V'));
    let versions: Vec<i32> = new.iter().map(|migration| migration.version()).collect();
    let distinct = versions.is_sorted_by(|one, next| one < next);
    (fits && versioned && distinct).then_some(new)
}

#[cfg(test)]
mod tests;
