//! One migration in one message: begin, its statements, its line of the history, commit.
//!
//! Deliberately without knowledge of which one is next. Invariant: a migration and its line of the
//! history commit together, but for one that cannot run in a transaction: its line comes last.

use futures::TryStreamExt as _;
use refinery_core::Migration;
use sqlx::{AssertSqlSafe, PgConnection};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{MigrateError, NO_TRANSACTION, statements};

/// Characters of a failed statement that are told.
const STATEMENT_CHARS: usize = 300;

/// How the statements of a message went.
struct Sent {
    /// Statements that the server finished.
    finished: usize,
    outcome: Result<(), sqlx::Error>,
}

/// Runs a migration and notes it.
pub(super) async fn run(
    connection: &mut PgConnection,
    history: &str,
    migration: &Migration,
) -> Result<(), MigrateError> {
    let sql = statements_of(migration)?;
    let noted = note(history, migration)?;
    let in_transaction = !sql.starts_with(NO_TRANSACTION);
    let (before, message) = if in_transaction {
        // The line break ends a comment, the semicolon a statement.
        (1, format!("begin;\n{sql}\n;{noted};\ncommit"))
    } else {
        (0, sql.to_owned())
    };
    let sent = send(connection, &message).await;
    if let Err(error) = sent.outcome {
        if in_transaction {
            // The first error is the one to tell; a connection that cannot even roll back is closed
            // by the caller, which undoes the transaction as well.
            let _ = sqlx::raw_sql("rollback").execute(connection).await;
        }
        let statement = sent.finished.checked_sub(before);
        let statement = statement.and_then(|at| statements::nth(sql, at));
        return Err(failed(migration, statement, error));
    }
    if !in_transaction {
        let sent = send(connection, &noted).await;
        sent.outcome
            .map_err(|error| failed(migration, Some(&noted), error))?;
    }
    Ok(())
}

async fn send(connection: &mut PgConnection, message: &str) -> Sent {
    let mut finished = 0;
    let mut events = sqlx::raw_sql(AssertSqlSafe(message)).fetch_many(connection);
    loop {
        match events.try_next().await {
            Ok(Some(event)) => finished += usize::from(event.is_left()),
            Ok(None) => {
                return Sent {
                    finished,
                    outcome: Ok(()),
                };
            }
            Err(error) => {
                return Sent {
                    finished,
                    outcome: Err(error),
                };
            }
        }
    }
}

/// The statement that notes a migration in the history, as refinery writes it.
pub(super) fn note(history: &str, migration: &Migration) -> Result<String, sqlx::Error> {
    let now = OffsetDateTime::now_utc()
        .format(&Rfc3339)
        .map_err(|error| sqlx::Error::Encode(error.into()))?;
    let (version, name, checksum) = (migration.version(), migration.name(), migration.checksum());
    Ok(format!(
        "insert into {history} (version, name, applied_on, checksum)
         values ({version}, '{name}', '{now}', '{checksum}')"
    ))
}

/// The statements of a migration. Without them it would be noted as applied, and never run.
fn statements_of(migration: &Migration) -> Result<&str, MigrateError> {
    const NONE: &str = "it comes without its statements";
    migration.sql().ok_or_else(|| MigrateError::Failed {
        migration: migration.to_string(),
        sqlstate: None,
        message: NONE.to_owned(),
        statement: None,
        source: NONE.into(),
    })
}

fn failed(migration: &Migration, statement: Option<&str>, error: sqlx::Error) -> MigrateError {
    if MigrateError::is_the_servers(&error) {
        return MigrateError::Database(error);
    }
    let refused = error.as_database_error();
    let message = refused.map_or_else(|| error.to_string(), |r| r.message().to_owned());
    let statement = statement.filter(|_| refused.is_some()).map(|statement| {
        let words: Vec<&str> = statement.split_whitespace().collect();
        words.join(" ").chars().take(STATEMENT_CHARS).collect()
    });
    MigrateError::Failed {
        migration: migration.to_string(),
        sqlstate: refused.and_then(|r| r.code()).map(Into::into),
        message,
        statement,
        source: error.into(),
    }
}

#[cfg(test)]
mod tests;
