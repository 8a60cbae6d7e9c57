//! What a server holds that is ours, or looks so: databases, roles and replication slots, by name.
//!
//! Deliberately a look: what of it nobody claims is decided elsewhere. Invariant: a name that the
//! platform did not give is listed as text, so nothing can be done to it by mistake.

use contract::tenant::PLATFORM_ROLE;
use sqlx::PgConnection;

/// A database that `tn_platform` owns.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct OwnedDatabase {
    pub(crate) name: String,
    /// Its drop was interrupted: it can only be dropped again.
    pub(crate) half_dropped: bool,
    /// It takes connections.
    pub(crate) open: bool,
}

/// The databases that are ours, in the order of their names.
pub(crate) async fn databases(
    connection: &mut PgConnection,
) -> Result<Vec<OwnedDatabase>, sqlx::Error> {
    sqlx::query_as(
        "select datname::text as name, datconnlimit = -2 as half_dropped, datallowconn as open
         from pg_database where datdba = (select oid from pg_roles where rolname = $1)
         order by datname",
    )
    .bind(PLATFORM_ROLE)
    .fetch_all(connection)
    .await
}

/// The comments of the named databases, as far as they are there and have one.
pub(crate) async fn markers(
    connection: &mut PgConnection,
    names: &[String],
) -> Result<Vec<(String, String)>, sqlx::Error> {
    sqlx::query_as(
        "select datname::text, description
         from pg_database
         join pg_shdescription on objoid = pg_database.oid and classoid = 'pg_database'::regclass
         where datname = any($1::text[]::name[])",
    )
    .bind(names)
    .fetch_all(connection)
    .await
}

/// The roles whose names are like ours, in their order.
pub(crate) async fn roles(connection: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar(
        r"select rolname::text from pg_roles
          where rolname ~ '^(stock|deleted|side|old|scratch|psql):'
              or rolname ~ '^t_[a-z][a-z0-9_]{1,39}$'
          order by rolname",
    )
    .fetch_all(connection)
    .await
}

/// A replication slot, whoever made it.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub(crate) struct Slot {
    pub(crate) name: String,
    /// Somebody reads from it.
    pub(crate) active: bool,
    /// What the server keeps for it.
    pub(crate) kept_bytes: i64,
}

/// The replication slots, in the order of their names.
pub(crate) async fn slots(connection: &mut PgConnection) -> Result<Vec<Slot>, sqlx::Error> {
    sqlx::query_as(
        "select slot_name::text as name, active,
             case when restart_lsn is null or pg_is_in_recovery() then 0
                 else pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint
             end as kept_bytes
         from pg_replication_slots order by slot_name",
    )
    .fetch_all(connection)
    .await
}

/// Drops a replication slot that nobody reads from; none of this name is success.
pub(crate) async fn drop_slot(
    connection: &mut PgConnection,
    name: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "select pg_drop_replication_slot(slot_name) from pg_replication_slots
         where slot_name = $1::text::name and not active",
    )
    .bind(name)
    .execute(connection)
    .await?;
    Ok(())
}
