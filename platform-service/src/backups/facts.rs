//! What a tenant's database holds: rows and hashes of tables, versions of schemas at one moment; rows alone,
//! counted beside those who work there. SQL.
//!
//! Deliberately puts its SQL together: the names of tables have no bind place, and the server quotes them
//! itself. Invariants: the hash of a table says the same on every server,
//! whatever the order of its rows, and whatever the server's settings are; a count has its table no longer
//! than it may take, and waits for nobody who wants it for themselves.

use std::time::Duration;

use contract::SchemaVersions;
use sqlx::{AssertSqlSafe, PgConnection, Row};

use super::archive::{Facts, TableFacts, Tables};
use crate::registry::{number, parsed};

/// Begins a transaction that sees one moment, in a session that shows values in one way, and gives the
/// name under which others can see the same.
pub(super) async fn begin(connection: &mut PgConnection) -> Result<String, sqlx::Error> {
    sqlx::raw_sql(
        "set statement_timeout = 0; set lock_timeout = '30s';
         set timezone = 'UTC'; set datestyle = 'ISO, MDY'; set intervalstyle = 'postgres';
         set extra_float_digits = 1; set bytea_output = 'hex'; set search_path = pg_catalog;
         begin isolation level repeatable read read only",
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query_scalar("select pg_export_snapshot()")
        .fetch_one(connection)
        .await
}

/// A table of a database.
pub(super) struct Table {
    /// Its schema, a dot, its own name.
    pub(super) name: String,
    schema: String,
    is_history: bool,
    quoted: String,
}

/// Every table that belongs to no extension, by its name.
pub(super) async fn tables(connection: &mut PgConnection) -> Result<Vec<Table>, sqlx::Error> {
    let found = sqlx::query(
        "select schema.nspname || '.' || class.relname as name,
             schema.nspname::text as schema,
             class.relname = 'refinery_schema_history' as is_history,
             quote_ident(schema.nspname) || '.' || quote_ident(class.relname) as quoted
         from pg_class class join pg_namespace schema on schema.oid = class.relnamespace
         where class.relkind = 'r' and class.relpersistence <> 't'
             and schema.nspname !~ '^pg_' and schema.nspname <> 'information_schema'
             and not exists (select from pg_depend
                 where classid = 'pg_class'::regclass and objid = class.oid and deptype = 'e')
         order by 1",
    )
    .fetch_all(connection)
    .await?;
    let tables = found.into_iter().map(|row| {
        Ok(Table {
            name: row.try_get("name")?,
            schema: row.try_get("schema")?,
            is_history: row.try_get("is_history")?,
            quoted: row.try_get("quoted")?,
        })
    });
    tables.collect()
}

/// All of it.
pub(super) async fn of(connection: &mut PgConnection) -> Result<Facts, sqlx::Error> {
    let mut tables = Tables::new();
    let mut schema_versions = SchemaVersions::new();
    for found in self::tables(connection).await? {
        let facts = table(connection, &found.quoted).await?;
        if found.is_history {
            let version = version(connection, &found.quoted).await?;
            schema_versions.insert(parsed("owner", &found.schema)?, version);
        }
        tables.insert(found.name, facts);
    }
    Ok(Facts {
        tables,
        schema_versions,
    })
}

/// Makes a session one that counts: a statement takes so long at most and waits a second for a lock.
pub(super) async fn begin_counting(
    connection: &mut PgConnection,
    longest: Duration,
) -> Result<(), sqlx::Error> {
    let statement = format!(
        "set statement_timeout = {}; set lock_timeout = '1s'; set search_path = pg_catalog;
         set max_parallel_workers_per_gather = 0; set default_transaction_read_only = on",
        longest.as_millis()
    );
    sqlx::raw_sql(AssertSqlSafe(statement))
        .execute(connection)
        .await?;
    Ok(())
}

/// The rows of a table now; none where the server did not count them, in time or at all.
pub(super) async fn count(
    connection: &mut PgConnection,
    table: &Table,
) -> Result<Option<u64>, sqlx::Error> {
    let statement = format!("select count(*) from only {}", table.quoted);
    let counted = sqlx::query_scalar::<_, i64>(AssertSqlSafe(statement))
        .fetch_one(connection)
        .await;
    match counted {
        Ok(rows) => Ok(Some(number("count", rows)?)),
        Err(sqlx::Error::Database(refused)) => {
            tracing::debug!(table = table.name, %refused, "a table was not counted");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

async fn table(connection: &mut PgConnection, quoted: &str) -> Result<TableFacts, sqlx::Error> {
    // A sum over the rows needs no sorting, which would spill a big table to the disk.
    let statement = format!(
        "select count(*), coalesce(sum(('x' || substr(md5(held::text), 1, 16))::bit(64)::bigint
             ::numeric), 0)::text from only {quoted} held"
    );
    let (rows, hash): (i64, String) = sqlx::query_as(AssertSqlSafe(statement))
        .fetch_one(connection)
        .await?;
    Ok(TableFacts {
        rows: number("count", rows)?,
        hash,
    })
}

async fn version(connection: &mut PgConnection, quoted: &str) -> Result<i32, sqlx::Error> {
    let statement = format!("select coalesce(max(version), 0)::int from {quoted}");
    sqlx::query_scalar(AssertSqlSafe(statement))
        .fetch_one(connection)
        .await
}
