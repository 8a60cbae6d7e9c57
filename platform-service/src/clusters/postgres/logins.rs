//! Logins of operators to one tenant's database, for a time.
//!
//! Deliberately by membership in the groups that tenants' roles and `tn_query` have: such a login can
//! do nothing that they could not. Invariants: it is made with its end, and with the right to connect
//! to one database; it may be ended twice, and its right to connect goes before its sessions do.

use contract::operator::upkeep::PsqlAccess;
use contract::tenant::{DATA_ROLE, READ_ROLE};
use sqlx::PgConnection;
use sqlx::postgres::types::Oid;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Name, ident, literal, refused_with, run};
use crate::clusters::scram::Verifier;

/// Sessions that one login may have at once.
const SESSIONS: u32 = 2;

/// A login that is to be made.
#[derive(Debug)]
pub(crate) struct NewLogin<'a> {
    /// Of the role.
    pub(crate) name: &'a Name,
    /// Where it may connect to.
    pub(crate) database: &'a Name,
    pub(crate) access: PsqlAccess,
    pub(crate) verifier: &'a Verifier,
    /// When it lets nobody in any more.
    pub(crate) until: OffsetDateTime,
}

/// Makes a login, in one message and so in one transaction.
pub(crate) async fn create(
    connection: &mut PgConnection,
    login: &NewLogin<'_>,
) -> Result<(), sqlx::Error> {
    let (role, database) = (ident(login.name), ident(login.database));
    let until = login
        .until
        .format(&Rfc3339)
        .map_err(|error| sqlx::Error::Encode(error.into()))?;
    let (group, read_only) = match login.access {
        PsqlAccess::Read => (READ_ROLE, "on"),
        PsqlAccess::Write => (DATA_ROLE, "off"),
    };
    let statements = format!(
        "create role {role} login connection limit {SESSIONS} valid until {} in role {} \
             password {};\n\
         alter role {role} set default_transaction_read_only = {read_only};\n\
         alter role {role} set lock_timeout = '5s';\n\
         alter role {role} set idle_in_transaction_session_timeout = '5min';\n\
         grant connect on database {database} to {role};\n",
        literal(&until),
        ident(group),
        literal(login.verifier.as_str()),
    );
    run(connection, statements).await
}

/// Ends a login: nobody comes in, who is in is thrown out, the role is dropped. None of this name is
/// success.
pub(crate) async fn end(connection: &mut PgConnection, name: &Name) -> Result<(), sqlx::Error> {
    let role = ident(name);
    // It has the right to connect to one database, which may have another name by now.
    let databases: Option<Vec<String>> = sqlx::query_scalar(
        "select array(select datname::text from pg_database, aclexplode(datacl) entry
                      where entry.grantee = role.oid order by 1)
         from pg_roles role where role.rolname = $1",
    )
    .bind(name.to_string())
    .fetch_optional(&mut *connection)
    .await?;
    let Some(databases) = databases else {
        return Ok(());
    };
    let mut statements = format!("alter role {role} nologin;\n");
    for database in databases {
        statements += &format!("revoke all on database {} from {role};\n", ident(database));
    }
    run(&mut *connection, statements).await?;
    sqlx::query(
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity where usename = $1::text::name",
    )
    .bind(name.to_string())
    .execute(&mut *connection)
    .await?;
    run(connection, format!("drop role if exists {role}")).await
}

/// Whether an end failed because the login has something in the tenant's database: a large object is
/// all that a server lets it make, or be given rights to.
pub(crate) fn owns_something(error: &sqlx::Error) -> bool {
    refused_with(error, "2BP01")
}

/// The databases in which a login owns something, or has rights to what another one does: oid and name.
pub(crate) async fn places_of_its_own(
    connection: &mut PgConnection,
    name: &Name,
) -> Result<Vec<(u32, String)>, sqlx::Error> {
    let places: Vec<(Oid, String)> = sqlx::query_as(
        "select distinct database.oid, database.datname::text
         from pg_shdepend dependency
         join pg_roles role on role.oid = dependency.refobjid
             and dependency.refclassid = 'pg_authid'::regclass
         join pg_database database on database.oid = dependency.dbid
         where dependency.deptype in ('o', 'a') and dependency.dbid <> 0 and role.rolname = $1",
    )
    .bind(name.to_string())
    .fetch_all(connection)
    .await?;
    Ok(places
        .into_iter()
        .map(|(oid, name)| (oid.0, name))
        .collect())
}

/// Drops what a login made, and takes its rights to what others made, which takes a membership in them. Needs
/// a connection to the database where that is.
pub(crate) async fn disown(connection: &mut PgConnection, name: &Name) -> Result<(), sqlx::Error> {
    let makers: Vec<String> = sqlx::query_scalar(
        "select distinct maker.rolname::text
         from pg_largeobject_metadata object cross join aclexplode(object.lomacl) entry
         join pg_roles grantee on grantee.oid = entry.grantee
         join pg_roles maker on maker.oid = object.lomowner
         where grantee.rolname = $1 and maker.rolname <> $1",
    )
    .bind(name.to_string())
    .fetch_all(&mut *connection)
    .await?;
    let role = ident(name);
    let mut statements = format!("grant {role} to current_user;\n");
    for maker in &makers {
        statements += &format!("grant {} to current_user;\n", ident(maker));
    }
    statements += &format!("drop owned by {role};\n");
    for maker in &makers {
        statements += &format!("revoke {} from current_user;\n", ident(maker));
    }
    run(connection, statements).await
}
