//! Logging in at a server under an address that no cluster of the registry has yet.
//!
//! Deliberately without a pool: a connection is for one look. Invariant: when a server's refusal is passed
//! on, no address, password or statement is in it.

use std::io;
use std::time::Duration;

use contract::secret::Secret;
use contract::tenant::{PLATFORM_ROLE, TlsMode};
use kit::db::Login;
use kit::error::{Problem, Result, Rule, chain};
use sqlx::{Connection as _, PgConnection};

use super::connections::{MAINTENANCE_DATABASE, login_options, open};
use super::store::ClusterRow;

const MAX_HOST_CHARS: usize = 253;
/// How long a login may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const APPLICATION: &str = "platform-service setup";

/// Where a server is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Address<'a> {
    pub(super) host: &'a str,
    pub(super) port: u16,
    pub(super) tls: TlsMode,
}

impl<'a> From<&'a ClusterRow> for Address<'a> {
    fn from(row: &'a ClusterRow) -> Self {
        Self {
            host: &row.host,
            port: row.port,
            tls: row.tls,
        }
    }
}

impl Address<'_> {
    /// Logs in at the server's maintenance database.
    pub(super) async fn enter(
        self,
        role: &str,
        password: &Secret,
    ) -> Result<PgConnection, sqlx::Error> {
        let login = Login {
            role,
            password,
            database: MAINTENANCE_DATABASE,
            application: APPLICATION,
        };
        let options = login_options(self.host, self.port, self.tls, login);
        tokio::time::timeout(CONNECT_TIMEOUT, open(&options))
            .await
            .unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()))
    }

    /// Proves that a login of ours works there.
    pub(super) async fn admits(self, role: &str, password: &Secret) -> Result<()> {
        let entered = async { self.enter(role, password).await?.close().await };
        entered.await.map_err(|error| {
            let detail = format!("the role {role} cannot log in: {}", words(&error));
            Problem::field("/host", detail)
        })
    }

    /// Whether a wrong password is let in: such a server has no walls between tenants.
    pub(super) async fn admits_anybody(self) -> bool {
        match self.enter(PLATFORM_ROLE, &Secret::random()).await {
            Ok(connection) => {
                // What becomes of this connection says nothing any more.
                let _ = connection.close().await;
                true
            }
            Err(_) => false,
        }
    }
}

pub(super) fn host_rule(host: &str) -> Rule {
    let is_one = is_word(host, MAX_HOST_CHARS);
    ("/host", "is a host name or an address", is_one)
}

pub(super) fn port_rule(port: u16) -> Rule {
    ("/port", "is 1 to 65535", port > 0)
}

/// Visible ASCII characters, at least one.
pub(super) fn is_word(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.chars().count()) && text.bytes().all(|b| b.is_ascii_graphic())
}

/// The field of an address that an error of connecting is about.
pub(super) fn blamed(error: &sqlx::Error) -> &'static str {
    match error {
        sqlx::Error::Tls(_) => "/tls",
        sqlx::Error::Io(error) if is_refused_certificate(error) => "/tls",
        _ => "/host",
    }
}

/// Certificates that are refused arrive as invalid data.
pub(super) fn is_refused_certificate(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::InvalidData
}

/// What the server said, for an operator who names it: no address, no password, no statement.
pub(super) fn words(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(refused) => refused.message().to_owned(),
        sqlx::Error::PoolTimedOut => "no answer in time".to_owned(),
        other => chain(other),
    }
}
