//! What a run asks first, for callers that send it along with a question of their own.
//!
//! Deliberately without a connection: who opens one knows what else its first message is to ask.
//! Invariant: a history counts only when it was read under the lock.

use contract::SchemaOwner;
use refinery_core::Migration;
use sqlx::PgConnection;
use sqlx::postgres::PgRow;

use super::{Lock, MigrateError, RunLimits, history, lock, settings};

/// The lock of a database and, where its schema is known to be there, the history of an owner.
#[derive(Debug, Clone, Copy)]
pub struct Opening<'a> {
    /// Whose history, if anybody's.
    pub owner: Option<&'a SchemaOwner>,
    /// How long the statements of the run may take.
    pub limits: RunLimits,
}

impl Opening<'_> {
    /// Statements that give the rows which [`Opening::read`] takes.
    #[must_use]
    pub fn statements(&self) -> String {
        let attempt = Lock::attempt();
        let Some(owner) = self.owner else {
            return attempt;
        };
        format!(
            "{attempt}; {} {}",
            settings(self.limits),
            history::query(owner)
        )
    }

    /// What the statements gave.
    ///
    /// # Errors
    /// The rows are of something else.
    pub fn read(&self, rows: &[PgRow]) -> Result<Opened, sqlx::Error> {
        let (first, history) = rows.split_first().ok_or(sqlx::Error::RowNotFound)?;
        let lock = Lock::read(first)?;
        let applied = match (lock, self.owner) {
            (Lock::Held, Some(_)) => Some(history::parse(history)?),
            _ => None,
        };
        Ok(Opened { lock, applied })
    }

    /// Whether the statements were refused because the owner has no history here after all.
    #[must_use]
    pub fn found_no_history(&self, error: &sqlx::Error) -> bool {
        self.owner.is_some() && history::is_missing(error)
    }
}

/// What a run knows before it begins.
#[derive(Debug)]
pub struct Opened {
    lock: Lock,
    applied: Option<Vec<Migration>>,
}

/// What has been applied of an owner's files, as of now.
#[derive(Debug)]
pub struct Applied(pub(super) Vec<Migration>);

impl Opened {
    /// Waits for the lock where the session does not have it; gives the history, where it was read
    /// under it.
    ///
    /// # Errors
    /// Another session has the lock for longer than `wait`.
    pub async fn locked(
        self,
        connection: &mut PgConnection,
        wait: std::time::Duration,
    ) -> Result<Option<Applied>, MigrateError> {
        match self.lock {
            Lock::Held => Ok(self.applied.map(Applied)),
            Lock::Busy => lock(connection, wait).await.map(|()| None),
        }
    }
}
