//! A database that is not ours: looked at, closed, taken over, and given back as it was found.
//!
//! Deliberately nothing that drops one. Invariants: it is known by its oid, so that a rename by anybody
//! never makes us work on another; its name is what the server says; what is given back is what was
//! recorded before the first change, and only while nobody else has it.

use std::collections::BTreeSet;

use contract::tenant::{PLATFORM_ROLE, SCHEMA_ROLE};
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, Row as _};

use super::marker::unmarked;
use super::{Claim, Name, ident, run, walls};
use crate::clusters::postgres::Fence;
use crate::clusters::postgres::swap::settling;

/// A database that is to be adopted, as it was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Found {
    pub(crate) oid: u32,
    pub(crate) name: String,
    pub(crate) owner: String,
    pub(crate) comment: Option<String>,
    pub(crate) rights: Vec<Right>,
}

/// What somebody may do with a database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Right {
    /// None is everybody.
    grantee: Option<String>,
    privilege: String,
    can_grant: bool,
}

/// What the server says of a database and of what we may do with it.
#[derive(Debug, Clone)]
pub(crate) struct Facts {
    pub(crate) found: Found,
    pub(crate) owner_is_superuser: bool,
    pub(crate) encoding: String,
    pub(crate) is_open: bool,
    pub(crate) is_template: bool,
    pub(crate) is_half_dropped: bool,
    /// Whether the platform's role may alter it and give it back.
    pub(crate) may_alter: bool,
    /// Whether the migration runner's role may connect to it.
    pub(crate) may_enter: bool,
    pub(crate) size_bytes: Option<u64>,
    pub(crate) prepared_transactions: i64,
    /// Who sits in it: roles and their programs.
    pub(crate) sessions: Vec<String>,
    /// Those of them whom nobody but a superuser can end.
    pub(crate) superusers: Vec<String>,
    pub(crate) settings: Vec<String>,
    /// Names the server for ever; 0 where it does not say.
    pub(crate) server: i64,
}

impl Facts {
    /// The statement with which an administrator lets the platform alter it.
    pub(crate) fn let_alter(&self) -> String {
        let (name, owner) = (ident(&self.found.name), ident(&self.found.owner));
        let (platform, schema) = (ident(PLATFORM_ROLE), ident(SCHEMA_ROLE));
        if self.owner_is_superuser {
            format!("alter database {name} owner to {platform}")
        } else {
            format!("grant {owner} to {platform}, {schema}")
        }
    }

    /// The statement with which an administrator lets the migration runner's role in.
    pub(crate) fn let_in(&self) -> String {
        let (name, schema) = (ident(&self.found.name), ident(SCHEMA_ROLE));
        format!("grant connect on database {name} to {schema}")
    }
}

/// Looks at the database of this name.
pub(crate) async fn facts(
    connection: &mut PgConnection,
    name: &str,
) -> Result<Option<Facts>, sqlx::Error> {
    let row = sqlx::query(
        "select database.oid::bigint as oid, database.datname::text as name,
             owner.rolname::text as owner, owner.rolsuper as owner_is_superuser,
             pg_encoding_to_char(database.encoding)::text as encoding,
             database.datallowconn as open, database.datistemplate as is_template,
             database.datconnlimit = -2 as half_dropped,
             shobj_description(database.oid, 'pg_database') as comment,
             pg_has_role(owner.oid, 'usage') and pg_has_role(owner.oid, case
                 when current_setting('server_version_num')::integer >= 160000 then 'set'
                 else 'member' end) as may_alter,
             has_database_privilege($2, database.oid, 'connect') as may_enter,
             case when has_database_privilege(database.oid, 'connect')
                     or pg_has_role('pg_read_all_stats', 'usage')
                 then pg_database_size(database.oid) end as size,
             (select count(*) from pg_prepared_xacts where database = database.datname) as prepared,
             (select coalesce(array_agg(distinct concat_ws(' ', usename, nullif(application_name, ''))),
                     '{}')
              from pg_stat_activity where datid = database.oid and usesysid is not null) as sessions,
             (select coalesce(array_agg(distinct usename::text), '{}')
              from pg_stat_activity session join pg_roles role on role.oid = session.usesysid
              where session.datid = database.oid and role.rolsuper) as superusers,
             (select coalesce(array_agg(setting), '{}')
              from pg_db_role_setting, unnest(setconfig) setting
              where setdatabase = database.oid) as settings,
             case when has_function_privilege('pg_control_system()', 'execute')
                 then (select system_identifier from pg_control_system()) else 0 end as server
         from pg_database database join pg_roles owner on owner.oid = database.datdba
         where database.datname = $1",
    )
    .bind(name)
    .bind(SCHEMA_ROLE)
    .fetch_optional(&mut *connection)
    .await?;
    let Some(row) = row else {
        return Ok(None);
    };
    let oid: i64 = row.try_get("oid")?;
    let oid = u32::try_from(oid).map_err(|error| sqlx::Error::Decode(error.into()))?;
    let size: Option<i64> = row.try_get("size")?;
    Ok(Some(Facts {
        found: Found {
            oid,
            name: row.try_get("name")?,
            owner: row.try_get("owner")?,
            comment: row.try_get("comment")?,
            rights: rights(connection, oid).await?,
        },
        owner_is_superuser: row.try_get("owner_is_superuser")?,
        encoding: row.try_get("encoding")?,
        is_open: row.try_get("open")?,
        is_template: row.try_get("is_template")?,
        is_half_dropped: row.try_get("half_dropped")?,
        may_alter: row.try_get("may_alter")?,
        may_enter: row.try_get("may_enter")?,
        size_bytes: size.map(i64::unsigned_abs),
        prepared_transactions: row.try_get("prepared")?,
        sessions: row.try_get("sessions")?,
        superusers: row.try_get("superusers")?,
        settings: row.try_get("settings")?,
        server: row.try_get("server")?,
    }))
}

/// Who may do what with a database.
async fn rights(connection: &mut PgConnection, oid: u32) -> Result<Vec<Right>, sqlx::Error> {
    let rows = sqlx::query(
        "select case entry.grantee when 0 then null else role.rolname::text end as grantee,
             entry.privilege_type::text as privilege, entry.is_grantable as can_grant
         from pg_database database,
             aclexplode(coalesce(database.datacl, acldefault('d', database.datdba))) entry
         left join pg_roles role on role.oid = entry.grantee
         where database.oid = $1::bigint::oid and (entry.grantee = 0 or role.oid is not null)
         order by 1, 2",
    )
    .bind(i64::from(oid))
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(Right {
                grantee: row.try_get("grantee")?,
                privilege: row.try_get("privilege")?,
                can_grant: row.try_get("can_grant")?,
            })
        })
        .collect()
}

/// The name that a database has now; none where it is gone.
pub(crate) async fn name_now(
    connection: &mut PgConnection,
    oid: u32,
) -> Result<Option<String>, sqlx::Error> {
    sqlx::query_scalar("select datname::text from pg_database where oid = $1::bigint::oid")
        .bind(i64::from(oid))
        .fetch_optional(connection)
        .await
}

/// Which of these are roles of the server.
async fn known<'a>(
    connection: &mut PgConnection,
    names: impl Iterator<Item = &'a String>,
) -> Result<BTreeSet<String>, sqlx::Error> {
    let names: Vec<&str> = names.map(String::as_str).collect();
    let known: Vec<String> =
        sqlx::query_scalar("select rolname::text from pg_roles where rolname = any($1)")
            .bind(names)
            .fetch_all(connection)
            .await?;
    Ok(known.into_iter().collect())
}

fn grantee(right: &Right) -> String {
    right
        .grantee
        .as_ref()
        .map_or_else(|| "public".to_owned(), ident)
}

/// Takes every right to a database from everybody that has one now.
fn without_rights(name: &str, now: &[Right]) -> String {
    let everybody: BTreeSet<String> = now.iter().map(grantee).collect();
    everybody
        .iter()
        .map(|role| {
            format!(
                "revoke all on database {} from {role} cascade;\n",
                ident(name)
            )
        })
        .collect()
}

/// Keeps everybody out of a database but our own logins; whoever sits in it stays.
pub(crate) async fn close(connection: &mut PgConnection, found: &Found) -> Result<(), sqlx::Error> {
    let now = rights(&mut *connection, found.oid).await?;
    let statements = without_rights(&found.name, &now) + &walls(&ident(&found.name));
    run(connection, statements).await
}

/// Gives everybody the rights to a database that they had.
pub(crate) async fn reopen(
    connection: &mut PgConnection,
    found: &Found,
) -> Result<(), sqlx::Error> {
    let now = rights(&mut *connection, found.oid).await?;
    let grantees = found
        .rights
        .iter()
        .filter_map(|right| right.grantee.as_ref());
    let known = known(&mut *connection, grantees).await?;
    let mut statements = without_rights(&found.name, &now);
    for right in &found.rights {
        if right
            .grantee
            .as_ref()
            .is_some_and(|name| !known.contains(name))
        {
            continue;
        }
        statements += &format!(
            "grant {} on database {} to {}{};\n",
            right.privilege,
            ident(&found.name),
            grantee(right),
            if right.can_grant {
                " with grant option"
            } else {
                ""
            }
        );
    }
    run(connection, statements).await
}

/// Lets roles make schemas in a database, which whoever is given one back must be able to.
pub(crate) async fn let_make(
    connection: &mut PgConnection,
    found: &Found,
    roles: impl Iterator<Item = &String>,
) -> Result<(), sqlx::Error> {
    let known = known(&mut *connection, roles).await?;
    let statements = known
        .iter()
        .map(|role| {
            format!(
                "grant create on database {} to {};\n",
                ident(&found.name),
                ident(role)
            )
        })
        .collect();
    run(connection, statements).await
}

/// Gives a database to a tenant under its name, with a role of its own.
pub(crate) async fn take(
    connection: &mut PgConnection,
    fence: Fence,
    found: &Found,
    claim: &Claim<'_>,
) -> Result<(), sqlx::Error> {
    let (name, platform) = (ident(&found.name), ident(PLATFORM_ROLE));
    let now = rights(&mut *connection, found.oid).await?;
    let mut statements = format!("alter database {name} owner to {platform};\n");
    // Of the old owner they are the new one's now.
    statements += &without_rights(&found.name, &now);
    statements += &format!("grant all on database {name} to {platform};\n");
    statements += &walls(&name);
    statements += &settling(&found.name, claim);
    fence.run(connection, statements).await
}

/// Takes a database from a tenant, whose role goes, and gives it its name and its owner back.
pub(crate) async fn give_back(
    connection: &mut PgConnection,
    fence: Fence,
    found: &Found,
    tenant: &Name,
) -> Result<(), sqlx::Error> {
    let (role, name) = (ident(tenant), ident(&found.name));
    let mut statements = format!(
        "revoke all on database {role} from {role};\n\
         drop role {role};\n\
         alter database {role} owner to {};\n",
        ident(&found.owner)
    );
    if role != name {
        statements += &format!("alter database {role} rename to {name};\n");
    }
    statements += &unmarked(&found.name, found.comment.as_deref());
    fence.run(connection, statements).await
}
