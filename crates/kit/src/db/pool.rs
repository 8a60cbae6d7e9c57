//! A pool of connections to one database of our own.
//!
//! Deliberately never for tenants, whose connections have a budget. Invariants: whoever gets a connection finds
//! no transaction open on it; a few quick statements at once do not open a session each.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{Connection as _, PgConnection, Postgres};
use tokio::sync::{Notify, Semaphore, SemaphorePermit};

/// A connection that nobody has used for longer is asked for a sign of life first: its server may have been
/// stopped and started since.
const TRUSTED_IDLE: Duration = Duration::from_millis(500);
/// So long one who finds no idle connection waits for another who opens one. A session that begins has
/// everything still to read, and costs its server as much as many quick statements; mostly a connection is given
/// back sooner than one is opened.
const PATIENCE: Duration = Duration::from_millis(50);

/// Connections to one database of our own.
#[derive(Debug, Clone)]
pub struct Pool {
    connections: PgPool,
    most: u32,
    opening: Arc<Opening>,
}

#[derive(Debug)]
struct Opening {
    one: Semaphore,
    given_back: Notify,
}

impl Pool {
    /// A pool of at most `most` connections; nothing is connected yet.
    ///
    /// A request that is dropped between BEGIN and its answer leaves an open transaction that sqlx does
    /// not know of, and the next borrower's writes would be lost. So every connection is rolled back on
    /// its way back to the pool, off the request's path.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one pool of sqlx, for what is not tenants'"
    )]
    pub fn new(options: PgConnectOptions, most: u32) -> Self {
        let options = options.options([("client_min_messages", "error")]);
        let opening = Arc::new(Opening {
            one: Semaphore::new(1),
            given_back: Notify::new(),
        });
        let told = Arc::clone(&opening);
        let connections = PgPoolOptions::new()
            .max_connections(most)
            .acquire_timeout(Duration::from_secs(5))
            .idle_timeout(Duration::from_secs(60))
            .test_before_acquire(false)
            .before_acquire(|connection, found| {
                Box::pin(async move {
                    Ok(found.idle_for < TRUSTED_IDLE || connection.ping().await.is_ok())
                })
            })
            .after_release(move |connection, _| {
                let told = Arc::clone(&told);
                Box::pin(async move {
                    end_transaction(connection).await?;
                    connection.shrink_buffers();
                    told.given_back.notify_one();
                    Ok(true)
                })
            })
            .connect_lazy_with(options);
        Self {
            connections,
            most,
            opening,
        }
    }

    /// A connection.
    ///
    /// # Errors
    /// None came in time, or the server's refusal.
    pub fn acquire(&self) -> BoxFuture<'_, Result<PoolConnection<Postgres>, sqlx::Error>> {
        Box::pin(async {
            let _turn = self.turn_to_open().await;
            self.connections.acquire().await
        })
    }

    /// A transaction, which is rolled back unless it is committed.
    ///
    /// # Errors
    /// As [`Pool::acquire`].
    pub fn begin(
        &self,
    ) -> BoxFuture<'_, Result<sqlx::Transaction<'static, Postgres>, sqlx::Error>> {
        Box::pin(async {
            let _turn = self.turn_to_open().await;
            self.connections.begin().await
        })
    }

    /// Until an idle connection is there, or one may be opened. It may be anybody's all the same: who waits for
    /// an answer of the server must hold up nobody for long.
    async fn turn_to_open(&self) -> Option<SemaphorePermit<'_>> {
        let patience = tokio::time::sleep(PATIENCE);
        tokio::pin!(patience);
        while self.connections.num_idle() == 0 && self.connections.size() < self.most {
            tokio::select! {
                turn = self.opening.one.acquire() => return turn.ok(),
                () = self.opening.given_back.notified() => {}
                () = &mut patience => return None,
            }
        }
        None
    }
}

impl Deref for Pool {
    type Target = PgPool;

    fn deref(&self) -> &PgPool {
        &self.connections
    }
}

/// Rolls back whatever is open. Mostly nothing is, and then a bare ROLLBACK would put a warning into the
/// server's log each time.
async fn end_transaction(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let ended = sqlx::raw_sql("begin; rollback")
        .execute(&mut *connection)
        .await;
    if let Err(sqlx::Error::Database(_)) = ended {
        // A transaction that has failed takes nothing but its end.
        sqlx::raw_sql("rollback").execute(connection).await?;
        return Ok(());
    }
    ended.map(|_| ())
}
