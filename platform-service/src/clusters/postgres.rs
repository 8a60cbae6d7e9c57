//! Databases and roles on a cluster's server: they are made and claimed here, and changed in the modules below.
//!
//! Deliberately puts its SQL together, because names and role attributes have no bind place: identifiers
//! pass [`ident`], texts pass [`literal`], nothing else gets in. Other files that put SQL together are
//! few, and a test of the architecture names each with its reason. Copies of data are not made here but in
//! [`super::moving`].
//! Invariants: a name is a [`Name`], never a text from outside; no statement holds a password (only
//! a verifier).

pub(crate) mod anonymise;
pub(crate) mod contents;
pub(crate) mod defaults;
mod discard;
mod fence;
pub(crate) mod foreign;
pub(crate) mod inventory;
mod keep;
pub(super) mod limits;
pub(crate) mod logins;
mod look;
mod marker;
pub(crate) mod moving;
mod name;
pub(crate) mod orphan;
pub(crate) mod question;
pub(crate) mod server;
pub(crate) mod sessions;
pub(crate) mod sign_ins;
mod swap;
pub(crate) mod unattended;
pub(crate) mod wall;

use std::fmt;

use contract::tenant::{DATA_ROLE, QUERY_ROLE, SCHEMA_ROLE};
use sqlx::{AssertSqlSafe, PgConnection};

use super::scram::Verifier;
pub(crate) use discard::{Whose, after_drops, discard, drop_alone, leftovers};
pub(crate) use fence::Fence;
pub(crate) use keep::{rename, rename_role, set_password};
use look::RoleLook;
pub(crate) use look::{DatabaseState, Look, look, look_at};
use marker::marked;
pub(crate) use name::Name;
pub(crate) use server::{
    ServerConnections, can_replicate, connections, ensure_registry, flush, used_bytes, version,
};
pub(crate) use sessions::{
    end_sessions, end_sessions_everywhere, has_session, marker, presence_of,
};
pub(crate) use swap::{Marked, is_empty, settle, swap};

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
