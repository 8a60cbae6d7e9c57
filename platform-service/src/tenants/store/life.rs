//! The SQL of a tenant's life after it was made: held back, deleted, brought back, purged.
//!
//! Deliberately decides nothing: what is allowed is known before. Invariant: what changes a route
//! raises the generation and gives what the feed is to say of it.

use contract::operator::tenant::FinalBackup;
use contract::secret::SecretRef;
use contract::tenant::Suspension;
use contract::{TenantId, TenantStatus};
use sqlx::PgConnection;

use crate::feed::Unannounced;
use crate::registry::{number, parsed};

/// Holds a tenant back.
pub(crate) async fn suspend(
    connection: &mut PgConnection,
    id: &TenantId,
    suspension: &Suspension,
) -> Result<Unannounced, sqlx::Error> {
    let generation = sqlx::query_scalar!(
        "update registry.tenant
         set status = $2, wall = $3, suspended_reason = $4, suspended_until = $5,
             generation = generation + 1, updated_at = now()
         where id = $1 returning generation",
        id.as_str(),
        TenantStatus::Suspended.as_str(),
        suspension.wall.as_str(),
        suspension.reason,
        suspension.until,
    )
    .fetch_one(connection)
    .await?;
    Unannounced::one(id, generation)
}

/// Lets a tenant go on.
pub(crate) async fn resume(
    connection: &mut PgConnection,
    id: &TenantId,
) -> Result<Unannounced, sqlx::Error> {
    let generation = sqlx::query_scalar!(
        "update registry.tenant
         set status = $2, wall = null, suspended_reason = null, suspended_until = null,
             generation = generation + 1, updated_at = now()
         where id = $1 returning generation",
        id.as_str(),
        TenantStatus::Active.as_str(),
    )
    .fetch_one(connection)
    .await?;
    Unannounced::one(id, generation)
}

/// Says that a tenant is deleted, for its tier's retention, what its database is to be called and what its
/// purge is to keep. Its wall stays for its return.
pub(crate) async fn delete(
    connection: &mut PgConnection,
    id: &TenantId,
    kept_name: &str,
    final_backup: FinalBackup,
) -> Result<Unannounced, sqlx::Error> {
    let generation = sqlx::query_scalar!(
        "update registry.tenant
         set status = $2, deleted_at = now(), kept_name = $3, final_backup = $4,
             purge_after = now() + make_interval(days => tier.retention_days),
             generation = generation + 1, updated_at = now()
         from registry.tier
         where tenant.id = $1 and tier.name = tenant.tier returning tenant.generation",
        id.as_str(),
        TenantStatus::Deleted.as_str(),
        kept_name,
        final_backup.as_str(),
    )
    .fetch_one(connection)
    .await?;
    Unannounced::one(id, generation)
}

/// Forgets that a last backup was wished for.
pub(crate) async fn keep_nothing(
    connection: &mut PgConnection,
    id: &TenantId,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update registry.tenant set final_backup = $2 where id = $1",
        id.as_str(),
        FinalBackup::None.as_str(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Brings a tenant back, suspended where it was, if it is deleted.
pub(crate) async fn undelete(
    connection: &mut PgConnection,
    id: &TenantId,
) -> Result<Unannounced, sqlx::Error> {
    let generation = sqlx::query_scalar!(
        "update registry.tenant
         set status = case when wall is null then $2 else $3 end,
             deleted_at = null, purge_after = null, kept_name = null, final_backup = 'none',
             generation = generation + 1, updated_at = now()
         where id = $1 and status = $4 returning generation",
        id.as_str(),
        TenantStatus::Active.as_str(),
        TenantStatus::Suspended.as_str(),
        TenantStatus::Deleted.as_str(),
    )
    .fetch_optional(connection)
    .await?;
    Unannounced::if_changed(id, generation)
}

/// The references to the passwords of a tenant's role, newest first.
pub(crate) async fn credentials(
    connection: &mut PgConnection,
    id: &TenantId,
) -> Result<Vec<SecretRef>, sqlx::Error> {
    let found = sqlx::query_scalar!(
        "select credentials from registry.tenant where id = $1",
        id.as_str()
    )
    .fetch_one(connection)
    .await?;
    Ok(found.into_iter().map(SecretRef).collect())
}

/// Stores another contact address.
pub(crate) async fn set_contact(
    connection: &mut PgConnection,
    id: &TenantId,
    email: &str,
) -> Result<Unannounced, sqlx::Error> {
    let generation = sqlx::query_scalar!(
        "update registry.tenant
         set contact_email = $2, generation = generation + 1, updated_at = now()
         where id = $1 returning generation",
        id.as_str(),
        email,
    )
    .fetch_one(connection)
    .await?;
    Unannounced::one(id, generation)
}

/// Suspended tenants whose suspension is over and of which nothing is being done.
pub(crate) async fn suspensions_over(
    connection: &mut PgConnection,
    limit: i64,
) -> Result<Vec<TenantId>, sqlx::Error> {
    sqlx::query_scalar!(
        "select id from registry.tenant
         where suspended_until <= now() and status = $1
             and not exists (
                 select from registry.operation
                 where tenant_id = tenant.id and state in ('running', 'unwinding', 'stuck'))
         order by suspended_until limit $2",
        TenantStatus::Suspended.as_str(),
        limit,
    )
    .fetch_all(connection)
    .await?
    .iter()
    .map(|id| parsed("tenant.id", id))
    .collect()
}

/// Locks a tenant's row where it is suspended, its suspension is over, and nobody has it.
pub(crate) async fn lock_where_over(
    connection: &mut PgConnection,
    id: &TenantId,
) -> Result<bool, sqlx::Error> {
    let locked = sqlx::query!(
        "select id from registry.tenant
         where id = $1 and suspended_until <= now() and status = $2
         for no key update skip locked",
        id.as_str(),
        TenantStatus::Suspended.as_str(),
    )
    .fetch_optional(connection)
    .await?;
    Ok(locked.is_some())
}

/// The retention of a tier, in days.
pub(crate) async fn retention_days(
    connection: &mut PgConnection,
    tier: &str,
) -> Result<u32, sqlx::Error> {
    let days = sqlx::query_scalar!(
        "select retention_days from registry.tier where name = $1",
        tier
    )
    .fetch_one(connection)
    .await?;
    number("tier.retention_days", days)
}
