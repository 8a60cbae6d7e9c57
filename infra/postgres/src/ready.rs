//! Whether a server is ready, and why it is not: logs in over TCP and reads the server's log.
//!
//! Invariant: ready means that a login was accepted and the expected data folder was named.

use crate::ServerError;
use crate::config::Superuser;
use crate::data::Place;
use crate::server::{POLL, START_DEADLINE};
use sqlx::{ConnectOptions, Connection};
use std::path::Path;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// One attempt to log in while waiting.
const LOGIN_DEADLINE: Duration = Duration::from_secs(5);

/// Waits for a login; false if the process ended first.
pub(crate) async fn until_ready(
    superuser: &Superuser,
    place: &Place,
    mut ended: impl FnMut() -> bool,
) -> Result<bool, ServerError> {
    let started = Instant::now();
    loop {
        if ended() {
            return Ok(false);
        }
        let reason = match timeout(LOGIN_DEADLINE, serves(superuser, &place.data())).await {
            Ok(Ok(true)) => return Ok(true),
            Ok(Ok(false)) => "its port is answered by another server".to_owned(),
            Ok(Err(error)) if refuses_password(&error) && !ended() => {
                return Err(ServerError::Password {
                    path: place.password_file(),
                });
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "its port does not answer".to_owned(),
        };
        if started.elapsed() > START_DEADLINE {
            return Err(ServerError::Deadline {
                seconds: START_DEADLINE.as_secs(),
                reason,
                log: place.log(),
            });
        }
        sleep(POLL).await;
    }
}

/// Logs in and asks whose data this server serves.
async fn serves(superuser: &Superuser, data: &Path) -> Result<bool, sqlx::Error> {
    #[expect(
        clippy::disallowed_methods,
        reason = "asking a server whether it answers needs a connection of its own"
    )]
    let mut connection = superuser.options("postgres").connect().await?;
    let served: String = sqlx::query_scalar("select current_setting('data_directory')")
        .fetch_one(&mut connection)
        .await?;
    connection.close().await?;
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    Ok(real(Path::new(&served)) == real(data))
}

fn refuses_password(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .and_then(|error| error.code())
        .is_some_and(|code| code == "28P01")
}

/// Why `postgres` ended, as far as it makes a difference here.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    PortTaken,
    /// Sessions of a killed postmaster are still ending.
    Orphans,
    Other,
}

impl Refusal {
    pub(crate) fn read(log: &str) -> Self {
        if log.contains("Address already in use") {
            Self::PortTaken
        } else if log.contains("pre-existing shared memory block") {
            Self::Orphans
        } else {
            Self::Other
        }
    }
}

/// The last fatal line of a log, or its last line.
pub(crate) fn last_words(log: &str) -> String {
    let fatal = log
        .lines()
        .rev()
        .find(|line| line.contains("FATAL:") || line.contains("PANIC:"));
    fatal
        .or(log.lines().last())
        .unwrap_or("its log is empty")
        .trim()
        .to_owned()
}

#[cfg(test)]
mod tests;
