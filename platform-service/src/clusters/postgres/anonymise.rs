//! Making a copy of a tenant's data one that others may see.
//!
//! Deliberately runs an operator's statements as they are, as the owner of the schemas. Invariant: all
//! of it is one transaction.

use sqlx::{AssertSqlSafe, PgConnection};

use super::sign_ins;

/// Why a copy is not anonymised.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AnonymiseError {
    /// A statement was refused, or the connection broke.
    #[error("the statements were not run")]
    Database(#[from] sqlx::Error),
    /// The statements ended the transaction that they run in.
    #[error("the statements end their transaction")]
    TransactionEnded,
}

/// Ends every sign-in that was copied, then runs the statements. Needs a connection to that database as
/// the owner of its schemas, to be closed afterwards.
pub(crate) async fn run(
    connection: &mut PgConnection,
    statements: Option<&str>,
) -> Result<(), AnonymiseError> {
    sqlx::raw_sql("set statement_timeout = '10min'; begin")
        .execute(&mut *connection)
        .await?;
    let begun = transaction(connection).await?;
    sign_ins::end(&mut *connection).await?;
    if let Some(statements) = statements {
        sqlx::raw_sql(AssertSqlSafe(statements))
            .execute(&mut *connection)
            .await?;
    }
    // A rollback among the statements would leave the data as it was, and nobody would know.
    if transaction(connection).await? != begun {
        return Err(AnonymiseError::TransactionEnded);
    }
    sqlx::raw_sql("commit").execute(connection).await?;
    Ok(())
}

/// Which transaction this is.
async fn transaction(connection: &mut PgConnection) -> Result<String, sqlx::Error> {
    sqlx::query_scalar("select pg_catalog.pg_current_xact_id()::text")
        .fetch_one(connection)
        .await
}
