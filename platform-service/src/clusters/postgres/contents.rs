//! What is inside of a database that is not ours yet: whose it is, which schemas have a history, and how
//! it is taken over and given back.
//!
//! Deliberately run as the migration runner's role, which owns all that is in a tenant's database.
//! Invariants: things are known by their oids and named by the server; extensions and what belongs to
//! them stay whose they are; nothing is made and nothing dropped.

use contract::tenant::SCHEMA_ROLE;
use serde::{Deserialize, Serialize};
use sqlx::{AssertSqlSafe, PgConnection, Row as _};

use super::run;

/// Statements that an administrator is shown at most.
const SHOWN: i64 = 100;
/// Things that are taken over in one message.
const AT_ONCE: usize = 200;

/// What in a database has an owner of its own, but for the server's own and extensions'. One line each:
/// its catalog, its oid, its owner, its schema, what it is taken over after.
const THINGS: &str = "
    with thing as (
        select 'pg_namespace'::regclass::oid as class, oid, nspowner as owner, null::oid as space, 1 as rank
        from pg_namespace where oid >= 16384 and nspname !~ '^pg_(toast|temp)'
        union all
        select 'pg_class'::regclass::oid, class.oid, relowner, relnamespace, 2
        from pg_class class join pg_namespace space on space.oid = class.relnamespace
        where class.oid >= 16384 and relkind in ('r', 'p', 'v', 'm', 'S', 'f')
            and space.nspname !~ '^pg_(toast|temp)'
            -- Those of a column go with its table.
            and not (relkind = 'S' and exists (select from pg_depend of
                where of.classid = 'pg_class'::regclass and of.objid = class.oid
                    and of.deptype in ('a', 'i') and of.refclassid = 'pg_class'::regclass))
        union all
        select 'pg_proc'::regclass::oid, oid, proowner, pronamespace, 2 from pg_proc where oid >= 16384
        union all
        select 'pg_type'::regclass::oid, type.oid, typowner, typnamespace, 2
        from pg_type type left join pg_class class on class.oid = type.typrelid
        where type.oid >= 16384 and (typtype in ('e', 'd', 'r') or class.relkind = 'c')
        union all
        select 'pg_largeobject'::regclass::oid, oid, lomowner, null, 2 from pg_largeobject_metadata
    ), foreign_thing as (
        select thing.*, role.rolname::text as owner_name, role.rolsuper,
            pg_has_role(role.oid, 'usage') and pg_has_role(role.oid, case
                when current_setting('server_version_num')::integer >= 160000 then 'set'
                else 'member' end) as may_take
        from thing join pg_roles role on role.oid = thing.owner
        where role.rolname <> current_user and not exists (select from pg_depend of
            where of.classid = thing.class and of.objid = thing.oid and of.deptype = 'e')
    )";

/// Something that is to be taken over, with its owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Thing {
    /// Its catalog and its oid there.
    at: (u32, u32),
    pub(crate) owner: String,
}

/// What was found in a database.
#[derive(Debug, Clone, Default)]
pub(crate) struct Inside {
    /// Things that are to be taken over.
    pub(crate) things: i64,
    /// What an administrator must run before that is possible, and how many more there are.
    pub(crate) obstacles: Vec<String>,
    pub(crate) unshown: i64,
    /// Every schema of these names that is there.
    pub(crate) schemas: Vec<Schema>,
    pub(crate) extensions: Vec<String>,
}

/// A schema that somebody of ours owns, or would.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Schema {
    pub(crate) name: String,
    /// Its version, where it has a history that can be read.
    pub(crate) version: Option<i32>,
}

/// The oid of the database that a connection is in.
pub(crate) async fn oid(connection: &mut PgConnection) -> Result<u32, sqlx::Error> {
    let oid: i64 = sqlx::query_scalar(
        "select oid::bigint from pg_database where datname = current_database()",
    )
    .fetch_one(connection)
    .await?;
    u32::try_from(oid).map_err(|error| sqlx::Error::Decode(error.into()))
}

/// From here on nothing can be changed over this connection until it is closed: what is in a database of somebody
/// else may run when it is looked at.
pub(crate) async fn only_read(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    run(connection, "begin read only".to_owned()).await
}

/// Looks at a database that is not ours, for the schemas of these names.
pub(crate) async fn look(
    connection: &mut PgConnection,
    owners: &[String],
) -> Result<Inside, sqlx::Error> {
    let (obstacles, unshown) = obstacles(&mut *connection).await?;
    let things = format!("{THINGS} select count(*) from foreign_thing");
    let things = sqlx::query_scalar(AssertSqlSafe(things))
        .fetch_one(&mut *connection)
        .await?;
    let extensions = sqlx::query_scalar(
        "select extname::text from pg_extension where extname <> 'plpgsql' order by 1",
    )
    .fetch_all(&mut *connection)
    .await?;
    let names: Vec<(String, Option<String>)> = sqlx::query_as(
        "select space.nspname::text,
             case when history.oid is not null
                 then format('%I.%I', space.nspname, history.relname) end
         from pg_namespace space left join pg_class history
             on history.relnamespace = space.oid and history.relname = 'refinery_schema_history'
                 and history.relkind = 'r'
         where space.nspname = any($1) order by 1",
    )
    .bind(owners)
    .fetch_all(&mut *connection)
    .await?;
    let mut schemas = Vec::new();
    for (name, history) in names {
        let version = match history {
            // What cannot be read yet is an obstacle above.
            Some(table) if obstacles.is_empty() => {
                let statement = format!("select max(version) from {table}");
                sqlx::query_scalar(AssertSqlSafe(statement))
                    .fetch_one(&mut *connection)
                    .await?
            }
            _ => None,
        };
        schemas.push(Schema { name, version });
    }
    Ok(Inside {
        things,
        obstacles,
        unshown,
        schemas,
        extensions,
    })
}

/// What stands in the way of taking things over, as the statements that remove it.
async fn obstacles(connection: &mut PgConnection) -> Result<(Vec<String>, i64), sqlx::Error> {
    let statement = format!(
        "{THINGS}, obstacle as (
             select 1 as rank, format('grant %I to %I', owner_name, current_user) as statement
             from foreign_thing where not may_take and not rolsuper
             union
             select 2, format('alter %s %s owner to %I', (pg_identify_object(class, oid, 0)).type,
                 (pg_identify_object(class, oid, 0)).identity, current_user)
             from foreign_thing where not may_take and rolsuper
             union
             select 3, format('grant create on schema %I to %I', space.nspname, role.name)
             from foreign_thing join pg_namespace space on space.oid = foreign_thing.space,
                 lateral (values (owner_name), (current_user::text)) role (name)
             where may_take and not has_schema_privilege(role.name, space.oid, 'create')
                 and not (role.name = current_user and exists (select from foreign_thing of
                     where of.class = 'pg_namespace'::regclass and of.oid = space.oid and of.may_take))
         )
         select statement, count(*) over () as all_of_them from obstacle order by rank, statement
         limit {SHOWN}"
    );
    let rows = sqlx::query(AssertSqlSafe(statement))
        .fetch_all(connection)
        .await?;
    let all: i64 = rows
        .first()
        .map_or(Ok(0), |row| row.try_get("all_of_them"))?;
    let shown: Vec<String> = rows
        .iter()
        .map(|row| row.try_get("statement"))
        .collect::<Result<_, _>>()?;
    let unshown = all - i64::try_from(shown.len()).unwrap_or(all);
    Ok((shown, unshown))
}

/// What is to be taken over, in the order in which it can be.
pub(crate) async fn things(connection: &mut PgConnection) -> Result<Vec<Thing>, sqlx::Error> {
    let statement = format!(
        "{THINGS} select class::bigint, oid::bigint as oid, owner_name from foreign_thing
         order by rank, class, oid"
    );
    let rows: Vec<(i64, i64, String)> = sqlx::query_as(AssertSqlSafe(statement))
        .fetch_all(connection)
        .await?;
    let narrow = |oid: i64| u32::try_from(oid).map_err(|error| sqlx::Error::Decode(error.into()));
    rows.into_iter()
        .map(|(class, oid, owner)| {
            Ok(Thing {
                at: (narrow(class)?, narrow(oid)?),
                owner,
            })
        })
        .collect()
}

/// To whom things go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum To {
    /// The role of this session.
    Us,
    /// Those who had them.
    Before,
}

/// Gives things an owner; those that have it already, or are gone, are left.
pub(crate) async fn give(
    connection: &mut PgConnection,
    things: &[Thing],
    to: To,
) -> Result<(), sqlx::Error> {
    for some in things.chunks(AT_ONCE) {
        let statements = statements(&mut *connection, some, to).await?;
        if !statements.is_empty() {
            run(&mut *connection, statements.join(";\n")).await?;
        }
    }
    Ok(())
}

/// The statements that give things to somebody, in their order.
async fn statements(
    connection: &mut PgConnection,
    things: &[Thing],
    to: To,
) -> Result<Vec<String>, sqlx::Error> {
    let classes: Vec<i64> = things.iter().map(|thing| i64::from(thing.at.0)).collect();
    let oids: Vec<i64> = things.iter().map(|thing| i64::from(thing.at.1)).collect();
    let owners: Vec<&str> = things
        .iter()
        .map(|thing| match to {
            To::Us => SCHEMA_ROLE,
            To::Before => thing.owner.as_str(),
        })
        .collect();
    sqlx::query_scalar(
        "select format('alter %s %s owner to %I', identified.type, identified.identity, wanted.owner)
         from unnest($1::bigint[], $2::bigint[], $3::text[]) with ordinality
             as wanted (class, oid, owner, place),
         lateral pg_identify_object(wanted.class::oid, wanted.oid::oid, 0) identified
         where identified.identity is not null
             and exists (select from pg_roles where rolname = wanted.owner)
             and wanted.owner is distinct from (
                 select pg_get_userbyid(coalesce(space.nspowner, class.relowner, routine.proowner,
                     type.typowner, object.lomowner))::text
                 from (values (wanted.oid::oid)) one (oid)
                 left join pg_namespace space
                     on space.oid = one.oid and wanted.class::oid = 'pg_namespace'::regclass
                 left join pg_class class
                     on class.oid = one.oid and wanted.class::oid = 'pg_class'::regclass
                 left join pg_proc routine
                     on routine.oid = one.oid and wanted.class::oid = 'pg_proc'::regclass
                 left join pg_type type
                     on type.oid = one.oid and wanted.class::oid = 'pg_type'::regclass
                 left join pg_largeobject_metadata object
                     on object.oid = one.oid and wanted.class::oid = 'pg_largeobject'::regclass)
         order by wanted.place",
    )
    .bind(classes)
    .bind(oids)
    .bind(owners)
    .fetch_all(connection)
    .await
}

/// Runs statements that set rights, each of which may be said again.
pub(crate) async fn set_rights(
    connection: &mut PgConnection,
    statements: &[String],
) -> Result<(), sqlx::Error> {
    if statements.is_empty() {
        return Ok(());
    }
    run(connection, statements.join(";\n")).await
}
