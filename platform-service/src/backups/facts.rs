//! What a tenant's database holds at one moment: rows and hashes of tables, versions of schemas. SQL.
//!
//! Deliberately the second place with dynamic SQL on a cluster: the names of tables have no bind place,
//! and the server quotes them itself. Invariant: the hash of a table says the same on every server,
//! whatever the order of its rows, and whatever the server's settings are.

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

/// All of it.
pub(super) async fn of(connection: &mut PgConnection) -> Result<Facts, sqlx::Error> {
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
    .fetch_all(&mut *connection)
    .await?;
    let mut tables = Tables::new();
    let mut schema_versions = SchemaVersions::new();
    for row in found {
        let quoted: String = row.try_get("quoted")?;
        let facts = table(connection, &quoted).await?;
        tables.insert(row.try_get("name")?, facts);
        if row.try_get("is_history")? {
            let owner: String = row.try_get("schema")?;
            let version = version(connection, &quoted).await?;
            schema_versions.insert(parsed("owner", &owner)?, version);
        }
    }
    Ok(Facts {
        tables,
        schema_versions,
    })
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
