//! Connecting to PostgreSQL, and what its errors mean.
//!
//! Deliberately without statements of any feature. What opens connections is boxed, so that it is compiled
//! in this package, which is optimized in every profile. Invariant: a password reaches the server only by
//! SCRAM, never in a statement, an address or a log.

mod pool;

use std::error::Error as StdError;
use std::time::Duration;

use contract::Code;
use contract::secret::Secret;
use contract::tenant::TlsMode;
use futures::future::BoxFuture;
use sqlx::error::DatabaseError;
use sqlx::postgres::{PgConnectOptions, PgDatabaseError, PgSeverity, PgSslMode};
use sqlx::{AssertSqlSafe, Connection, PgConnection};

pub use self::pool::{Pool, listener};

use crate::error::Problem;
use crate::extract::NO_NUL;

/// So much of a server's message is kept.
const SAID_CHARS: usize = 300;
/// By these a server sees within half a minute that the machine of a client is gone, also where that one could
/// not say so; its own defaults are more than two hours. They are a session's to set, and mean nothing on a
/// Unix socket.
const KEEPALIVES: [(&str, &str); 4] = [
    ("tcp_keepalives_idle", "15s"),
    ("tcp_keepalives_interval", "5s"),
    ("tcp_keepalives_count", "3"),
    ("tcp_user_timeout", "30s"),
];

/// Said to who logs in while a database takes no connections (`allow_connections false`).
const NOT_ACCEPTING: &str = "55000";

/// Where a server is, without who logs in.
#[derive(Debug, Clone, Copy)]
pub struct Server<'a> {
    /// Host name or address.
    pub host: &'a str,
    /// TCP port.
    pub port: u16,
    /// How the connection is protected.
    pub tls: TlsMode,
}

/// Who logs in, and to what.
#[derive(Debug, Clone, Copy)]
pub struct Login<'a> {
    /// The role.
    pub role: &'a str,
    /// Its password.
    pub password: &'a Secret,
    /// The database.
    pub database: &'a str,
    /// Shown in `pg_stat_activity`.
    pub application: &'a str,
}

/// Any role may make this its own default, and one that names a library which is not there lets it in nowhere.
pub const NO_LIBRARIES: (&str, &str) = ("local_preload_libraries", "");

/// The options of a connection.
pub fn connect_options(server: Server<'_>, login: Login<'_>) -> PgConnectOptions {
    let tls = match server.tls {
        TlsMode::Disable => PgSslMode::Disable,
        TlsMode::Require => PgSslMode::Require,
        TlsMode::VerifyFull => PgSslMode::VerifyFull,
    };
    let options = PgConnectOptions::new_without_pgpass()
        .host(server.host)
        .port(server.port)
        .ssl_mode(tls)
        .username(login.role)
        .password(login.password.expose())
        .database(login.database)
        .application_name(login.application)
        .options([NO_LIBRARIES]);
    kept_alive(options)
}

/// The same for a server that is to end the session soon after our machine has gone.
pub fn kept_alive(options: PgConnectOptions) -> PgConnectOptions {
    options.options(KEEPALIVES)
}

/// Opens a connection, outside of every pool; its opener closes it.
///
/// # Errors
/// The server's refusal, or why it was not reached.
#[expect(
    clippy::disallowed_methods,
    reason = "whoever calls this has leave to, which is asked for there"
)]
pub fn open(options: &PgConnectOptions) -> BoxFuture<'_, Result<PgConnection, sqlx::Error>> {
    Box::pin(PgConnection::connect_with(options))
}

/// Lets this transaction say nothing for so long, because it waits for somebody else than its server.
pub async fn may_idle(
    transaction: &mut PgConnection,
    longest: Duration,
) -> Result<(), sqlx::Error> {
    let milliseconds = longest.as_millis();
    let statement = format!("set local idle_in_transaction_session_timeout = {milliseconds}");
    sqlx::raw_sql(AssertSqlSafe(statement))
        .execute(transaction)
        .await?;
    Ok(())
}

/// What a database error means to who has to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// No connection, or it broke: the server is down, restarting or unreachable.
    Unreachable,
    /// The server answers, and the database takes no connections: somebody has closed it, or a drop of it was
    /// broken off.
    Closed,
    /// The login was refused: another password, NOLOGIN, or no CONNECT.
    LoginRefused,
    /// The database does not exist.
    DatabaseGone,
    /// The server, database or role has no connection left.
    Full,
    /// The server has no disk or no memory left.
    Exhausted,
    /// The server is a standby or was made read-only.
    ReadOnly,
    /// The role lost its rights.
    RightsLost,
    /// A lock was not had in time.
    LockTimeout,
    /// A statement took too long or was cancelled.
    Cancelled,
    /// Serialization failure or deadlock: the same transaction may pass.
    Conflict,
    /// Text that PostgreSQL cannot store (NUL characters).
    Unstorable,
    /// Anything else: our mistake.
    Other,
}

impl Fault {
    /// What an error means.
    pub fn of(error: &sqlx::Error) -> Self {
        match error {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => Self::Unreachable,
            sqlx::Error::Database(error) => match error.code() {
                // The same state says of a statement that it came at the wrong time: that is our mistake.
                Some(state) if state == NOT_ACCEPTING && ends_session(error.as_ref()) => {
                    Self::Closed
                }
                Some(state) => Self::of_state(&state),
                None => Self::Other,
            },
            _ => Self::Other,
        }
    }

    fn of_state(state: &str) -> Self {
        match state {
            "57P01" | "57P02" | "57P03" | "57P05" | "25P03" | "25P04" => Self::Unreachable,
            "28P01" | "28000" => Self::LoginRefused,
            "3D000" | "57P04" => Self::DatabaseGone,
            "53300" => Self::Full,
            "53000" | "53100" | "53200" => Self::Exhausted,
            "25006" => Self::ReadOnly,
            "42501" => Self::RightsLost,
            "55P03" => Self::LockTimeout,
            "57014" => Self::Cancelled,
            "40001" | "40P01" => Self::Conflict,
            "22P05" | "22021" => Self::Unstorable,
            _ if state.starts_with("08") || state.starts_with("58") => Self::Unreachable,
            _ => Self::Other,
        }
    }
}

impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        let code = match Fault::of(&error) {
            Fault::Unreachable
            | Fault::Closed
            | Fault::LoginRefused
            | Fault::DatabaseGone
            | Fault::ReadOnly
            | Fault::RightsLost => Code::DatabaseUnavailable,
            Fault::Full | Fault::LockTimeout | Fault::Conflict => Code::Overloaded,
            Fault::Exhausted => Code::DatabaseExhausted,
            Fault::Cancelled => Code::Timeout,
            Fault::Unstorable => Code::ValidationFailed,
            Fault::Other => Code::Internal,
        };
        let problem = Self::new(code);
        let problem = match code {
            Code::ValidationFailed => problem.and_field("", NO_NUL),
            _ => problem,
        };
        problem.caused_by(error)
    }
}

/// Whether the server closed the connection with this error, or never opened it.
fn ends_session(error: &dyn DatabaseError) -> bool {
    error
        .try_downcast_ref::<PgDatabaseError>()
        .is_some_and(|error| matches!(error.severity(), PgSeverity::Fatal | PgSeverity::Panic))
}

/// What a server said, where an error or one of its causes is a server's: SQLSTATE and primary message,
/// for operators alone.
///
/// Deliberately neither its detail, which quotes rows, nor the statement; and of those errors whose very
/// message quotes what was sent or stored, the SQLSTATE alone.
pub fn said(error: &(dyn StdError + 'static)) -> Option<String> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(sqlx::Error::Database(said)) = error.downcast_ref() {
            let state = said.code()?;
            return Some(if quotes(&state) {
                state.into_owned()
            } else {
                let words: String = said.message().chars().take(SAID_CHARS).collect();
                format!("{state} {words}")
            });
        }
        next = error.source();
    }
    None
}

/// Whether the message of an error with this SQLSTATE quotes values: what cannot be converted, what
/// cannot be parsed, and what functions raise with words of their own.
fn quotes(state: &str) -> bool {
    state.starts_with("22") || state.starts_with("P0") || state == "42601"
}

/// The name of the constraint that a statement broke.
pub fn broken_constraint(error: &sqlx::Error) -> Option<&str> {
    error
        .as_database_error()
        .and_then(|error| error.constraint())
}

/// Gives a broken constraint, known by its name, a meaning of its own.
pub trait OnConstraint<T> {
    /// Turns a violation of `constraint` into `problem`; other errors stay what they are.
    fn on_constraint(
        self,
        constraint: &str,
        problem: impl FnOnce() -> Problem,
    ) -> Result<T, Problem>;
}

impl<T> OnConstraint<T> for Result<T, sqlx::Error> {
    fn on_constraint(
        self,
        constraint: &str,
        problem: impl FnOnce() -> Problem,
    ) -> Result<T, Problem> {
        self.map_err(|error| {
            if broken_constraint(&error) == Some(constraint) {
                problem().caused_by(error)
            } else {
                error.into()
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Fault;

    #[test]
    fn states_have_a_meaning() {
        for (state, fault) in [
            ("08006", Fault::Unreachable),
            ("57P01", Fault::Unreachable),
            ("28P01", Fault::LoginRefused),
            ("3D000", Fault::DatabaseGone),
            ("53300", Fault::Full),
            ("53100", Fault::Exhausted),
            ("53200", Fault::Exhausted),
            ("25006", Fault::ReadOnly),
            ("42P01", Fault::Other),
        ] {
            assert_eq!(Fault::of_state(state), fault, "{state}");
        }
    }
}
