//! A fence: the time after which a runner changes no names and no walls on a server any more.
//!
//! A runner that takes an operation over looks once which names there are, sets the wall, and goes on from
//! there. A statement of the runner before it, which still waits for a lock or is still on its way, must not
//! change them afterwards. Deliberately measured by the server's own clock, so that no two clocks are compared.
//! Invariant: the last statement of a message, which is one transaction, checks the time; a runner whose
//! connection broke off goes on only when the time is over, because what it sent may still be under way in
//! the server.

use std::time::Duration;

use kit::db::Fault;
use sqlx::PgConnection;
use tokio::time::{Instant, sleep_until};

use super::run;

/// Until when a message may end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fence {
    /// Seconds since 1970, as the server counts them.
    until: f64,
    /// The same by this machine's clock, or later.
    over: Instant,
}

impl Fence {
    /// So long from now on.
    pub(crate) async fn after(
        connection: &mut PgConnection,
        longest: Duration,
    ) -> Result<Self, sqlx::Error> {
        let now: f64 = sqlx::query_scalar("select extract(epoch from clock_timestamp())::float8")
            .fetch_one(connection)
            .await?;
        Ok(Self {
            until: now + longest.as_secs_f64(),
            over: Instant::now() + longest,
        })
    }

    /// Runs statements in one transaction that fails, as if a lock had not been had in time, where it
    /// does not end before the fence.
    pub(super) async fn run(
        self,
        connection: &mut PgConnection,
        statements: String,
    ) -> Result<(), sqlx::Error> {
        let check = format!(
            "do $fence$ begin
                 if extract(epoch from clock_timestamp()) >= {} then
                     raise lock_not_available using message = 'it was not done in time';
                 end if;
             end $fence$",
            self.until
        );
        let ran = run(connection, statements + &check).await;
        if let Err(error) = &ran
            && Fault::of(error) == Fault::Unreachable
        {
            sleep_until(self.over).await;
        }
        ran
    }
}
