//! SQL of what the registry forgets and counts.
//!
//! Deliberately keeps the audit, which says who did what for ever. Invariant: only operations that
//! are over are touched.

use std::time::Duration;

use contract::TenantStatus;
use sqlx::PgConnection;

use crate::operations::OperationState;
use crate::registry::{interval, parsed};

/// Forgets the keys, request digests and poll tokens of operations that are over for this long.
pub(super) async fn forget_idempotency_keys(
    connection: &mut PgConnection,
    retention: Duration,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update registry.operation
         set idempotency_key = null, request_digest = null, poll_digest = null
         where finished_at < now() - $1::interval
             and (idempotency_key is not null or poll_digest is not null)",
        interval(retention)?,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Deletes operations that are over for this long, with their logs, at most `most` of them. What an
/// undone one has left on a server is known as such by its row.
pub(super) async fn prune_operations(
    connection: &mut PgConnection,
    retention: Duration,
    most: i64,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "delete from registry.operation where id in (
             select id from registry.operation
             where finished_at < now() - $1::interval
                 and id not in (select operation_id from registry.kept_database)
             order by finished_at limit $2
             for update skip locked)",
        interval(retention)?,
        most,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// How many operations are not over, or stuck; states without any are counted as none.
pub(super) async fn live_operations(
    connection: &mut PgConnection,
) -> Result<Vec<(OperationState, i64)>, sqlx::Error> {
    sqlx::query!(
        r#"
        select state.name as "name!", count(operation.id) as "number!"
        from unnest('{running, unwinding, stuck}'::text[]) as state (name)
        left join registry.operation on operation.state = state.name
            and operation.state in ('running', 'unwinding', 'stuck')
        group by state.name
        "#
    )
    .fetch_all(connection)
    .await?
    .into_iter()
    .map(|row| Ok((parsed("operation.state", &row.name)?, row.number)))
    .collect()
}

/// How many tenants there are of each status.
pub(super) async fn tenants(
    connection: &mut PgConnection,
) -> Result<Vec<(TenantStatus, i64)>, sqlx::Error> {
    let statuses = TenantStatus::ALL.map(|status| status.as_str().to_owned());
    sqlx::query!(
        r#"
        select status.name as "name!", count(tenant.id) as "number!"
        from unnest($1::text[]) as status (name)
        left join registry.tenant on tenant.status = status.name
        group by status.name
        "#,
        &statuses,
    )
    .fetch_all(connection)
    .await?
    .into_iter()
    .map(|row| Ok((parsed("tenant.status", &row.name)?, row.number)))
    .collect()
}

/// How many active tenants have an older schema than the newest.
pub(crate) async fn tenants_behind(connection: &mut PgConnection) -> Result<u64, sqlx::Error> {
    let behind = sqlx::query_scalar!(
        r#"
        select count(*) as "behind!" from registry.tenant
        where status = 'active' and exists (
            select from registry.schema_owner owner
            where coalesce((tenant.schema_versions ->> owner.name)::integer, 0) < owner.newest)
        "#
    )
    .fetch_one(connection)
    .await?;
    Ok(behind.unsigned_abs())
}

/// How many ready databases each cluster has.
pub(super) async fn ready_stock(
    connection: &mut PgConnection,
) -> Result<Vec<(String, i64)>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select cluster.name, count(stock.number) as "ready!"
           from registry.cluster
           left join registry.stock on stock.cluster = cluster.name and stock.status = 'ready'
           group by cluster.name"#
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|row| (row.name, row.ready)).collect())
}
