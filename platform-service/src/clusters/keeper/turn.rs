//! Whose turn it is to keep a cluster: a lock in the registry, which a session of a pool of its own has.
//!
//! Deliberately not of the pool that everything else works with: a round may last, and the rounds of all
//! clusters would leave nothing for what they do. Invariant: no session goes back with a lock; one of a round
//! that was broken off ends instead.

use contract::ClusterName;
use kit::db::Pool;
use sqlx::Postgres;
use sqlx::pool::PoolConnection;

use super::super::store::keeping::{self, Keeping};

/// The right to keep a cluster; dropped, it ends with its session.
pub(super) struct Turn(Option<PoolConnection<Postgres>>);

impl Turn {
    /// The right to keep a cluster, unless another process has it.
    pub(super) async fn take(
        sessions: &Pool,
        cluster: &ClusterName,
    ) -> Result<Option<Self>, sqlx::Error> {
        match Self::ask(sessions, cluster).await {
            // The session may have been of a server that was stopped since.
            Err(sqlx::Error::Io(_) | sqlx::Error::Database(_)) => {
                Self::ask(sessions, cluster).await
            }
            asked => asked,
        }
    }

    async fn ask(sessions: &Pool, cluster: &ClusterName) -> Result<Option<Self>, sqlx::Error> {
        let mut turn = Self(Some(sessions.acquire().await?));
        let keeping = match &mut turn.0 {
            Some(session) => keeping::begin(session, cluster).await?,
            None => Keeping::Others,
        };
        if keeping == Keeping::Others {
            drop(turn.0.take());
            return Ok(None);
        }
        Ok(Some(turn))
    }

    /// Lets others have it.
    pub(super) async fn give_back(mut self, cluster: &ClusterName) -> Result<(), sqlx::Error> {
        if let Some(session) = &mut self.0 {
            keeping::end(session, cluster).await?;
        }
        drop(self.0.take());
        Ok(())
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        drop(self.0.take().map(PoolConnection::detach));
    }
}
