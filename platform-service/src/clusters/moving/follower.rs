//! Turning a loaded copy into a follower of the tenant's database, and back into a database like any other.
//!
//! Deliberately changes nothing but the copy. Invariants: while it follows, its triggers stay silent,
//! because what they would do comes from the source as changes of its own; the schema `tn_move` is there
//! exactly as long.

use sqlx::{AssertSqlSafe, PgConnection};

/// Sequences go ahead by so many steps: what was handed out and not used on the source is never
/// handed out again.
const MARGIN: i64 = 1000;

/// Silences the triggers, and makes the place that says how far it has followed.
pub(crate) async fn begin(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let loud: Vec<(String, String)> = sqlx::query_as(
        "select pg_catalog.format('%I.%I', namespace.nspname, class.relname), quote_ident(loud.tgname)
         from pg_trigger loud
         join pg_class class on class.oid = loud.tgrelid
         join pg_namespace namespace on namespace.oid = class.relnamespace
         where not loud.tgisinternal and loud.tgenabled = 'O' and loud.tgparentid = 0
             and namespace.nspname not like 'pg\\_%'",
    )
    .fetch_all(&mut *connection)
    .await?;
    let mut statements = "create schema tn_move;
         create table tn_move.applied (lsn pg_lsn not null);
         insert into tn_move.applied values ('0/0');
         create table tn_move.silenced (statement text not null);\n"
        .to_owned();
    for (table, trigger) in loud {
        statements += &format!(
            "alter table {table} disable trigger {trigger};
             insert into tn_move.silenced
                 values ($tn_move$alter table {table} enable trigger {trigger}$tn_move$);\n"
        );
    }
    statements += "analyze";
    run(connection, statements).await
}

/// A sequence of the source: its name, quoted, and what it gave last.
type Given = (String, i64, i64, i64);

/// Sets the copy's sequences ahead of the source's, lets its triggers speak, and takes away what was
/// only for following. May be done twice.
pub(crate) async fn end(
    source: &mut PgConnection,
    copy: &mut PgConnection,
) -> Result<(), sqlx::Error> {
    let sequences: Vec<Given> = sqlx::query_as(
        "select pg_catalog.format('%I.%I', schemaname, sequencename), last_value, increment_by,
             case when increment_by > 0 then max_value else min_value end
         from pg_sequences where last_value is not null",
    )
    .fetch_all(source)
    .await?;
    let mut statements = String::new();
    for (name, last, step, end) in sequences {
        let ahead = last.saturating_add(step.saturating_mul(MARGIN));
        let ahead = if step > 0 {
            ahead.min(end)
        } else {
            ahead.max(end)
        };
        statements += &format!("select setval($tn_move${name}$tn_move$, {ahead});\n");
    }
    let follows: bool = sqlx::query_scalar("select to_regclass('tn_move.silenced') is not null")
        .fetch_one(&mut *copy)
        .await?;
    if follows {
        let silenced: Vec<String> = sqlx::query_scalar("select statement from tn_move.silenced")
            .fetch_all(&mut *copy)
            .await?;
        for statement in silenced {
            statements += &format!("{statement};\n");
        }
        statements += "drop schema tn_move cascade;\n";
    }
    run(copy, statements).await
}

async fn run(connection: &mut PgConnection, statements: String) -> Result<(), sqlx::Error> {
    // One message is one transaction.
    sqlx::raw_sql(AssertSqlSafe(statements))
        .execute(connection)
        .await?;
    Ok(())
}
