//! Which tenants a drained cluster still has: SQL.
//!
//! Deliberately those that live: what is deleted or put away goes by its own time. Invariant: a tenant
//! whose move failed is not tried again by the same drain.

use contract::{ClusterName, OperationId, TenantId};
use sqlx::PgConnection;

use crate::registry::parsed;

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
