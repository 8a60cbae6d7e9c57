//! The SQL of a purge: what there is of a tenant, and how the registry forgets it.
//!
//! Deliberately keeps the row with its id and slug: a tombstone, so that nobody gets them. Invariant:
//! after [`tombstone`] no column and no other table holds what came from the tenant's people.

use std::time::Duration;

use contract::operator::tenant::{CertificateId, CertificateKey, CertificateView, FinalBackup};
use contract::{ClusterName, TenantId, TenantStatus};
use sqlx::PgConnection;

use crate::feed::Unannounced;
use crate::operations::MOST_UNDO_TRIES;
use crate::operations::purge::{Doomed, DoomedObject};
use crate::registry::{interval, number, parsed};
use crate::tenants::certificate::Signed;

/// Says that nothing brings a tenant back any more.
///
/// # Errors
/// [`sqlx::Error::RowNotFound`] where it is not deleted.
pub(crate) async fn condemn(
    connection: &mut PgConnection,
    id: &TenantId,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update registry.tenant set purge_after = null, updated_at = now()
         where id = $1 and status = $2 returning id",
        id.as_str(),
        TenantStatus::Deleted.as_str(),
    )
    .fetch_one(connection)
    .await?;
    Ok(())
}

/// The databases of a deleted tenant: its own and what was left of restores and moves.
pub(crate) async fn databases(
    connection: &mut PgConnection,
    id: &TenantId,
) -> Result<Vec<Doomed>, sqlx::Error> {
    sqlx::query!(
        r#"select cluster as "cluster!", kept_name as "name!" from registry.tenant
           where id = $1 and kept_name is not null
           union
           select cluster, name from registry.kept_database where tenant_id = $1
           order by 1, 2"#,
        id.as_str(),
    )
    .fetch_all(connection)
    .await?
    .into_iter()
    .map(|row| {
        Ok(Doomed {
            cluster: parsed("tenant.cluster", &row.cluster)?,
            name: row.name,
        })
    })
    .collect()
}

/// Forgets what was left of restores and moves.
pub(crate) async fn forget_databases(
    connection: &mut PgConnection,
    id: &TenantId,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "delete from registry.kept_database where tenant_id = $1",
        id.as_str()
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The recorded objects of a tenant but for its last backup.
pub(crate) async fn objects(
    connection: &mut PgConnection,
    id: &TenantId,
) -> Result<Vec<DoomedObject>, sqlx::Error> {
    sqlx::query!(
        r#"select object, coalesce(size_bytes, 0) as "size_bytes!", encode(sha256, 'hex') as sha256
           from registry.backup where tenant_id = $1 and kind <> 'final' order by object"#,
        id.as_str(),
    )
    .fetch_all(connection)
    .await?
    .into_iter()
    .map(|row| {
        Ok(DoomedObject {
            path: row.object,
            size_bytes: number("backup.size_bytes", row.size_bytes)?,
            sha256: row.sha256,
        })
    })
    .collect()
}

/// Destroys the key that a tenant's encrypted objects are read with.
pub(crate) async fn destroy_key(
    connection: &mut PgConnection,
    id: &TenantId,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "delete from registry.tenant_data_key where tenant_id = $1",
        id.as_str()
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Forgets the objects of a tenant but for its last backup; and its key, which a purge that an earlier
/// release began has not destroyed yet.
pub(crate) async fn forget_objects(
    connection: &mut PgConnection,
    id: &TenantId,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "with key as (delete from registry.tenant_data_key where tenant_id = $1)
         delete from registry.backup where tenant_id = $1 and kind <> 'final'",
        id.as_str()
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Records a certificate; said again it changes nothing.
pub(crate) async fn certify(
    connection: &mut PgConnection,
    id: &TenantId,
    signed: &Signed,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into registry.deletion_certificate (id, tenant_id, body, signature, public_key)
         values ($1, $2, $3, $4, $5) on conflict (tenant_id) do nothing",
        signed.id.uuid(),
        id.as_str(),
        signed.body,
        signed.signature,
        signed.public_key,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Leaves a tombstone.
pub(crate) async fn tombstone(
    connection: &mut PgConnection,
    id: &TenantId,
) -> Result<Unannounced, sqlx::Error> {
    let generation = sqlx::query_scalar!(
        "with failures as (
             delete from registry.migration_failure where tenant_id = $1
         ), rolled_out as (
             update registry.rollout_tenant set message = null, statement = null
             where tenant_id = $1
         ), rows as (
             update registry.bulk_row set request = '{}' where tenant_id = $1
         )
         update registry.tenant
         set company = '', contact_email = '', credentials = '{}', overrides = '{}', labels = '{}',
             suspended_reason = null, suspended_until = null, kept_name = null, held_until = null,
             final_backup = 'none',
             purge_after = null, purged_at = now(), generation = generation + 1, updated_at = now()
         where id = $1 returning generation",
        id.as_str(),
    )
    .fetch_one(connection)
    .await?;
    Unannounced::one(id, generation)
}

/// The certificate of a tenant's deletion.
pub(crate) async fn certificate(
    connection: &mut PgConnection,
    id: &TenantId,
) -> Result<Option<CertificateView>, sqlx::Error> {
    let found = sqlx::query!(
        "select id, tenant_id, issued_at, body, signature, public_key
         from registry.deletion_certificate where tenant_id = $1",
        id.as_str(),
    )
    .fetch_optional(connection)
    .await?;
    found
        .map(|row| {
            Ok(CertificateView {
                id: CertificateId::from_uuid(row.id),
                tenant: parsed("deletion_certificate.tenant_id", &row.tenant_id)?,
                issued_at: row.issued_at,
                body: row.body,
                signature: row.signature,
                public_key: row.public_key,
            })
        })
        .transpose()
}

/// The keys that there are certificates of: one look into an index for each.
pub(crate) async fn certificate_keys(
    connection: &mut PgConnection,
) -> Result<Vec<CertificateKey>, sqlx::Error> {
    let keys = sqlx::query_scalar!(
        r#"with recursive known (public_key) as (
             select min(public_key) from registry.deletion_certificate
             union all
             select (select min(next.public_key) from registry.deletion_certificate next
                     where next.public_key > known.public_key)
             from known where known.public_key is not null
         )
         select public_key as "public_key!" from known where public_key is not null"#
    )
    .fetch_all(connection)
    .await?;
    let key = |x| CertificateKey {
        kty: "OKP".to_owned(),
        crv: "Ed25519".to_owned(),
        x,
    };
    Ok(keys.into_iter().map(key).collect())
}

/// Locks a tenant's row where it is deleted, its retention is over, and nobody has it; gives what its purge is
/// to keep.
pub(crate) async fn lock_where_due(
    connection: &mut PgConnection,
    id: &TenantId,
) -> Result<Option<FinalBackup>, sqlx::Error> {
    let locked = sqlx::query_scalar!(
        "select final_backup from registry.tenant
         where id = $1 and purge_after <= now() and purged_at is null and status = $2
         for no key update skip locked",
        id.as_str(),
        TenantStatus::Deleted.as_str(),
    )
    .fetch_optional(connection)
    .await?;
    locked
        .map(|word| parsed("tenant.final_backup", &word))
        .transpose()
}

/// Deleted tenants whose retention is over and of which nothing is being done, as many as may be
/// purged besides those that are being purged now. One whose purge was undone is left out for `rest`, or as long
/// as that has been so, a day at most, and those of its cluster come after all others meanwhile: what always fails holds nobody up. Nor does a
/// purge that waits for a server which has been away for long.
pub(crate) async fn due(
    connection: &mut PgConnection,
    at_once: u32,
    rest: Duration,
) -> Result<Vec<TenantId>, sqlx::Error> {
    sqlx::query_scalar!(
        "with failed as materialized (
             select tenant.id, tenant.cluster, max(operation.finished_at) as at
             from registry.operation join registry.tenant on tenant.id = operation.tenant_id
             where operation.kind = 'purge' and operation.state = 'undone'
                 and operation.finished_at > now() - interval '3 days'
             group by tenant.id, tenant.cluster
             having max(operation.finished_at) > now() - greatest($3::interval, least(
                 max(operation.finished_at) - min(operation.finished_at), interval '1 day'))
         ), troubled as (
             select cluster, max(at) as at from failed group by cluster
         ), read as (
             select plan ->> 'source' as id from registry.operation
             where kind = 'clone' and state in ('running', 'unwinding', 'stuck')
                 and plan ->> 'backup' is not null
         )
         select tenant.id from registry.tenant
         left join troubled on troubled.cluster = tenant.cluster
         where purge_after <= now() and purged_at is null and status = $1
             and tenant.id not in (select id from failed)
             and not exists (select from read where read.id = tenant.id)
             and not exists (
                 select from registry.operation
                 where tenant_id = tenant.id and state in ('running', 'unwinding', 'stuck'))
         order by troubled.at nulls first, purge_after
         limit greatest(0, $2 - (
             select count(*) from registry.operation
             where kind = 'purge' and state in ('running', 'unwinding') and attempts < $4
                 and not exists (select from read where read.id = operation.tenant_id)))",
        TenantStatus::Deleted.as_str(),
        i64::from(at_once),
        interval(rest)?,
        MOST_UNDO_TRIES,
    )
    .fetch_all(connection)
    .await?
    .iter()
    .map(|id| parsed("tenant.id", id))
    .collect()
}

/// Leaves the tombstones of a cluster without a place.
pub(crate) async fn forget_cluster(
    connection: &mut PgConnection,
    cluster: &ClusterName,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update registry.tenant set cluster = null where cluster = $1 and purged_at is not null",
        cluster.as_str(),
    )
    .execute(connection)
    .await?;
    Ok(())
}
