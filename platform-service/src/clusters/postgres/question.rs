//! One statement that reads, put by an operator to one database.
//!
//! Deliberately accepts any text and does not parse it: the server is the wall. Invariants: it is prepared,
//! so it is one statement; it stands inside of a `select`, in a transaction that reads, as a role that has
//! read rights alone; what was read before it failed is kept.

use std::time::Duration;

use futures::TryStreamExt as _;
use sqlx::{AssertSqlSafe, PgConnection, Row as _};

use super::run;

/// How long a statement waits for a lock: questions give way.
const LOCK_TIMEOUT: &str = "1s";

/// How much one database may answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) timeout: Duration,
    pub(crate) rows: usize,
    pub(crate) bytes: usize,
}

/// Whether there is more than the bounds let through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    All,
    MoreRows,
    MoreBytes,
}

/// Asks and keeps each row as the text of a JSON object, with its columns in their order.
pub(crate) async fn ask(
    connection: &mut PgConnection,
    statement: &str,
    bounds: Bounds,
    rows: &mut Vec<String>,
) -> Result<Extent, sqlx::Error> {
    let begin = format!(
        "begin read only; set local statement_timeout = {}; set local lock_timeout = '{LOCK_TIMEOUT}'",
        bounds.timeout.as_millis().max(1)
    );
    run(&mut *connection, begin).await?;
    // A comment at the end of it must not swallow the rest.
    let wrapped = format!(
        "select row_to_json(answer)::text from (\n{statement}\n) answer limit {}",
        bounds.rows.saturating_add(1)
    );
    let mut answer = sqlx::query(AssertSqlSafe(wrapped))
        .persistent(false)
        .fetch(&mut *connection);
    let mut bytes = 0;
    while let Some(row) = answer.try_next().await? {
        let row: String = row.try_get(0)?;
        bytes += row.len();
        if rows.len() == bounds.rows {
            return Ok(Extent::MoreRows);
        }
        if bytes > bounds.bytes {
            return Ok(Extent::MoreBytes);
        }
        rows.push(row);
    }
    Ok(Extent::All)
}
