//! Connections to the registry, and how long requests hold them.
//!
//! Deliberately counted as app-service counts a tenant's: from a connection's arrival until it is given
//! back, without the wait for one. What runs in a task of its own, as the steps of operations do, counts for
//! no request. Invariant: no handler has a connection to the registry that is not counted.

use std::ops::{Deref, DerefMut};

use kit::db::Pool;
use kit::observe::DatabaseTime;
use sqlx::pool::PoolConnection;
use sqlx::{PgConnection, Postgres};

/// A pool of connections to the registry.
pub(crate) struct RegistryPool(Pool);

/// A connection or a transaction, until it is dropped.
pub(crate) struct Held<C> {
    held: C,
    _time: DatabaseTime,
}

impl<C> Held<C> {
    fn new(held: C) -> Self {
        Self {
            held,
            _time: DatabaseTime::start(),
        }
    }
}

impl Held<PoolConnection<Postgres>> {
    /// For a task of its own: from now on it counts for no request.
    pub(crate) fn apart(self) -> PoolConnection<Postgres> {
        self.held
    }
}

impl RegistryPool {
    pub(crate) fn new(pool: Pool) -> Self {
        Self(pool)
    }

    /// A connection.
    pub(crate) async fn acquire(&self) -> Result<Held<PoolConnection<Postgres>>, sqlx::Error> {
        Ok(Held::new(self.0.acquire().await?))
    }

    /// A transaction, which is rolled back unless it is committed.
    pub(crate) async fn begin(
        &self,
    ) -> Result<Held<sqlx::Transaction<'static, Postgres>>, sqlx::Error> {
        Ok(Held::new(self.0.begin().await?))
    }
}

impl Deref for RegistryPool {
    type Target = Pool;

    fn deref(&self) -> &Pool {
        &self.0
    }
}

impl Held<sqlx::Transaction<'static, Postgres>> {
    /// Commits.
    pub(crate) async fn commit(self) -> Result<(), sqlx::Error> {
        self.held.commit().await
    }
}

impl<C: Deref<Target = PgConnection>> Deref for Held<C> {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        &self.held
    }
}

impl<C: DerefMut<Target = PgConnection>> DerefMut for Held<C> {
    fn deref_mut(&mut self) -> &mut PgConnection {
        &mut self.held
    }
}
