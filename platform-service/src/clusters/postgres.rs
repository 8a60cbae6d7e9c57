//! Databases and roles on a cluster's server: they are looked at, made, renamed and dropped here.
//!
//! Deliberately puts its SQL together, because names and role attributes have no bind place: identifiers
//! pass [`ident`], texts pass [`literal`], nothing else gets in. Other files that put SQL together are
//! few, and a test of the architecture names each with its reason. Copies of data are not made here but in
//! [`super::moving`].
//! Invariants: a name is a [`Name`], never a text from outside; no statement holds a password (only
//! a verifier); `drop database` runs without any timeout, because one that is interrupted leaves a
//! database that can only be dropped.

pub(crate) mod anonymise;
pub(crate) mod contents;
pub(crate) mod defaults;
mod fence;
pub(crate) mod foreign;
pub(crate) mod inventory;
mod keep;
pub(super) mod limits;
pub(crate) mod logins;
mod mark;
pub(crate) mod moving;
mod name;
pub(crate) mod orphan;
pub(crate) mod question;
pub(super) mod server;
mod sessions;
mod swap;
pub(crate) mod unattended;
pub(crate) mod wall;

use std::fmt;

use contract::tenant::{DATA_ROLE, PLATFORM_ROLE, QUERY_ROLE, SCHEMA_ROLE};
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, Row};

use super::scram::Verifier;
pub(crate) use fence::Fence;
pub(crate) use keep::{rename, rename_role, set_password};
use mark::marked;
pub(crate) use name::Name;
pub(crate) use server::{
    ServerConnections, can_replicate, connections, ensure_registry, used_bytes, version,
};
pub(crate) use sessions::{
    end_sessions, end_sessions_everywhere, has_session, marker, presence_of,
};
use sessions::{end_sessions_of, sessions_of};
pub(crate) use swap::{Marked, is_empty, settle, swap};

/// The lock under which databases are dropped, in the maintenance database of each server.
const DROP_LOCK: i64 = 0x7465_6e61_6e74_6472;
/// Defaults of a tenant's role; the app-service may set shorter ones.
const ROLE_SETTINGS: [(&str, &str); 3] = [
    ("statement_timeout", "30s"),
    ("lock_timeout", "5s"),
    ("idle_in_transaction_session_timeout", "15s"),
];

fn ident(name: impl fmt::Display) -> String {
    format!("\"{}\"", name.to_string().replace('"', "\"\""))
}

/// A text as an escape string, which means the same whatever `standard_conforming_strings` says.
pub(crate) fn literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

async fn run(connection: &mut PgConnection, statements: String) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(AssertSqlSafe(statements))
        .execute(connection)
        .await?;
    Ok(())
}

/// What a server has under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Look {
    pub(crate) database: Option<DatabaseLook>,
    pub(crate) role: Option<RoleLook>,
}

impl Look {
    /// Whether there is a database that takes connections.
    pub(crate) fn is_open(&self) -> bool {
        let state = self.database.as_ref().map(|database| database.state);
        state == Some(DatabaseState::Open)
    }
}

/// A database as the server's catalog shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DatabaseLook {
    pub(crate) marker: Option<String>,
    pub(crate) state: DatabaseState,
}

/// Whether a database can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DatabaseState {
    /// It takes connections.
    Open,
    /// It takes none: a finished template.
    Closed,
    /// A drop of it was interrupted; it can only be dropped again.
    HalfDropped,
}

/// A role as the server's catalog shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RoleLook {
    /// The comment on it: which operation made it.
    pub(crate) mark: Option<String>,
}

/// Looks at the database and the role of a name.
pub(crate) async fn look(connection: &mut PgConnection, name: &Name) -> Result<Look, sqlx::Error> {
    let [found] = look_at(connection, [name]).await?;
    Ok(found)
}

/// The same for several names at once, in their order.
pub(crate) async fn look_at<const N: usize>(
    connection: &mut PgConnection,
    names: [&Name; N],
) -> Result<[Look; N], sqlx::Error> {
    let rows = sqlx::query(
        "select database.oid is not null as has_database,
             shobj_description(database.oid, 'pg_database') as marker,
             coalesce(database.datconnlimit = -2, false) as half_dropped,
             coalesce(database.datallowconn, false) as open,
             role.oid is not null as has_role,
             shobj_description(role.oid, 'pg_authid') as mark
         from unnest($1::name[]) with ordinality wanted (name, position)
         left join pg_database database on database.datname = wanted.name
         left join pg_roles role on role.rolname = wanted.name
         order by wanted.position",
    )
    .bind(names.map(Name::to_string).to_vec())
    .fetch_all(connection)
    .await?;
    let found: Vec<Look> = rows.iter().map(seen).collect::<Result<_, _>>()?;
    found.try_into().map_err(|_| sqlx::Error::RowNotFound)
}

fn seen(row: &PgRow) -> Result<Look, sqlx::Error> {
    let state = match (row.try_get("half_dropped")?, row.try_get("open")?) {
        (true, _) => DatabaseState::HalfDropped,
        (false, true) => DatabaseState::Open,
        (false, false) => DatabaseState::Closed,
    };
    let marker = row.try_get("marker")?;
    let mark = row.try_get("mark")?;
    Ok(Look {
        database: row
            .try_get::<bool, _>("has_database")?
            .then_some(DatabaseLook { marker, state }),
        role: row
            .try_get::<bool, _>("has_role")?
            .then_some(RoleLook { mark }),
    })
}

/// What a new database is a copy of.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Source<'a> {
    /// A template of ours.
    Template(&'a Name),
    /// Nothing but what every database has.
    Empty,
}

/// Makes a database. It has none of the rights, limits and marks yet that it needs.
pub(crate) async fn copy(
    connection: &mut PgConnection,
    source: Source<'_>,
    name: &Name,
) -> Result<(), sqlx::Error> {
    let source = match source {
        Source::Template(template) => ident(template),
        Source::Empty => "template0 encoding 'UTF8'".to_owned(),
    };
    // FILE_COPY would force two checkpoints on everybody.
    run(
        connection,
        format!(
            "create database {} template {source} strategy wal_log",
            ident(name)
        ),
    )
    .await
}

/// Lets the migration runner's role make things in the schema `public`. Needs a connection to that
/// database.
pub(crate) async fn open_public(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let schema = ident(SCHEMA_ROLE);
    run(
        connection,
        format!("grant create on schema public to {schema}"),
    )
    .await
}

/// Gives a copy for the stock what a copy does not take along: walls, rights, its role with its
/// defaults, and at last the marker that says that it is complete.
pub(crate) async fn furnish_stock(
    connection: &mut PgConnection,
    name: &Name,
    marker: &str,
    role: Option<&RoleLook>,
) -> Result<(), sqlx::Error> {
    let quoted = ident(name);
    let mut statements = if role.is_some() {
        String::new()
    } else {
        format!(
            "create role {quoted} nologin in role {};\n",
            ident(DATA_ROLE)
        )
    };
    for (setting, value) in ROLE_SETTINGS {
        statements += &format!("alter role {quoted} set {setting} = {};\n", literal(value));
    }
    statements += &walls(&quoted);
    statements += &format!(
        "grant connect on database {quoted} to {quoted};\n{}",
        marked(name, marker)
    );
    // One message is one transaction.
    run(connection, statements).await
}

/// Gives a database that becomes a template its walls, the migration runner's rights and a marker.
pub(crate) async fn furnish_template(
    connection: &mut PgConnection,
    name: &Name,
    marker: &str,
) -> Result<(), sqlx::Error> {
    let quoted = ident(name);
    let statements = walls(&quoted) + &marked(name, marker);
    run(connection, statements).await
}

fn walls(quoted: &str) -> String {
    format!(
        "revoke all on database {quoted} from public;\n\
         grant connect, create on database {quoted} to {};\n\
         grant connect on database {quoted} to {};\n",
        ident(SCHEMA_ROLE),
        ident(QUERY_ROLE)
    )
}

/// Freezes a template's rows, so that no copy has to. Needs a connection to that database.
pub(crate) async fn freeze(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    // Shared catalogs are not ours to vacuum, which the server says about each of them.
    run(
        &mut *connection,
        "set client_min_messages = error".to_owned(),
    )
    .await?;
    run(connection, "vacuum (freeze)".to_owned()).await
}

/// Closes a template: everybody who may make databases can copy it, nobody can sit in it.
pub(crate) async fn close_template(
    connection: &mut PgConnection,
    name: &Name,
) -> Result<(), sqlx::Error> {
    let quoted = ident(name);
    run(
        connection,
        format!("alter database {quoted} is_template true allow_connections false"),
    )
    .await
}

/// What a ready copy becomes.
#[derive(Debug)]
pub(crate) struct Claim<'a> {
    /// Whose it is to be.
    pub(crate) tenant: &'a Name,
    /// The comment that every connection checks.
    pub(crate) marker: &'a str,
    /// The comment on the role: which operation claimed it.
    pub(crate) mark: &'a str,
    /// Checks the role's password.
    pub(crate) verifier: &'a Verifier,
    /// Connections that the role may have at once.
    pub(crate) connection_limit: u32,
}

/// Turns a ready copy and its role into a tenant's, in one transaction and one message.
pub(crate) async fn claim(
    connection: &mut PgConnection,
    stock: &Name,
    claim: &Claim<'_>,
) -> Result<(), sqlx::Error> {
    let (from, to) = (ident(stock), ident(claim.tenant));
    run(
        connection,
        format!(
            "alter database {from} rename to {to};\n\
             alter role {from} rename to {to};\n\
             alter role {to} login connection limit {} password {};\n\
             comment on role {to} is {};\n{}",
            claim.connection_limit,
            literal(claim.verifier.as_str()),
            literal(claim.mark),
            marked(claim.tenant, claim.marker),
        ),
    )
    .await
}

/// What [`discard`] may drop.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Whose<'a> {
    /// Whatever has the name, which whoever drops it has for itself.
    Anybody,
    /// Only what belongs to a role with this comment. A tenant's name is free again once its database
    /// is dropped, so somebody who is late may find another's under it.
    Marked(&'a str),
    /// Only a database whose drop was interrupted, and its role.
    HalfDropped,
}

impl Whose<'_> {
    fn covers(self, found: &Look) -> bool {
        match self {
            Self::Anybody => true,
            Self::Marked(wanted) => {
                let mark = found.role.as_ref().and_then(|role| role.mark.as_deref());
                mark == Some(wanted)
            }
            Self::HalfDropped => {
                let state = found.database.as_ref().map(|database| database.state);
                state == Some(DatabaseState::HalfDropped)
            }
        }
    }
}

/// Makes a connection, which is to be closed afterwards, the one on its server that drops something, for as
/// long as that takes.
pub(crate) async fn drop_alone(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query(
        "select set_config(name, '0', false) from pg_settings where name in
             ('statement_timeout', 'lock_timeout', 'transaction_timeout',
              'client_connection_check_interval')",
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query("select pg_advisory_lock($1)")
        .bind(DROP_LOCK)
        .execute(connection)
        .await?;
    Ok(())
}

/// Drops a database with the sessions in it, then the role of the same name; nothing there, or
/// nothing of `whose`, is success.
///
/// Takes a connection of its own, to be closed afterwards: every timeout is switched off on it, and
/// it holds the lock that lets one drop at a time run on a server, because each forces a checkpoint
/// and because a database that is being dropped looks like one whose drop was interrupted.
pub(crate) async fn discard(
    connection: &mut PgConnection,
    name: &Name,
    whose: Whose<'_>,
) -> Result<(), sqlx::Error> {
    drop_alone(&mut *connection).await?;
    // Under the lock, because what is dropped under it stays what was looked at.
    let found = look(&mut *connection, name).await?;
    if !whose.covers(&found) {
        return Ok(());
    }
    let quoted = ident(name);
    // A late claim may rename both before they are dropped, which is not an error here.
    if let Some(database) = found.database {
        if database.state == DatabaseState::Closed {
            let reopen = format!("alter database {quoted} is_template false");
            run(&mut *connection, reopen).await?;
        }
        run(
            &mut *connection,
            format!("drop database if exists {quoted} with (force)"),
        )
        .await?;
    }
    if found.role.is_some() {
        run(connection, format!("drop role if exists {quoted}")).await?;
    }
    Ok(())
}

/// What the server has under derived names, and databases of ours whose drop was interrupted.
#[derive(Debug, Default)]
pub(crate) struct Leftovers {
    /// Copies and templates, databases or roles, ready, half-made or orphaned.
    pub(crate) derived: Vec<Name>,
    /// Databases that can only be dropped.
    pub(crate) half_dropped: Vec<Name>,
}

/// Lists derived names and half-dropped databases that belong to us.
pub(crate) async fn leftovers(connection: &mut PgConnection) -> Result<Leftovers, sqlx::Error> {
    let rows: Vec<(String, bool)> = sqlx::query_as(
        "select datname::text, datconnlimit = -2 from pg_database
         where datdba = $1::text::regrole
             and (datname like 'stock:%' or datname like 'tpl:%' or datconnlimit = -2)
         union
         select rolname::text, false from pg_roles where rolname like 'stock:%'",
    )
    .bind(PLATFORM_ROLE)
    .fetch_all(connection)
    .await?;
    let mut leftovers = Leftovers::default();
    for (text, half_dropped) in rows {
        // Somebody else's name that only looks like ours stays untouched.
        let Ok(name) = text.parse::<Name>() else {
            continue;
        };
        if half_dropped {
            leftovers.half_dropped.push(name);
        } else {
            leftovers.derived.push(name);
        }
    }
    leftovers.derived.sort_unstable();
    leftovers.derived.dedup();
    Ok(leftovers)
}

/// Whether an error says that sessions sit in a database that must be empty for this.
pub(crate) fn is_in_use(error: &sqlx::Error) -> bool {
    refused_with(error, "55006")
}

/// Whether an error says that somebody else changed the same database or role at the same moment.
///
/// A statement of a process that was killed goes on in the server, and what it makes cannot be seen
/// before it is done: who makes the same meanwhile meets its name only then.
pub(crate) fn is_race(error: &sqlx::Error) -> bool {
    const DUPLICATE_DATABASE: &str = "42P04";
    const DUPLICATE_ROLE: &str = "42710";
    let Some(database) = error.as_database_error() else {
        return false;
    };
    let catalog_key = matches!(
        database.constraint(),
        Some("pg_database_datname_index" | "pg_authid_rolname_index")
    );
    // The server reports a change that it did not expect as an internal error.
    let changed =
        refused_with(error, "XX000") && database.message().starts_with("tuple concurrently");
    catalog_key
        || changed
        || refused_with(error, DUPLICATE_DATABASE)
        || refused_with(error, DUPLICATE_ROLE)
}

fn refused_with(error: &sqlx::Error, state: &str) -> bool {
    error
        .as_database_error()
        .and_then(|error| error.code())
        .is_some_and(|code| code == state)
}

#[cfg(test)]
mod tests;
