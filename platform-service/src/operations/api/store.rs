//! The SQL that reads an operation's log to show it.
//!
//! Deliberately writes nothing. Invariant: lines come in the order in which they were written.

use contract::OperationId;
use contract::operator::operation::LogLine;
use sqlx::PgConnection;

/// What happened to an operation, oldest first.
pub(super) async fn log(
    connection: &mut PgConnection,
    id: OperationId,
) -> Result<Vec<LogLine>, sqlx::Error> {
    let rows = sqlx::query!(
        "select step, event, detail, at from registry.operation_step
         where operation_id = $1 order by number",
        id.uuid(),
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| LogLine {
            step: row.step,
            event: row.event,
            detail: row.detail,
            at: row.at,
        })
        .collect())
}
