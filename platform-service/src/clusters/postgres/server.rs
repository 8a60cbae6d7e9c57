//! SQL on a server as a whole: what it is, the platform's own roles, who may enter what.
//!
//! Deliberately knows no tenant: what is of one database stands in the modules beside it. Invariant: roles
//! are ensured, never assumed to be missing, so that an addition that broke off can be taken up again.

use adapters::secret_store::ClusterRole;
use contract::tenant::{
    DATA_ROLE, MARKER_SETTING, PLATFORM_ROLE, QUERY_ROLE, READ_ROLE, SCHEMA_ROLE, SIGN_IN_ROLE,
};
use kit::db::Fault;
use sqlx::PgConnection;

use super::{ident, literal, run};
use crate::clusters::requirements::ServerSettings;
use crate::clusters::scram::Verifier;

/// What a server and the login that asks are.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(in crate::clusters) struct Facts {
    /// Names the server for ever; 0 where it does not say.
    pub(in crate::clusters) server: i64,
    pub(in crate::clusters) is_superuser: bool,
    pub(in crate::clusters) can_make_databases: bool,
    pub(in crate::clusters) can_make_roles: bool,
    pub(in crate::clusters) is_standby: bool,
    /// Of `template0`.
    pub(in crate::clusters) encoding: String,
    /// The comment on the platform's role, where there is one.
    pub(in crate::clusters) platform_mark: Option<String>,
    /// Whether one of the roles that we are to make is a superuser already.
    pub(in crate::clusters) platform_is_superuser: bool,
}

/// Which server runs, and whether it takes writes.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(in crate::clusters) struct Running {
    /// Two that run at once differ in it, also where one is a copy of the other.
    started_at: time::OffsetDateTime,
    pub(in crate::clusters) is_standby: bool,
}

/// Looks which server runs.
pub(in crate::clusters) async fn running(
    connection: &mut PgConnection,
) -> Result<Running, sqlx::Error> {
    sqlx::query_as(
        "select pg_postmaster_start_time() as started_at, pg_is_in_recovery() as is_standby",
    )
    .fetch_one(connection)
    .await
}

/// Looks at what is judged of a server by the [`requirements`](crate::clusters::requirements).
pub(crate) async fn settings(connection: &mut PgConnection) -> Result<ServerSettings, sqlx::Error> {
    sqlx::query_as(
        "with setting as (select name, setting from pg_settings)
         select current_setting('server_version_num')::integer as version,
             current_setting('max_connections')::integer as max_connections,
             (select coalesce(sum(setting::integer), 0)::integer from setting
              where name in ('superuser_reserved_connections', 'reserved_connections'))
                 as reserved_connections,
             coalesce(current_setting('recovery_init_sync_method', true), '')
                 as recovery_init_sync_method,
             (select setting::integer from setting where name = 'autovacuum_naptime')
                 as naptime_seconds,
             (select setting::integer from setting
              where name = 'client_connection_check_interval') as connection_check_ms,
             current_setting('fsync')::boolean as fsync",
    )
    .fetch_one(connection)
    .await
}

/// Looks at a server as the login that asks.
pub(in crate::clusters) async fn facts(
    connection: &mut PgConnection,
) -> Result<Facts, sqlx::Error> {
    sqlx::query_as(
        "select case when has_function_privilege('pg_control_system()', 'execute')
                 then (select system_identifier from pg_control_system()) else 0 end as server,
             login.rolsuper as is_superuser,
             login.rolcreatedb as can_make_databases,
             login.rolcreaterole as can_make_roles,
             pg_is_in_recovery() as is_standby,
             (select pg_encoding_to_char(encoding)::text from pg_database
              where datname = 'template0') as encoding,
             (select shobj_description(oid, 'pg_authid') from pg_roles where rolname = $1)
                 as platform_mark,
             exists (select from pg_roles where rolname = any($2) and rolsuper)
                 as platform_is_superuser
         from pg_roles login where login.rolname = current_user",
    )
    .bind(PLATFORM_ROLE)
    .bind([
        PLATFORM_ROLE,
        SCHEMA_ROLE,
        QUERY_ROLE,
        DATA_ROLE,
        READ_ROLE,
        SIGN_IN_ROLE,
    ])
    .fetch_one(connection)
    .await
}

/// Ensures a login of the platform's own with this password.
pub(in crate::clusters) async fn ensure_login(
    connection: &mut PgConnection,
    role: ClusterRole,
    verifier: &Verifier,
) -> Result<(), sqlx::Error> {
    let rights = match role {
        ClusterRole::Platform => "login createdb createrole",
        ClusterRole::Schema => "login",
        ClusterRole::Query => "login connection limit 20",
    };
    let verb = ensure_verb(connection, role.as_str()).await?;
    let quoted = ident(role.as_str());
    let password = literal(verifier.as_str());
    run(
        connection,
        format!("{verb} role {quoted} {rights} password {password}"),
    )
    .await
}

async fn ensure_verb(
    connection: &mut PgConnection,
    role: &str,
) -> Result<&'static str, sqlx::Error> {
    let exists: bool =
        sqlx::query_scalar("select exists (select from pg_roles where rolname = $1)")
            .bind(role)
            .fetch_one(connection)
            .await?;
    Ok(if exists { "alter" } else { "create" })
}

/// Makes the registry's login and a database that it owns; what is there already gets the password.
pub(crate) async fn ensure_registry(
    connection: &mut PgConnection,
    database: &str,
    login: &str,
    verifier: &Verifier,
) -> Result<(), sqlx::Error> {
    let verb = ensure_verb(connection, login).await?;
    let (quoted, password) = (ident(login), literal(verifier.as_str()));
    let role = format!("{verb} role {quoted} login password {password}");
    run(&mut *connection, role).await?;
    let exists: bool =
        sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
            .bind(database)
            .fetch_one(&mut *connection)
            .await?;
    if exists {
        return Ok(());
    }
    // Who is no superuser gives a database away only to a role that it is a member of.
    run(&mut *connection, format!("grant {quoted} to current_user")).await?;
    let create = format!(
        "create database {} owner {quoted} template template0 encoding 'UTF8'",
        ident(database)
    );
    run(&mut *connection, create).await?;
    run(connection, format!("revoke {quoted} from current_user")).await
}

/// How `tn_platform` gets the right to hand the groups on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::clusters) enum MemberGrants {
    /// CREATEROLE is enough (PostgreSQL 15).
    ByCreateRole,
    /// It needs the admin option of each group, and nothing of their rights (16 and newer).
    PerGrant,
}

/// Ensures the groups that tenants' roles are members of, what `tn_platform` may do with them, and
/// the mark that says whose server this is.
pub(in crate::clusters) async fn ensure_groups(
    connection: &mut PgConnection,
    grants: MemberGrants,
    mark: &str,
) -> Result<(), sqlx::Error> {
    let platform = ident(PLATFORM_ROLE);
    let mut statements = String::new();
    for group in [DATA_ROLE, READ_ROLE, SIGN_IN_ROLE] {
        let verb = ensure_verb(&mut *connection, group).await?;
        statements += &format!("{verb} role {} nologin;\n", ident(group));
    }
    if grants == MemberGrants::PerGrant {
        statements += &format!(
            "grant {}, {}, {}, {} to {platform} with admin true, inherit false, set false;\n",
            ident(DATA_ROLE),
            ident(READ_ROLE),
            ident(SIGN_IN_ROLE),
            ident(SCHEMA_ROLE)
        );
    }
    // Tenants' sessions are ended when they are locked out, moved or dropped.
    statements += &format!(
        "grant pg_signal_backend to {platform};\n\
         comment on role {platform} is {};\n",
        literal(mark)
    );
    run(connection, statements).await
}

/// Takes the mark away that says whose server this is; says whether this login may: from PostgreSQL 16 on it
/// takes an administrator.
pub(in crate::clusters) async fn unmark(
    connection: &mut PgConnection,
) -> Result<bool, sqlx::Error> {
    let statement = format!("comment on role {} is null", ident(PLATFORM_ROLE));
    match run(connection, statement).await {
        Ok(()) => Ok(true),
        Err(error) if Fault::of(&error) == Fault::RightsLost => Ok(false),
        Err(error) => Err(error),
    }
}

/// Ensures what reads alone: the group that may sign in and out, and the login of questions with this
/// password. Needs no administrator, so that a cluster of an earlier release gets them too.
pub(in crate::clusters) async fn ensure_readers(
    connection: &mut PgConnection,
    verifier: &Verifier,
) -> Result<(), sqlx::Error> {
    let sign_in = ident(SIGN_IN_ROLE);
    let verb = ensure_verb(&mut *connection, SIGN_IN_ROLE).await?;
    run(&mut *connection, format!("{verb} role {sign_in} nologin")).await?;
    ensure_login(&mut *connection, ClusterRole::Query, verifier).await?;
    let query = ident(QUERY_ROLE);
    run(
        connection,
        format!(
            "grant {} to {query};\n\
             alter role {query} set default_transaction_read_only = on;\n\
             alter role {query} set statement_timeout = '30s';\n",
            ident(READ_ROLE)
        ),
    )
    .await
}

/// Closes the maintenance databases to everybody but our logins, and the registry's database (its
/// name and its login) to everybody but that login.
pub(in crate::clusters) async fn close_to_public(
    connection: &mut PgConnection,
    registry: Option<(&str, &str)>,
) -> Result<(), sqlx::Error> {
    let (platform, schema) = (ident(PLATFORM_ROLE), ident(SCHEMA_ROLE));
    let mut statements = format!(
        "grant connect on database postgres to {platform}, {schema};\n\
         revoke connect, temporary on database postgres from public;\n\
         revoke connect, temporary on database template1 from public;\n"
    );
    if let Some((database, login)) = registry {
        statements += &format!(
            "grant connect, temporary on database {database} to {};\n\
             revoke connect, temporary on database {database} from public;\n",
            ident(login),
            database = ident(database),
        );
    }
    run(connection, statements).await
}

/// The databases that everybody may connect to.
pub(in crate::clusters) async fn open_to_public(
    connection: &mut PgConnection,
) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "select datname::text from pg_database
         where datallowconn and has_database_privilege('public', oid, 'connect')
         order by datname",
    )
    .fetch_all(connection)
    .await
}

/// Gives `tn_platform` the right to read replication slots where this login may give it; says whether
/// tenants can be followed now: it has the right, and the server writes what slots need.
pub(in crate::clusters) async fn allow_replication(
    connection: &mut PgConnection,
) -> Result<bool, sqlx::Error> {
    let given = run(
        &mut *connection,
        format!("alter role {} replication", ident(PLATFORM_ROLE)),
    )
    .await;
    match given {
        Err(error) if Fault::of(&error) != Fault::RightsLost => return Err(error),
        Ok(()) | Err(_) => {}
    }
    can_replicate(connection).await
}

/// Gives `tn_platform` the right to mark databases with a setting, where this login may give it; says
/// whether it has it.
pub(in crate::clusters) async fn allow_marking(
    connection: &mut PgConnection,
) -> Result<bool, sqlx::Error> {
    let grant = format!(
        "grant set on parameter {MARKER_SETTING} to {}",
        ident(PLATFORM_ROLE)
    );
    match run(connection, grant).await {
        Ok(()) => Ok(true),
        Err(error) if Fault::of(&error) == Fault::RightsLost => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether `tn_platform` may read replication slots and the server writes what they need.
pub(crate) async fn can_replicate(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar(
        "select role.rolreplication
             and current_setting('wal_level') = 'logical'
             and current_setting('max_replication_slots')::int > 0
         from pg_roles role where role.rolname = $1",
    )
    .bind(PLATFORM_ROLE)
    .fetch_one(connection)
    .await
}

/// Which PostgreSQL it is, as `server_version_num` says: an upgrade in place changes it.
pub(crate) async fn version(connection: &mut PgConnection) -> Result<i32, sqlx::Error> {
    sqlx::query_scalar("select current_setting('server_version_num')::integer")
        .fetch_one(connection)
        .await
}

/// Connections of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ServerConnections {
    /// For ordinary logins.
    pub(crate) all: u32,
    /// Of anybody, now.
    pub(crate) used: u32,
}

/// How many connections the server has, and how many are used.
pub(crate) async fn connections(
    connection: &mut PgConnection,
) -> Result<ServerConnections, sqlx::Error> {
    let (all, used): (i32, i32) = sqlx::query_as(
        "select current_setting('max_connections')::integer - (
                 select coalesce(sum(setting::integer), 0)::integer from pg_settings
                 where name in ('superuser_reserved_connections', 'reserved_connections')),
             (select count(*)::integer from pg_stat_activity
              where datid is not null and usesysid is not null)",
    )
    .fetch_one(connection)
    .await?;
    Ok(ServerConnections {
        all: u32::try_from(all).unwrap_or(0),
        used: u32::try_from(used).unwrap_or(0),
    })
}

/// Bytes of all databases that this login may look at.
pub(crate) async fn used_bytes(connection: &mut PgConnection) -> Result<u64, sqlx::Error> {
    let bytes: i64 = sqlx::query_scalar(
        "select coalesce(sum(pg_database_size(oid)), 0)::bigint from pg_database
         where has_database_privilege(oid, 'connect')
             or pg_has_role('pg_read_all_stats', 'usage')",
    )
    .fetch_one(connection)
    .await?;
    Ok(bytes.unsigned_abs())
}

/// Waits until what was committed on a server so far would survive a crash, also where its sessions did not
/// wait for that themselves: whoever waits for the log waits for all of it.
pub(crate) async fn flush(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let message = "begin; set local synchronous_commit = on;
        select pg_catalog.pg_logical_emit_message(true, 'tenantry', ''::text); commit";
    sqlx::raw_sql(message).execute(connection).await?;
    Ok(())
}
