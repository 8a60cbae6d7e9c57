//! Databases that an operation made or left beside the tenants' own: the SQL of whose they are, and until
//! when.
//!
//! Deliberately makes and drops none of them: this is only what the registry knows. Invariant: the row is
//! there before the database is, so that none is ever unknown.

use std::time::Duration;

use contract::{ClusterName, OperationId, TenantId};
use sqlx::PgConnection;

use crate::clusters::postgres::Name;
use crate::registry::interval;

/// Says that a database is an operation's, which drops it or keeps it in the end.
pub(crate) async fn expect(
    connection: &mut PgConnection,
    (cluster, name): (&ClusterName, &Name),
    tenant: &TenantId,
    operation: OperationId,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into registry.kept_database (cluster, name, tenant_id, operation_id)
         values ($1, $2, $3, $4)
         on conflict (cluster, name) do update
             set tenant_id = excluded.tenant_id, operation_id = excluded.operation_id,
                 drop_after = null",
        cluster.as_str(),
        name.to_string(),
        tenant.as_str(),
        operation.uuid(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Says that a database is kept for so long and dropped then.
pub(crate) async fn keep(
    connection: &mut PgConnection,
    (cluster, name): (&ClusterName, &Name),
    tenant: &TenantId,
    operation: OperationId,
    keep_for: Duration,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into registry.kept_database (cluster, name, tenant_id, operation_id, drop_after)
         values ($1, $2, $3, $4, now() + $5::interval)
         on conflict (cluster, name) do update
             set tenant_id = excluded.tenant_id, operation_id = excluded.operation_id,
                 drop_after = excluded.drop_after",
        cluster.as_str(),
        name.to_string(),
        tenant.as_str(),
        operation.uuid(),
        interval(keep_for)?,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Says that a database may be dropped as soon as that is possible, by the sweep.
pub(crate) async fn release(
    connection: &mut PgConnection,
    (cluster, name): (&ClusterName, &Name),
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update registry.kept_database set drop_after = now() where cluster = $1 and name = $2",
        cluster.as_str(),
        name.to_string(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Says that a database is no more, or is a tenant's own now.
pub(crate) async fn forget(
    connection: &mut PgConnection,
    (cluster, name): (&ClusterName, &Name),
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "delete from registry.kept_database where cluster = $1 and name = $2",
        cluster.as_str(),
        name.to_string(),
    )
    .execute(connection)
    .await?;
    Ok(())
}
