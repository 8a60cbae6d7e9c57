//! A run in one message, where a schema's version is known beforehand: a guard, the missing migrations,
//! their lines of the history, commit.
//!
//! Deliberately only the usual case: what stands in its way is left for [`super::run`] to find out and to
//! tell. Invariant: nothing is changed unless the caller's condition holds, the session has the lock, and
//! the history is the beginning of the files.

use contract::SchemaOwner;
use refinery_core::Migration;
use sqlx::{AssertSqlSafe, PgConnection};

use super::{LOCK, NO_TRANSACTION, RunLimits, history_table, settings, step};

/// How a guard refuses: what it divides by is zero.
const DIVISION_BY_ZERO: &str = "22012";

/// What brings a schema from one known version to the newest one.
#[derive(Debug)]
pub struct QuickRun<'a> {
    owner: &'a SchemaOwner,
    applied: Vec<&'a Migration>,
    missing: Vec<&'a Migration>,
    /// Of the last one that is missing.
    newest: i32,
    limits: RunLimits,
}

/// What came of a quick run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quick {
    /// The schema has this version now.
    Reached(i32),
    /// The condition does not hold, somebody else has the lock, or the history is another one; or a
    /// migration divides by zero, which looks the same.
    Refused,
    /// A migration failed.
    Failed,
}

impl<'a> QuickRun<'a> {
    /// From version `at` through these files; `None` where that is not the usual case.
    #[must_use]
    pub fn new(
        owner: &'a SchemaOwner,
        migrations: &'a [Migration],
        at: i32,
        limits: RunLimits,
    ) -> Option<Self> {
        let mut files: Vec<&Migration> = migrations.iter().collect();
        files.sort();
        let split = files.iter().position(|file| file.version() > at)?;
        let missing = files.split_off(split);
        let is_known = files.last().is_some_and(|last| last.version() == at);
        let in_transaction = missing.iter().all(|file| {
            file.sql()
                .is_some_and(|sql| !sql.starts_with(NO_TRANSACTION))
        });
        let newest = missing.last()?.version();
        (is_known && in_transaction).then_some(Self {
            owner,
            applied: files,
            missing,
            newest,
            limits,
        })
    }

    /// Runs it under a condition in SQL, and takes the lock; where it does not get through, nothing but the
    /// lock is changed.
    ///
    /// # Errors
    /// The connection is of no use any more.
    pub async fn run(
        &self,
        connection: &mut PgConnection,
        condition: &str,
    ) -> Result<Quick, sqlx::Error> {
        let message = self.message(condition)?;
        match sqlx::raw_sql(AssertSqlSafe(message))
            .execute(&mut *connection)
            .await
        {
            Ok(_) => Ok(Quick::Reached(self.newest)),
            Err(sqlx::Error::Database(error)) => {
                sqlx::raw_sql("rollback").execute(connection).await?;
                Ok(match error.code().as_deref() {
                    Some(DIVISION_BY_ZERO) => Quick::Refused,
                    _ => Quick::Failed,
                })
            }
            Err(error) => Err(error),
        }
    }

    fn message(&self, condition: &str) -> Result<String, sqlx::Error> {
        let history = history_table(self.owner);
        let lines: Vec<String> = self
            .applied
            .iter()
            .map(|file| format!("{}:{}", file.version(), file.checksum()))
            .collect();
        // What is refused by dividing by zero ends the transaction; null would divide without a word, and
        // an empty history gives null. Two statements, because the history is to be read after the lock
        // was taken.
        let mut message = format!(
            "{}begin;
             select 1 / coalesce(({condition}) and {LOCK}, false)::int;
             select 1 / coalesce(
                 string_agg(version || ':' || checksum, ',' order by version) = '{}', false)::int
                 from {history};\n",
            settings(self.limits),
            lines.join(","),
        );
        for migration in &self.missing {
            // The line break ends a comment, the semicolon a statement.
            message += migration.sql().unwrap_or_default();
            message += "\n;";
            message += &step::note(&history, migration)?;
            message += ";\n";
        }
        message += "commit";
        Ok(message)
    }
}
