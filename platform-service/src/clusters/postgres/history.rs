//! What is tied to the histories of migrations in a database that somebody else filled or changed:
//! triggers, rules and the like, which would run with the next migration.
//!
//! Deliberately reads the catalog alone, as a role whose sessions nobody else can prepare. Invariant:
//! nothing that it looks at runs.

use std::collections::BTreeSet;

use sqlx::PgConnection;

/// What would run with the next migration, as its owner: triggers, rules, checks and computed defaults of
/// tables that are called as a history is.
pub(crate) async fn tied(connection: &mut PgConnection) -> Result<BTreeSet<String>, sqlx::Error> {
    let found: Vec<String> = sqlx::query_scalar(
        "with history as (
             select oid, relkind, format('%s.%s', relnamespace::regnamespace, relname) as name
             from pg_class where relname = 'refinery_schema_history'
         )
         select name || ', which is no table' from history where relkind <> 'r'
         union all
         select format('%s on %s', tgname, name) from history
         join pg_trigger on tgrelid = history.oid where not tgisinternal
         union all
         select format('%s on %s', rulename, name) from history
         join pg_rewrite on ev_class = history.oid where relkind = 'r'
         union all
         select format('%s on %s', conname, name) from history
         join pg_constraint on conrelid = history.oid where contype = 'c'
         union all
         select format('a default on %s', name) from history
         join pg_attrdef on adrelid = history.oid",
    )
    .fetch_all(connection)
    .await?;
    Ok(found.into_iter().collect())
}
