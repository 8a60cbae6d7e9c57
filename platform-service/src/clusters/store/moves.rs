//! The SQL of a drain: that a cluster is being emptied, and what is still on it.
//!
//! Deliberately moves nothing. Tenants that live have to leave; databases of deleted tenants, and what
//! others left behind, go when their own time is over, and are only listed. Invariant: a tenant whose move
//! failed is not tried again by the same drain.

use contract::{ClusterName, OperationId, TenantId};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use time::OffsetDateTime;

use crate::registry::{number, parsed};

/// A tenant that is to leave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Leaver {
    pub(crate) tenant: TenantId,
    pub(crate) state: LeaverState,
}

/// Whether its move can begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LeaverState {
    /// Nothing is being done to it.
    Free,
    /// Something is, or it is being made.
    Busy,
    /// Its move by this drain failed, or an operation of it is stuck: why, in words.
    Failed(String),
}

/// A database on a cluster from which no tenant is served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeptDatabase {
    database: String,
    tenant: Option<TenantId>,
    /// `deleted`: of a tenant that can be restored; `copy`: what a move or a restore left.
    why: String,
    /// When it goes by itself; unknown while an operation has it.
    #[serde(with = "time::serde::rfc3339::option")]
    until: Option<OffsetDateTime>,
}

/// Marks a cluster as one that is being emptied.
pub(crate) async fn mark_draining(
    connection: &mut PgConnection,
    cluster: &ClusterName,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update registry.cluster set status = 'draining', updated_at = now() where name = $1",
        cluster.as_str(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The tenants that are on a cluster, in the order of their ids.
pub(crate) async fn leavers(
    connection: &mut PgConnection,
    cluster: &ClusterName,
    drain: OperationId,
) -> Result<Vec<Leaver>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        select tenant.id,
            tenant.status = 'provisioning' or exists (
                select from registry.operation
                where operation.tenant_id = tenant.id
                    and operation.state in ('running', 'unwinding')) as "is_busy!",
            failed.detail as "failed?"
        from registry.tenant
        left join lateral (
            select coalesce(operation.failure ->> 'detail', '') as detail
            from registry.operation
            where operation.tenant_id = tenant.id
                and (operation.state = 'stuck'
                     or operation.state = 'undone' and operation.parent_id = $2)
            order by operation.created_at desc limit 1
        ) failed on true
        where tenant.cluster = $1 and tenant.status <> 'deleted'
        order by tenant.id
        "#,
        cluster.as_str(),
        drain.uuid(),
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(Leaver {
                tenant: parsed("tenant.id", &row.id)?,
                state: match (row.failed, row.is_busy) {
                    (Some(why), _) => LeaverState::Failed(why),
                    (None, true) => LeaverState::Busy,
                    (None, false) => LeaverState::Free,
                },
            })
        })
        .collect()
}

/// The tenants on a cluster to which nothing is being done, in the order of their ids, each with the
/// number of its copy.
pub(crate) async fn settled(
    connection: &mut PgConnection,
    cluster: &ClusterName,
) -> Result<Vec<(String, u32)>, sqlx::Error> {
    let rows = sqlx::query!(
        "select tenant.id, tenant.copy
         from registry.tenant
         where tenant.cluster = $1 and tenant.status in ('active', 'suspended')
             and not exists (
                 select from registry.operation
                 where operation.tenant_id = tenant.id
                     and operation.state in ('running', 'unwinding', 'stuck'))
         order by tenant.id",
        cluster.as_str(),
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| Ok((row.id, number("tenant.copy", row.copy)?)))
        .collect()
}

/// The databases on a cluster from which no tenant is served: how many, and the first `most` of them.
pub(crate) async fn kept_databases(
    connection: &mut PgConnection,
    cluster: &ClusterName,
    most: i64,
) -> Result<(u64, Vec<KeptDatabase>), sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        select kept.name as "name!", kept.tenant as "tenant?", kept.why as "why!",
            kept.until as "until?", count(*) over () as "all!"
        from (
            select kept_name as name, id as tenant, 'deleted' as why, purge_after as until
            from registry.tenant
            where cluster = $1 and status = 'deleted' and purged_at is null
                and kept_name is not null
            union all
            select name, tenant_id, 'copy', drop_after from registry.kept_database
            where cluster = $1
        ) kept
        order by kept.why desc, kept.name limit $2
        "#,
        cluster.as_str(),
        most,
    )
    .fetch_all(connection)
    .await?;
    let all = rows.first().map_or(0, |row| row.all.unsigned_abs());
    let kept = rows.into_iter().map(|row| {
        Ok(KeptDatabase {
            database: row.name,
            tenant: row.tenant.map(|id| parsed("tenant.id", &id)).transpose()?,
            why: row.why,
            until: row.until,
        })
    });
    Ok((all, kept.collect::<Result<_, sqlx::Error>>()?))
}
