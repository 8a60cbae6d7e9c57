//! A database or role that nobody claims: looked at, and dropped while it is still what was looked at.
//!
//! Deliberately ends nobody's session: who sits in it may know whose it is. Invariant: database and role are
//! known by their oids and comments, so that what took the name meanwhile is never dropped.

use contract::tenant::PLATFORM_ROLE;
use sqlx::PgConnection;

use super::{ident, run};

/// What there is under a name.
#[derive(Debug, Clone, PartialEq, Eq, Default, sqlx::FromRow)]
pub(crate) struct Orphan {
    /// As the server says it; none where there is nothing.
    name: Option<String>,
    /// Of a database that `tn_platform` owns.
    database: Option<i64>,
    /// The database's comment.
    pub(crate) marker: Option<String>,
    is_template: bool,
    role: Option<i64>,
    /// The role's comment.
    mark: Option<String>,
}

/// How a database is used.
#[derive(Debug, Clone, Default, sqlx::FromRow)]
pub(crate) struct Use {
    pub(crate) size_bytes: Option<i64>,
    /// Who sits in it: roles and their programs.
    pub(crate) sessions: Vec<String>,
}

/// Whether the role of a database's name goes with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Goes,
    /// The name is not one that the platform gives: its role is somebody's.
    Stays,
}

/// Looks at what has this name.
pub(crate) async fn look(
    connection: &mut PgConnection,
    name: &str,
    role: Role,
) -> Result<Orphan, sqlx::Error> {
    sqlx::query_as(
        "select coalesce(database.datname, role.rolname)::text as name,
             database.oid::bigint as database,
             shobj_description(database.oid, 'pg_database') as marker,
             coalesce(database.datistemplate, false) as is_template,
             role.oid::bigint as role, shobj_description(role.oid, 'pg_authid') as mark
         from (select $1::text::name as name) wanted
         left join pg_database database on database.datname = wanted.name
             and database.datdba = (select oid from pg_roles where rolname = $2)
         left join pg_roles role on role.rolname = wanted.name and $3",
    )
    .bind(name)
    .bind(PLATFORM_ROLE)
    .bind(role == Role::Goes)
    .fetch_one(connection)
    .await
}

/// How a database is used; a name that none has is not.
pub(crate) async fn usage(connection: &mut PgConnection, name: &str) -> Result<Use, sqlx::Error> {
    let found: Option<Use> = sqlx::query_as(
        "select case when has_database_privilege(database.oid, 'connect')
                     or pg_has_role('pg_read_all_stats', 'usage')
                 then pg_database_size(database.oid) end as size_bytes,
             (select coalesce(array_agg(distinct concat_ws(' ', usename, nullif(application_name, ''))),
                     '{}')
              from pg_stat_activity
              where datid = database.oid and backend_type = 'client backend') as sessions
         from pg_database database where datname = $1::text::name",
    )
    .bind(name)
    .fetch_optional(connection)
    .await?;
    Ok(found.unwrap_or_default())
}

/// Drops what was looked at on a connection that [drops alone](super::drop_alone). The server refuses where somebody sits in the
/// database, or the role has something.
pub(crate) async fn drop(connection: &mut PgConnection, seen: &Orphan) -> Result<(), sqlx::Error> {
    let Some(quoted) = seen.name.as_ref().map(ident) else {
        return Ok(());
    };
    if seen.database.is_some() {
        if seen.is_template {
            let reopen = format!("alter database {quoted} is_template false");
            run(&mut *connection, reopen).await?;
        }
        run(&mut *connection, format!("drop database {quoted}")).await?;
    }
    if seen.role.is_some() {
        run(connection, format!("drop role {quoted}")).await?;
    }
    Ok(())
}
