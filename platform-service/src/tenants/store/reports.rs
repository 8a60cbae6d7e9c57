//! The SQL of what services report of migrations.
//!
//! Deliberately keeps the last failure of each owner and counts the others. Invariant: a report that
//! brings no news changes no generation.

use contract::{SchemaOwner, TenantId};
use sqlx::PgConnection;
use time::OffsetDateTime;

use crate::feed::Unannounced;

/// A migration that failed, and since when.
#[derive(Debug)]
pub(crate) struct MigrationFailureRow {
    pub(crate) owner: String,
    pub(crate) migration: String,
    pub(crate) sqlstate: Option<String>,
    pub(crate) message: String,
    pub(crate) statement: Option<String>,
    pub(crate) failures: i32,
    pub(crate) first_at: OffsetDateTime,
    pub(crate) last_at: OffsetDateTime,
}

/// The migrations that fail in a tenant's database.
pub(crate) async fn migration_failures(
    connection: &mut PgConnection,
    id: &TenantId,
) -> Result<Vec<MigrationFailureRow>, sqlx::Error> {
    sqlx::query_as!(
        MigrationFailureRow,
        "select owner, migration, sqlstate, message, statement, failures, first_at, last_at
         from registry.migration_failure where tenant_id = $1 order by owner",
        id.as_str(),
    )
    .fetch_all(connection)
    .await
}

/// Stores that an owner's schema is at this version and that nothing fails there any more. That
/// may be no news.
pub(crate) async fn report_migrated(
    connection: &mut PgConnection,
    id: &TenantId,
    owner: &SchemaOwner,
    version: i32,
) -> Result<Unannounced, sqlx::Error> {
    sqlx::query!(
        "delete from registry.migration_failure where tenant_id = $1 and owner = $2",
        id.as_str(),
        owner.as_str(),
    )
    .execute(&mut *connection)
    .await?;
    let generation = sqlx::query_scalar!(
        "update registry.tenant
         set schema_versions = schema_versions || jsonb_build_object($2::text, $3::int),
             generation = generation + 1, updated_at = now()
         where id = $1 and (schema_versions -> $2::text) is distinct from to_jsonb($3::int)
         returning generation",
        id.as_str(),
        owner.as_str(),
        version,
    )
    .fetch_optional(connection)
    .await?;
    Unannounced::if_changed(id, generation)
}

/// What failed, as a service reports it.
#[derive(Debug)]
pub(crate) struct Failed<'a> {
    pub(crate) owner: &'a SchemaOwner,
    pub(crate) migration: &'a str,
    pub(crate) sqlstate: Option<&'a str>,
    pub(crate) message: &'a str,
    pub(crate) statement: Option<&'a str>,
}

/// Counts a failure of a tenant that exists.
pub(crate) async fn report_failed(
    connection: &mut PgConnection,
    id: &TenantId,
    failed: &Failed<'_>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into registry.migration_failure
             (tenant_id, owner, migration, sqlstate, message, statement)
         values ($1, $2, $3, $4, $5, $6)
         on conflict (tenant_id, owner) do update
         set migration = excluded.migration, sqlstate = excluded.sqlstate,
             message = excluded.message, statement = excluded.statement, failures = migration_failure.failures + 1,
             last_at = now()",
        id.as_str(),
        failed.owner.as_str(),
        failed.migration,
        failed.sqlstate,
        failed.message,
        failed.statement,
    )
    .execute(connection)
    .await?;
    Ok(())
}
