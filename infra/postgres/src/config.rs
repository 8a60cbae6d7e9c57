//! What to start, how to log in to it, and what a start reports. Does nothing.
//!
//! Invariant: no `Debug` here shows a password.

use crate::data::{DataFolder, Notice};
use crate::{Binaries, Profile};
use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use std::net::Ipv4Addr;
use std::path::PathBuf;

/// Which TCP port to listen on, at 127.0.0.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// Any free one.
    Free,
    /// This one or none.
    Exact(u16),
}

impl From<u16> for Port {
    /// 0 means any free port.
    fn from(port: u16) -> Self {
        if port == 0 {
            Self::Free
        } else {
            Self::Exact(port)
        }
    }
}

/// What to start.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// The programs to run.
    pub binaries: Binaries,
    /// Where the data lies.
    pub data: DataFolder,
    /// Where to listen.
    pub port: Port,
    /// What a crash may cost.
    pub profile: Profile,
    /// Sessions at a time, the superuser's three reserved ones included.
    pub max_connections: u16,
    /// Further settings (name, value); they overrule ours.
    pub extra: Vec<(String, String)>,
}

/// How to log in as the superuser. `Debug` shows no password.
#[derive(Debug, Clone)]
pub struct Superuser {
    /// Always 127.0.0.1.
    pub host: Ipv4Addr,
    /// The server's port.
    pub port: u16,
    /// Always `postgres`.
    pub user: &'static str,
    /// 256 random bits in hexadecimal.
    pub password: SecretString,
}

impl Superuser {
    /// Options to connect to `database` without TLS, as the server listens on this machine only.
    #[must_use]
    pub fn options(&self, database: &str) -> PgConnectOptions {
        PgConnectOptions::new_without_pgpass()
            .host(&self.host.to_string())
            .port(self.port)
            .username(self.user)
            .password(self.password.expose_secret())
            .database(database)
            .ssl_mode(PgSslMode::Disable)
    }
}

/// How a start went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A server was started.
    Started,
    /// The folder's server was running already; its settings are those of its own start.
    Adopted,
}

/// What the caller may want to tell.
#[derive(Debug, Clone)]
pub struct StartReport {
    /// Started or adopted.
    pub outcome: Outcome,
    /// The folder in use, with the data, the log and the password.
    pub folder: PathBuf,
    /// To be shown to whoever started it.
    pub notices: Vec<Notice>,
}
