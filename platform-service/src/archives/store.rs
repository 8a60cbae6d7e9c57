//! The SQL of uploaded archives: which of them are being imported.
//!
//! Deliberately nothing of the objects themselves. Invariant: what an operation that is not over names is
//! in use, whatever its age.

use contract::OperationId;
use sqlx::PgConnection;

/// Whether an import that is not over needs an uploaded object; `but` is not looked at.
pub(crate) async fn is_needed(
    connection: &mut PgConnection,
    object: &str,
    but: Option<OperationId>,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select exists (select from registry.operation
            where kind = 'import' and state in ('running', 'unwinding', 'stuck')
                and plan ->> 'object' = $1 and ($2::uuid is null or id <> $2)) as "needed!""#,
        object,
        but.map(OperationId::uuid),
    )
    .fetch_one(connection)
    .await
}
