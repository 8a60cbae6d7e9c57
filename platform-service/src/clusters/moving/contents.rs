//! What is in a tenant's database, for comparing a copy with what it was made from.
//!
//! Deliberately counts rows and does not read them. Invariant: tables of the server and those of
//! a move itself are left out, and the others come ordered by name.

use std::collections::BTreeMap;

use contract::Code;
use kit::error::Problem;
use sqlx::{AssertSqlSafe, PgConnection, Row as _};

use crate::clusters::postgres::literal;
use crate::stop::Stop;
use crate::tools::LargeObjects;

/// Rows of each table.
pub(crate) type Rows = BTreeMap<String, i64>;

/// The tables that are no part of the server and not this feature's own, quoted.
const TABLES: &str =
    "select class.oid, pg_catalog.format('%I.%I', namespace.nspname, class.relname) as name
     from pg_class class join pg_namespace namespace on namespace.oid = class.relnamespace
     where class.relkind = 'r' and namespace.nspname <> 'information_schema'
         and namespace.nspname not like 'pg\\_%' and namespace.nspname <> 'tn_move'";

/// What the names of the tables end with that hold the histories of migrations.
const HISTORY: &str = ".refinery_schema_history";

/// The names of the tables, quoted.
pub(crate) async fn tables(connection: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    let statement = format!("select name from ({TABLES}) found order by 1");
    sqlx::query_scalar(AssertSqlSafe(statement))
        .fetch_all(connection)
        .await
}

/// The rows of every table. A table without a page has none, and is not opened to count them.
pub(crate) async fn rows(connection: &mut PgConnection) -> Result<Rows, sqlx::Error> {
    let tables: Vec<(String, bool)> = sqlx::query_as(AssertSqlSafe(format!(
        "select name, pg_relation_size(oid) is distinct from 0 from ({TABLES}) found order by 1"
    )))
    .fetch_all(&mut *connection)
    .await?;
    let counts: Vec<String> = tables
        .iter()
        .filter(|(_, has_pages)| *has_pages)
        .map(|(table, _)| {
            let name = literal(table);
            format!("select {name} as name, count(*) as rows from {table}")
        })
        .collect();
    let mut rows: Rows = tables.into_iter().map(|(table, _)| (table, 0)).collect();
    if counts.is_empty() {
        return Ok(rows);
    }
    let statement = counts.join(" union all ");
    let counted = sqlx::raw_sql(AssertSqlSafe(statement));
    for row in counted.fetch_all(connection).await? {
        rows.insert(row.try_get("name")?, row.try_get("rows")?);
    }
    Ok(rows)
}

/// What migrations made of the schemas: the tables with their columns, types, constraints and indexes, and
/// what the histories say, which stands for the rest (defaults, functions, rights); in one text that is the
/// same wherever they are the same.
pub(crate) async fn shape(connection: &mut PgConnection) -> Result<String, sqlx::Error> {
    let objects = objects(&mut *connection).await?;
    let histories = histories(connection).await?;
    Ok(format!("{objects} {histories}"))
}

/// What the histories of all owners say.
async fn histories(connection: &mut PgConnection) -> Result<String, sqlx::Error> {
    let lines: Vec<String> = tables(&mut *connection)
        .await?
        .into_iter()
        .filter(|table| table.ends_with(HISTORY))
        .map(|table| {
            format!(
                "select pg_catalog.format('%s %s %s', {}, version, checksum) as line from {table}",
                literal(&table)
            )
        })
        .collect();
    if lines.is_empty() {
        return Ok(String::new());
    }
    sqlx::query_scalar(AssertSqlSafe(format!(
        "select md5(coalesce(string_agg(line, chr(10) order by line collate \"C\"), '')) from ({}) history",
        lines.join(" union all ")
    )))
    .fetch_one(connection)
    .await
}

async fn objects(connection: &mut PgConnection) -> Result<String, sqlx::Error> {
    sqlx::query_scalar(
        "with object as (
             select class.oid, pg_catalog.format('%I.%I', namespace.nspname, class.relname) as name, class.relkind
             from pg_class class join pg_namespace namespace on namespace.oid = class.relnamespace
             where class.relkind in ('r', 'p', 'v', 'm', 'S', 'i')
                 and namespace.nspname <> 'information_schema'
                 and namespace.nspname not like 'pg\\_%' and namespace.nspname <> 'tn_move'
         ), line as (
             select pg_catalog.format('%s %s', relkind, name) as text from object
             union all
             select pg_catalog.format('%s %s %s %s', name, attribute.attname,
                 format_type(attribute.atttypid, attribute.atttypmod), attribute.attnotnull)
             from object join pg_attribute attribute on attribute.attrelid = object.oid
             where object.relkind in ('r', 'p') and attribute.attnum > 0
                 and not attribute.attisdropped
             union all
             select pg_catalog.format('%s %s %s', name, constraint_of.conname, constraint_of.contype)
             from object join pg_constraint constraint_of on constraint_of.conrelid = object.oid
         )
         select md5(coalesce(string_agg(text, chr(10) order by text collate \"C\"), '')) from line",
    )
    .fetch_one(connection)
    .await
}

/// Why the changes of a database cannot be followed, if they cannot.
pub(crate) async fn cannot_be_followed(
    connection: &mut PgConnection,
) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar(
        "select pg_catalog.format('The table %I.%I has no primary key', namespace.nspname, class.relname)
         from pg_class class join pg_namespace namespace on namespace.oid = class.relnamespace
         where class.relkind = 'r' and namespace.nspname <> 'information_schema'
             and namespace.nspname not like 'pg\\_%' and namespace.nspname <> 'tn_move'
             and not (class.relreplident = 'i'
                 or class.relreplident = 'd' and exists (
                     select from pg_index key where key.indrelid = class.oid and key.indisprimary))
         union all
         select pg_catalog.format('%I.%I is unlogged or a materialized view', namespace.nspname, class.relname)
         from pg_class class join pg_namespace namespace on namespace.oid = class.relnamespace
         where (class.relkind = 'm' or class.relkind = 'r' and class.relpersistence <> 'p')
             and namespace.nspname not like 'pg\\_%'
         union all
         select 'There are large objects'
         where exists (select from pg_largeobject_metadata object
             join pg_roles maker on maker.oid = object.lomowner where maker.rolname not like 'psql:%')
         limit 1",
    )
    .fetch_optional(connection)
    .await
}

/// Whether a dump as of this connection's moment carries large objects. What an operator's login has made goes
/// with the login, so it is never carried; the owner of the schemas could not read it either.
///
/// # Errors
/// The database has some of its own beside those of a login, which a dump cannot tell apart.
pub(crate) async fn large_objects(connection: &mut PgConnection) -> Result<LargeObjects, Stop> {
    let (own, logins): (bool, bool) = sqlx::query_as(
        "select coalesce(bool_or(maker.rolname not like 'psql:%'), false),
             coalesce(bool_or(maker.rolname like 'psql:%'), false)
         from pg_largeobject_metadata object join pg_roles maker on maker.oid = object.lomowner",
    )
    .fetch_one(connection)
    .await?;
    match (own, logins) {
        (true, true) => Err(Stop::Fail(Problem::new(Code::Conflict).detail(
            "An operator's login has made large objects beside the tenant's own, which a dump cannot \
             leave out alone: remove them (lo_unlink), or wait for the login's end.",
        ))),
        (true, false) => Ok(LargeObjects::Carried),
        (false, _) => Ok(LargeObjects::LeftOut),
    }
}

/// The first table in which two databases differ: its name, and its rows here and there.
pub(crate) fn difference(here: &Rows, there: &Rows) -> Option<(String, Option<i64>, Option<i64>)> {
    here.keys()
        .chain(there.keys())
        .find(|table| here.get(*table) != there.get(*table))
        .map(|table| {
            let (one, other) = (here.get(table).copied(), there.get(table).copied());
            (table.clone(), one, other)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(of: &[(&str, i64)]) -> Rows {
        of.iter()
            .map(|(table, rows)| ((*table).to_owned(), *rows))
            .collect()
    }

    #[test]
    fn a_missing_row_or_table_is_a_difference() {
        let here = rows(&[("a.b", 1), ("a.c", 2)]);
        assert_eq!(difference(&here, &here), None);
        let fewer = rows(&[("a.b", 1), ("a.c", 1)]);
        assert_eq!(
            difference(&here, &fewer),
            Some(("a.c".to_owned(), Some(2), Some(1)))
        );
        let more = rows(&[("a.b", 1), ("a.c", 2), ("a.d", 0)]);
        assert_eq!(
            difference(&here, &more),
            Some(("a.d".to_owned(), None, Some(0)))
        );
    }
}
