//! A pool of connections to one database of our own.
//!
//! Deliberately never for tenants, whose connections have a budget. Invariants: whoever gets a connection finds
//! no transaction open on it; where connections are given back soon, one session is opened at a time.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgListener, PgPool, PgPoolOptions};
use sqlx::{Connection as _, PgConnection, Postgres};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// A connection that nobody has used for longer is asked for a sign of life first: its server may have been
/// stopped and started since.
const TRUSTED_IDLE: Duration = Duration::from_millis(500);
/// So long one who finds no idle connection waits for another who opens one. A session that begins has
/// everything still to read, and costs its server as much as many quick statements; mostly a connection is given
/// back sooner than one is opened. Longer would make all wait for one whose server does not answer.
const PATIENCE: Duration = Duration::from_millis(50);
/// So long also one whom nobody is before waits: a connection is given back by a task of its own, which asks the
/// server twice.
const RETURN: Duration = Duration::from_millis(5);
/// How often who waits looks for a connection that was given back.
const LOOK: Duration = Duration::from_millis(1);

/// Connections to one database of our own.
#[derive(Debug, Clone)]
pub struct Pool {
    connections: PgPool,
    opening: Arc<Semaphore>,
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
            .after_release(|connection, _| {
                Box::pin(async move {
                    end_transaction(connection).await?;
                    connection.shrink_buffers();
                    Ok(true)
                })
            })
            .connect_lazy_with(options);
        Self {
            connections,
            opening: Arc::new(Semaphore::new(1)),
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
        Box::pin(async { sqlx::Transaction::begin(self.acquire().await?, None).await })
    }

    /// How its connections are opened.
    pub fn connect_options(&self) -> Arc<PgConnectOptions> {
        self.connections.connect_options()
    }

    /// Closes all connections, and waits for those that are in use.
    pub async fn close(&self) {
        self.connections.close().await;
    }

    /// Waits until a connection is idle, or until this one may open another; after [`PATIENCE`] whoever waits
    /// may.
    async fn turn_to_open(&self) -> Option<SemaphorePermit<'_>> {
        let began = Instant::now();
        let most = self.connections.options().get_max_connections();
        let asked = self.opening.acquire();
        tokio::pin!(asked);
        let mut turn = None;
        while self.connections.num_idle() == 0 && self.connections.size() < most {
            let patience = match turn {
                Some(_) if self.connections.size() == 0 => Duration::ZERO,
                Some(_) => RETURN,
                None => PATIENCE,
            };
            if began.elapsed() >= patience {
                break;
            }
            tokio::select! {
                biased;
                mine = &mut asked, if turn.is_none() => turn = mine.ok(),
                () = tokio::time::sleep(LOOK) => {}
            }
        }
        turn
    }
}

/// Waits for what a database tells with NOTIFY, on a connection of its own.
///
/// # Errors
/// As [`Pool::acquire`].
#[expect(
    clippy::disallowed_methods,
    reason = "a listener of sqlx takes its connection from a pool of sqlx"
)]
pub async fn listener(options: PgConnectOptions) -> Result<PgListener, sqlx::Error> {
    PgListener::connect_with(&Pool::new(options, 1).connections).await
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
