//! The SQL of a cluster's removal: what is on it still, and how the registry forgets it.
//!
//! Deliberately deletes no rows of other parts of the registry: each part forgets its own. Invariant: what
//! is found under [`lock`] is all that there can be until the transaction ends.

use contract::{ClusterName, OperationId};
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::{ClusterRow, find};
use crate::clusters::remove::{Left, LeftOperation, Several};
use crate::operations::OperationState;
use crate::registry::parsed;

/// Things of each sort that are named.
const NAMED: i64 = 5;

/// A cluster on which nothing can be placed until the transaction ends.
pub(in crate::clusters) async fn lock(
    connection: &mut PgConnection,
    name: &ClusterName,
) -> Result<Option<ClusterRow>, sqlx::Error> {
    sqlx::query!(
        r#"select name as "name!" from registry.cluster where name = $1 for update"#,
        name.as_str(),
    )
    .fetch_optional(&mut *connection)
    .await?;
    // A statement of its own: one that waited for the lock would see what was there before.
    find(connection, name).await
}

/// What is on a cluster and keeps it from being removed.
pub(in crate::clusters) async fn left(
    connection: &mut PgConnection,
    cluster: &ClusterName,
) -> Result<Left, sqlx::Error> {
    Ok(Left {
        tenants: tenants(&mut *connection, cluster, Life::Living).await?,
        deleted: tenants(&mut *connection, cluster, Life::Deleted).await?,
        kept: kept(&mut *connection, cluster).await?,
        operations: operations(connection, cluster).await?,
    })
}

/// Which tenants are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Living,
    /// Deleted, and not purged.
    Deleted,
}

async fn tenants(
    connection: &mut PgConnection,
    cluster: &ClusterName,
    life: Life,
) -> Result<Several, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select id, count(*) over () as "all!" from registry.tenant
           where cluster = $1 and (status = 'deleted') = $2 and purged_at is null
           order by id limit $3"#,
        cluster.as_str(),
        life == Life::Deleted,
        NAMED,
    )
    .fetch_all(connection)
    .await?;
    Ok(Several {
        all: rows.first().map_or(0, |row| row.all.unsigned_abs()),
        named: rows.into_iter().map(|row| row.id).collect(),
    })
}

/// The first to go first; when the last one goes, as far as that is known.
async fn kept(
    connection: &mut PgConnection,
    cluster: &ClusterName,
) -> Result<(Several, Option<OffsetDateTime>), sqlx::Error> {
    let rows = sqlx::query!(
        r#"select name, count(*) over () as "all!", max(drop_after) over () as last
           from registry.kept_database where cluster = $1 order by drop_after, name limit $2"#,
        cluster.as_str(),
        NAMED,
    )
    .fetch_all(connection)
    .await?;
    let last = rows.first().and_then(|row| row.last);
    let several = Several {
        all: rows.first().map_or(0, |row| row.all.unsigned_abs()),
        named: rows.into_iter().map(|row| row.name).collect(),
    };
    Ok((several, last))
}

/// The live operations on a cluster, on a tenant there, or that have chosen it.
async fn operations(
    connection: &mut PgConnection,
    cluster: &ClusterName,
) -> Result<Vec<LeftOperation>, sqlx::Error> {
    let rows = sqlx::query!(
        "select id, kind, state from registry.operation
         where state in ('running', 'unwinding', 'stuck')
             and (cluster = $1 or $1 in (plan ->> 'cluster', plan ->> 'from', plan ->> 'to')
                 or tenant_id in (select id from registry.tenant where cluster = $1))
         order by id limit $2",
        cluster.as_str(),
        NAMED,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(LeftOperation {
                id: OperationId::from_uuid(row.id),
                kind: parsed("operation.kind", &row.kind)?,
                is_stuck: parsed::<OperationState>("operation.state", &row.state)?
                    == OperationState::Stuck,
            })
        })
        .collect()
}

/// Forgets a cluster, with the shares that replicas have of it. It must be locked.
pub(in crate::clusters) async fn delete(
    connection: &mut PgConnection,
    cluster: &ClusterName,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "delete from registry.cluster where name = $1",
        cluster.as_str(),
    )
    .execute(connection)
    .await?;
    Ok(())
}
