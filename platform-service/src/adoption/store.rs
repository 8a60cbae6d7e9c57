//! The SQL of adoptions in the registry.
//!
//! Deliberately one question. Invariant: whoever asks holds the cluster's row, so the answer is true
//! until the transaction ends.

use contract::ClusterName;
use sqlx::PgConnection;

use crate::operations::OperationKind;

/// Whether an operation that is not over adopts this database.
pub(super) async fn is_being_adopted(
    connection: &mut PgConnection,
    cluster: &ClusterName,
    oid: u32,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select exists (
               select from registry.operation
               where kind = $1 and state in ('running', 'unwinding', 'stuck')
                   and plan ->> 'cluster' = $2 and plan #>> '{found,oid}' = $3
           ) as "adopted!""#,
        OperationKind::Adopt.as_str(),
        cluster.as_str(),
        oid.to_string(),
    )
    .fetch_one(connection)
    .await
}
