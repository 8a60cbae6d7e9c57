//! Databases that take a tenant's name, or give it up: each in one message, which is one transaction.
//!
//! Deliberately without a look at who sits in them: a rename is refused while somebody does. Invariant:
//! a database has the marker of its name and copy from the moment that it has the name.

use std::fmt;

use sqlx::PgConnection;

use super::{
    Claim, DATA_ROLE, Fence, Name, ROLE_SETTINGS, ident, literal, marked,
    wall::{self, Wall},
};

/// A database under a name, with the marker that it has there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Marked<'a> {
    pub(crate) name: &'a Name,
    pub(crate) marker: &'a str,
}

/// Puts a tenant's name from one database on another, whose role stays the same; opens it as far as
/// `wall` says. What had the name becomes `away`, and nobody but us can connect to it.
pub(crate) async fn swap(
    connection: &mut PgConnection,
    fence: Fence,
    tenant: Marked<'_>,
    coming: &Name,
    away: Marked<'_>,
    wall: Wall,
) -> Result<(), sqlx::Error> {
    let statements = format!(
        "{}{}{}{}{}",
        wall::statements(tenant.name, Wall::Blocked),
        renamed(tenant.name, away.name),
        renamed(coming, tenant.name),
        marked(away.name, away.marker),
        marked(tenant.name, tenant.marker)
    );
    let opened = wall::statements(tenant.name, wall);
    fence.run(connection, statements + &opened).await
}

fn renamed(from: &Name, to: &Name) -> String {
    format!("alter database {} rename to {};\n", ident(from), ident(to))
}

/// Makes a tenant's role and gives a database, which holds the tenant's data, to it under its name.
pub(crate) async fn settle(
    connection: &mut PgConnection,
    fence: Fence,
    from: &Name,
    claim: &Claim<'_>,
) -> Result<(), sqlx::Error> {
    fence.run(connection, settling(from, claim)).await
}

/// The statements of [`settle`], to be part of a longer message.
pub(super) fn settling(from: impl fmt::Display, claim: &Claim<'_>) -> String {
    let (from, to) = (ident(from), ident(claim.tenant));
    let mut statements = format!("create role {to} nologin in role {};\n", ident(DATA_ROLE));
    for (setting, value) in ROLE_SETTINGS {
        statements += &format!("alter role {to} set {setting} = {};\n", literal(value));
    }
    if from != to {
        statements += &format!("alter database {from} rename to {to};\n");
    }
    statements += &marked(claim.tenant, claim.marker);
    statements += &format!(
        "grant connect on database {to} to {to};\n\
         alter role {to} login connection limit {} password {};\n\
         comment on role {to} is {};\n",
        claim.connection_limit,
        literal(claim.verifier.as_str()),
        literal(claim.mark),
    );
    statements
}

/// Whether a database has nothing in it but what every new one has. Needs a connection to it.
pub(crate) async fn is_empty(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(
        "select not exists (select from pg_namespace
             where nspname !~ '^pg_' and nspname not in ('information_schema', 'public'))
         and not exists (select from pg_class where relnamespace = 'public'::regnamespace)",
    )
    .fetch_one(connection)
    .await
}
