//! What the doctor asks a cluster's server, and one tenant's database there: SQL.
//!
//! Deliberately unprepared by the build: catalogues are asked, of whatever version the server is. Invariant: nothing
//! is changed.

use sqlx::PgConnection;
use time::OffsetDateTime;

use super::facts::SettingFacts;

/// What else is to be known of a server than what its requirements are about.
pub(super) async fn settings(connection: &mut PgConnection) -> Result<SettingFacts, sqlx::Error> {
    sqlx::query_as(
        "select current_setting('wal_level') as wal_level,
             current_setting('max_replication_slots')::integer as max_replication_slots,
             (select count(*)::integer from pg_replication_slots) as used_replication_slots,
             (select rolreplication or rolsuper from pg_roles where rolname = current_user)
                 as may_replicate,
             (select rolsuper or current_setting('server_version_num')::integer < 160000
                  or exists (select from pg_auth_members
                      where roleid = (select oid from pg_roles where rolname = 'tn_schema')
                          and member = login.oid and admin_option)
              from pg_roles login where rolname = current_user) as may_put_back,
             has_parameter_privilege('tenantry.database', 'set') as may_mark,
             (select count(*) from pg_database database
              where shobj_description(oid, 'pg_database') like 'tenantry:%'
                  and not exists (
                      select from pg_db_role_setting setting
                      where setting.setdatabase = database.oid and setting.setrole = 0
                          and 'tenantry.database=' || shobj_description(database.oid, 'pg_database')
                              = any(setting.setconfig))) as unmarked,
             (select coalesce(max(age(datfrozenxid)), 0)::bigint from pg_database
              where datconnlimit <> -2) as oldest_transaction,
             (select coalesce(max(mxid_age(datminmxid)), 0)::bigint from pg_database
              where datconnlimit <> -2) as oldest_multixact",
    )
    .fetch_one(connection)
    .await
}

/// The databases that everybody may connect to. A copy of ours gets its walls with its marker: one
/// without is being made, or is an orphan.
pub(super) async fn public(connection: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "select datname::text from pg_database
         where datallowconn and has_database_privilege('public', oid, 'connect')
             and not (datname ~ '^(stock|tpl|side|scratch):'
                 and shobj_description(oid, 'pg_database') is null)
         order by datname",
    )
    .fetch_all(connection)
    .await
}

/// Finished templates (the server says so of them) that take connections, and templates of ours that
/// somebody sits in. One that is being made is neither.
pub(super) async fn open_templates(
    connection: &mut PgConnection,
) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        "select datname::text from pg_database database
         where datname like 'tpl:%' and datistemplate
             and (datallowconn
                 or exists (select from pg_stat_activity session
                            where session.datid = database.oid
                                and session.backend_type = 'client backend'))
         order by datname",
    )
    .fetch_all(connection)
    .await
}

/// The files of the database that this is.
pub(super) async fn files(connection: &mut PgConnection) -> Result<u64, sqlx::Error> {
    let files: i64 = sqlx::query_scalar(
        "select coalesce(sum(1 + (pg_relation_size(oid, 'fsm') > 0)::integer
                               + (pg_relation_size(oid, 'vm') > 0)::integer), 0)::bigint
         from pg_class where pg_relation_filenode(oid) is not null and not relisshared",
    )
    .fetch_one(connection)
    .await?;
    Ok(files.unsigned_abs())
}

/// What the server's clock says.
pub(super) async fn clock(connection: &mut PgConnection) -> Result<OffsetDateTime, sqlx::Error> {
    sqlx::query_scalar("select clock_timestamp()")
        .fetch_one(connection)
        .await
}
