//! Kept databases whose time is over: SQL.
//!
//! Deliberately one at a time after the list: what was due may be kept again meanwhile. Invariant: a database that an
//! operation works with is never due.

use contract::ClusterName;
use sqlx::PgConnection;
use time::OffsetDateTime;

use crate::clusters::postgres::Name;
use crate::registry::parsed;

/// A database whose time is over.
#[derive(Debug)]
pub(in crate::sweep) struct DueDatabase {
    pub(in crate::sweep) cluster: ClusterName,
    pub(in crate::sweep) name: Name,
    drop_after: OffsetDateTime,
}

/// Kept databases whose time is over, of tenants that no operation works on: up to `per_cluster` of each,
/// the oldest first, and the clusters in turns.
pub(in crate::sweep) async fn due_databases(
    connection: &mut PgConnection,
    per_cluster: i64,
) -> Result<Vec<DueDatabase>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        select cluster, name, drop_after as "drop_after!"
        from (
            select cluster, name, drop_after,
                row_number() over (partition by cluster order by drop_after, name) as place
            from registry.kept_database
            where drop_after <= now() and not exists (
                select from registry.operation
                where operation.tenant_id = kept_database.tenant_id
                    and state in ('running', 'unwinding', 'stuck'))
        ) due
        where place <= $1
        order by place, drop_after
        "#,
        per_cluster,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(DueDatabase {
                cluster: parsed("kept_database.cluster", &row.cluster)?,
                name: parsed("kept_database.name", &row.name)?,
                drop_after: row.drop_after,
            })
        })
        .collect()
}

/// Whether a kept database may still be dropped: a new operation of its tenant may use it by now.
pub(in crate::sweep) async fn is_due(
    connection: &mut PgConnection,
    kept: &DueDatabase,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        select exists (
            select from registry.kept_database
            where cluster = $1 and name = $2 and drop_after = $3 and not exists (
                select from registry.operation
                where operation.tenant_id = kept_database.tenant_id
                    and state in ('running', 'unwinding', 'stuck'))) as "due!"
        "#,
        kept.cluster.as_str(),
        kept.name.to_string(),
        kept.drop_after,
    )
    .fetch_one(connection)
    .await
}

/// Forgets a kept database that is dropped, unless it was kept anew meanwhile.
pub(in crate::sweep) async fn forget_due(
    connection: &mut PgConnection,
    kept: &DueDatabase,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "delete from registry.kept_database where cluster = $1 and name = $2 and drop_after = $3",
        kept.cluster.as_str(),
        kept.name.to_string(),
        kept.drop_after,
    )
    .execute(connection)
    .await?;
    Ok(())
}
