//! A tenant's database and role on the way from one server to another.
//!
//! Deliberately statements alone: when each may run is the operation's matter. Invariants: each is one
//! message, which is one transaction; until the switch nothing on the target has the tenant's name but
//! a role that cannot log in.

use contract::tenant::SCHEMA_ROLE;
use sqlx::PgConnection;

use super::wall::{self, Wall};
use super::{Fence, Name, ROLE_SETTINGS, Verifier, ident, literal, marked, run};

/// A tenant's role on a server that it comes to.
#[derive(Debug)]
pub(crate) struct Arrival<'a> {
    pub(crate) tenant: &'a Name,
    /// The comment on the role: which operation made it.
    pub(crate) mark: &'a str,
    pub(crate) verifier: &'a Verifier,
    pub(crate) connection_limit: u32,
}

/// What there is of a role already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Missing,
    There,
}

/// Makes the role of a tenant that is to come, or makes one that is there as it should be: with its
/// password and its defaults, without a login and without rights.
pub(crate) async fn ensure_role(
    connection: &mut PgConnection,
    arrival: &Arrival<'_>,
    role: Role,
) -> Result<(), sqlx::Error> {
    let quoted = ident(arrival.tenant);
    let verb = match role {
        Role::Missing => "create",
        Role::There => "alter",
    };
    let mut statements = format!(
        "{verb} role {quoted} nologin connection limit {} password {};\n\
         comment on role {quoted} is {};\n",
        arrival.connection_limit,
        literal(arrival.verifier.as_str()),
        literal(arrival.mark),
    );
    for (setting, value) in ROLE_SETTINGS {
        statements += &format!("alter role {quoted} set {setting} = {};\n", literal(value));
    }
    run(connection, statements).await
}

/// Gives a complete side copy the tenant's name and marker, and lets its role in as far as the wall
/// says.
pub(crate) async fn switch(
    connection: &mut PgConnection,
    fence: Fence,
    side: &Name,
    (tenant, marker): (&Name, &str),
    wall: Wall,
) -> Result<(), sqlx::Error> {
    let (from, to) = (ident(side), ident(tenant));
    let statements = format!(
        "alter database {from} rename to {to};\n{}{}",
        marked(tenant, marker),
        wall::statements(tenant, wall),
    );
    fence.run(connection, statements).await
}

/// Takes a [`switch`] back: nobody was told of it.
pub(crate) async fn switch_back(
    connection: &mut PgConnection,
    fence: Fence,
    tenant: &Name,
    (side, marker): (&Name, &str),
) -> Result<(), sqlx::Error> {
    let (from, to) = (ident(tenant), ident(side));
    let statements = format!(
        "{}alter database {from} rename to {to};\n{}",
        wall::statements(tenant, Wall::Blocked),
        marked(side, marker),
    );
    fence.run(connection, statements).await
}

/// Puts what a tenant left behind, database and role, away under another name.
pub(crate) async fn put_away(
    connection: &mut PgConnection,
    fence: Fence,
    tenant: &Name,
    (old, marker): (&Name, &str),
) -> Result<(), sqlx::Error> {
    let (from, to) = (ident(tenant), ident(old));
    let statements = format!(
        "{}alter database {from} rename to {to};\n\
         alter role {from} rename to {to};\n{}",
        wall::statements(tenant, Wall::Blocked),
        marked(old, marker),
    );
    fence.run(connection, statements).await
}

/// Whether the migration runner may enter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Migrations {
    May,
    MayNot,
}

/// Lets the migration runner into a database, or keeps it out: what is copied must not change.
pub(crate) async fn let_migrations(
    connection: &mut PgConnection,
    name: &Name,
    migrations: Migrations,
) -> Result<(), sqlx::Error> {
    let (quoted, schema) = (ident(name), ident(SCHEMA_ROLE));
    let statement = match migrations {
        Migrations::May => format!("grant connect on database {quoted} to {schema}"),
        Migrations::MayNot => format!("revoke connect on database {quoted} from {schema}"),
    };
    run(connection, statement).await
}

/// A database as it is before its tenant is moved.
#[derive(Debug, sqlx::FromRow)]
pub(crate) struct Before {
    pub(crate) marker: Option<String>,
    /// Whether somebody migrates it.
    pub(crate) is_under_way: bool,
}

/// Looks at a database from outside, if it is there: its marker, and whether somebody has the lock of its migrations.
pub(crate) async fn migration_of(
    connection: &mut PgConnection,
    name: &Name,
) -> Result<Option<Before>, sqlx::Error> {
    sqlx::query_as(
        "select shobj_description(database.oid, 'pg_database') as marker,
             exists (select from pg_locks lock
                 where lock.locktype = 'advisory' and lock.database = database.oid and lock.granted
                     and lock.classid::bigint = $2 >> 32 and lock.objid::bigint = $2 & 4294967295
                     and lock.objsubid = 1) as is_under_way
         from pg_database database where database.datname = $1::text::name",
    )
    .bind(name.to_string())
    .bind(kit::migrate::LOCK)
    .fetch_optional(connection)
    .await
}

/// Bytes of databases, in the order of their names; none of one that is not there.
pub(crate) async fn sizes_of(
    connection: &mut PgConnection,
    names: &[Name],
) -> Result<Vec<Option<u64>>, sqlx::Error> {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let sizes: Vec<Option<i64>> = sqlx::query_scalar(
        "select (select pg_database_size(database.oid) from pg_database database
                 where database.datname = wanted.name)
         from unnest($1::name[]) with ordinality wanted (name, position) order by position",
    )
    .bind(names)
    .fetch_all(connection)
    .await?;
    let sizes = sizes.into_iter();
    Ok(sizes.map(|size| size.map(i64::unsigned_abs)).collect())
}

/// Bytes of a database.
pub(crate) async fn bytes_of(
    connection: &mut PgConnection,
    name: &Name,
) -> Result<u64, sqlx::Error> {
    let bytes: i64 = sqlx::query_scalar("select pg_database_size($1::text::name)")
        .bind(name.to_string())
        .fetch_one(connection)
        .await?;
    Ok(bytes.unsigned_abs())
}
