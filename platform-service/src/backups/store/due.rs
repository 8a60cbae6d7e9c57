//! The SQL of schedules: which tenants are due, which backups are over.
//!
//! Deliberately one statement each over the whole registry. Invariant: of a tenant that has a live
//! operation nothing is due.

use contract::TenantId;
use contract::operator::backup::{BackupEncryption, BackupId};
use sqlx::PgConnection;

use crate::registry::{number, parsed};

/// One process looks at a time: an arbitrary number that nothing else in the registry uses.
const LOOK_LOCK: i64 = 0x6261_636b_7570_7300;

/// Takes the lock of a look until the transaction ends; false where somebody else has it.
pub(crate) async fn lock(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select pg_try_advisory_xact_lock($1) as "locked!""#,
        LOOK_LOCK,
    )
    .fetch_one(connection)
    .await
}

/// The tiers that have a schedule.
pub(crate) async fn scheduled_tiers(
    connection: &mut PgConnection,
) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!(
        "select name from registry.tier where backup_every is not null order by name"
    )
    .fetch_all(connection)
    .await
}

/// Tenants that have no backup which can be restored and is younger than twice the time between backups of
/// their tier, the one that waits for longest first.
pub(crate) async fn overdue(connection: &mut PgConnection) -> Result<Vec<TenantId>, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        select tenant.id from registry.tenant
        join registry.tier on tier.name = tenant.tier
        cross join lateral (
            select coalesce(max(backup.created_at), tenant.activated_at, tenant.created_at) as at
            from registry.backup
            where backup.tenant_id = tenant.id and backup.state = 'ready'
                and backup.kind in ('manual', 'scheduled')) newest
        where tenant.status in ('active', 'suspended') and tenant.cluster is not null
            and newest.at < now() - 2 * tier.backup_every
        order by newest.at, tenant.id
        "#
    )
    .fetch_all(connection)
    .await?
    .iter()
    .map(|id| parsed("tenant.id", id))
    .collect()
}

/// A tenant whose backup is due.
#[derive(Debug)]
pub(crate) struct Due {
    pub(crate) tenant: TenantId,
    pub(crate) keep_days: u32,
    pub(crate) encryption: BackupEncryption,
}

/// Tenants whose last backup by schedule is longer ago than their tier says, the longest ago first; of
/// each cluster so many as `per_cluster` leaves beside those that are being made. One whose backup failed
/// rests as long as its tier's backups are apart, an hour at most, or as long as they have been failing, a day
/// at most, and comes after those who have waited since before: what always fails holds nobody up.
pub(crate) async fn tenants(
    connection: &mut PgConnection,
    per_cluster: i64,
    limit: i64,
) -> Result<Vec<Due>, sqlx::Error> {
    sqlx::query!(
        r#"
        with last as (
            select tenant_id, max(created_at) as at from registry.backup
            where kind = 'scheduled' group by tenant_id
        ), failed as (
            select tenant_id, max(finished_at) as at,
                least(max(finished_at) - min(finished_at), interval '1 day') as rest
            from registry.operation failed
            where kind = 'backup' and state = 'undone' and finished_at > now() - interval '3 days'
                and not exists (select from registry.operation made
                    where made.tenant_id = failed.tenant_id and made.kind = 'backup'
                        and made.state = 'done' and made.created_at > failed.created_at)
            group by tenant_id
        ), due as (
            select tenant.id, tenant.cluster, tier.backup_keep_days, tier.backup_encryption,
                greatest(last.at, failed.at, tenant.activated_at, tenant.created_at) as since,
                row_number() over (
                    partition by tenant.cluster
                    order by greatest(last.at, failed.at, tenant.activated_at, tenant.created_at),
                        tenant.id
                ) as place
            from registry.tenant
            join registry.tier on tier.name = tenant.tier
            left join last on last.tenant_id = tenant.id
            left join failed on failed.tenant_id = tenant.id
            where tenant.status in ('active', 'suspended') and tenant.cluster is not null
                and coalesce(last.at, tenant.activated_at, tenant.created_at)
                    < now() - tier.backup_every
                and (failed.at is null
                    or failed.at < now() - greatest(
                        failed.rest, least(tier.backup_every, interval '1 hour')))
                and not exists (select from registry.operation
                    where operation.tenant_id = tenant.id
                        and operation.state in ('running', 'unwinding', 'stuck'))
        ), busy as (
            select tenant.cluster, count(*) as count
            from registry.operation join registry.tenant on tenant.id = operation.tenant_id
            where operation.kind = 'backup' and operation.state in ('running', 'unwinding')
            group by tenant.cluster
        )
        select due.id, due.backup_keep_days, due.backup_encryption
        from due left join busy on busy.cluster = due.cluster
        where due.place + coalesce(busy.count, 0) <= $1
        order by due.since limit $2
        "#,
        per_cluster,
        limit,
    )
    .fetch_all(connection)
    .await?
    .into_iter()
    .map(|row| {
        Ok(Due {
            tenant: parsed("tenant.id", &row.id)?,
            keep_days: number("tier.backup_keep_days", row.backup_keep_days)?,
            encryption: parsed("tier.backup_encryption", &row.backup_encryption)?,
        })
    })
    .collect()
}

/// What is kept for a time that is over: exports and last backups of purged tenants, and backups by
/// schedule, of which those go too of which a tenant has newer ones than its tier keeps; never the newest
/// backup of a tenant that can be restored, and none that a new tenant is being made of. Besides, what an
/// operation could not remove. A tenant of which a backup could not be removed rests for an hour, or as long as
/// that has been so, a day at most.
pub(crate) async fn over(
    connection: &mut PgConnection,
    limit: i64,
) -> Result<Vec<BackupId>, sqlx::Error> {
    let ids = sqlx::query_scalar!(
        r#"
        with ranked as (
            select backup.id, backup.tenant_id, backup.expires_at, tier.backup_keep,
                row_number() over (
                    partition by backup.tenant_id order by backup.id desc
                ) as place,
                exists (select from registry.backup newer
                    where newer.tenant_id = backup.tenant_id and newer.state = 'ready'
                        and newer.kind in ('manual', 'scheduled') and newer.id > backup.id
                ) as has_newer
            from registry.backup
            join registry.tenant on tenant.id = backup.tenant_id
            join registry.tier on tier.name = tenant.tier
            where backup.kind = 'scheduled' and backup.state in ('ready', 'corrupt')
        ), over as (
            select id, tenant_id from ranked
            where has_newer and (expires_at < now() or place > backup_keep)
            union all
            select id, tenant_id from registry.backup
            where kind in ('export', 'final') and state in ('ready', 'corrupt')
                and expires_at < now()
            union all
            select id, tenant_id from registry.backup where state = 'deleting'
        ), failed as (
            select tenant_id, max(finished_at) as at,
                least(max(finished_at) - min(finished_at), interval '1 day') as rest
            from registry.operation
            where kind = 'forget_backup' and state = 'undone'
                and finished_at > now() - interval '3 days'
            group by tenant_id
        )
        select over.id as "id!" from over
        where not exists (select from registry.operation
            where operation.state in ('running', 'unwinding', 'stuck')
                and (operation.tenant_id = over.tenant_id
                    or operation.kind = 'clone' and operation.plan ->> 'backup'
                        = 'bak_' || replace(over.id::text, '-', '')))
            and not exists (select from failed
                where failed.tenant_id = over.tenant_id
                    and failed.at > now() - greatest(failed.rest, interval '1 hour'))
        order by over.id limit $1
        "#,
        limit,
    )
    .fetch_all(connection)
    .await?;
    Ok(ids.into_iter().map(BackupId::from_uuid).collect())
}
