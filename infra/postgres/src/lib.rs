//! A PostgreSQL server of our own: finds the binaries, prepares a data folder, starts, adopts,
//! restarts and stops the server. Used by the one-command start, the tests, the benchmark and
//! `cargo sql`. It knows no schema, no tenant and no service, and is not used in production.
//!
//! Invariant: a kept data folder is served by at most one server, which survives its starter; a
//! temporary one is gone, server and files, as soon as the process that started it is gone.

mod account;
mod binaries;
mod config;
mod data;
mod original;
mod postmaster;
mod ready;
mod server;
mod settings;
mod temporary;

pub use binaries::{Binaries, FindError, OLDEST, Rejected, Version};
pub use config::{Outcome, Port, ServerConfig, StartReport, Superuser};
pub use data::{DataFolder, Notice};
pub use postmaster::StopMode;
pub use server::{Server, wipe};
pub use settings::Profile;

use std::path::PathBuf;

/// Why a server could not be started, stopped or wiped. Each message is one line that says what to do.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The port that was asked for is in use by something that is not a server of this folder.
    #[error(
        "port {port} is taken by another program; stop that program or choose another port (0 picks a free one)"
    )]
    PortTaken {
        /// The port that was asked for.
        port: u16,
    },
    /// Started as root, and neither `postgres` nor `nobody` exists on this machine.
    #[error(
        "PostgreSQL refuses to run as root and this machine has no user `postgres` or `nobody`; create one or start as an ordinary user"
    )]
    NoUser,
    /// No folder could be found that the server's user can reach.
    #[error(
        "user `{user}`, who must run PostgreSQL because root may not, can reach neither {} nor {}; choose a data folder that this user can reach", wanted.display(), fallback.display()
    )]
    Unreachable {
        /// Who has to run the server.
        user: String,
        /// The folder that was asked for.
        wanted: PathBuf,
        /// The folder under the system's temporary folder that was tried next.
        fallback: PathBuf,
    },
    /// The folder exists and belongs to somebody else.
    #[error("{} belongs to another user; start as that user, or remove the folder", path.display())]
    ForeignFolder {
        /// The folder in question.
        path: PathBuf,
    },
    /// The data folder was made by another major version of PostgreSQL.
    #[error(
        "the data in {} was made by PostgreSQL {found}, the binaries found are {have}; name binaries of version {found}, or wipe the data", path.display()
    )]
    OtherVersion {
        /// The data folder.
        path: PathBuf,
        /// Major version that made it.
        found: String,
        /// Version of the binaries in hand.
        have: Version,
    },
    /// The data is there, but the stored password is lost or was changed.
    #[error("the password in {} does not open the data beside it; put the right one there, or wipe the data", path.display())]
    Password {
        /// Where the superuser's password is stored.
        path: PathBuf,
    },
    /// `initdb` failed.
    #[error("initdb failed: {reason}")]
    InitDb {
        /// Its last line.
        reason: String,
    },
    /// The server ended before it accepted a connection.
    #[error("PostgreSQL did not start: {reason} (log: {})", log.display())]
    Start {
        /// The last fatal line of its log.
        reason: String,
        /// The whole log.
        log: PathBuf,
    },
    /// The server was not ready, or its folder not free, in time.
    #[error("PostgreSQL was not ready after {seconds} s: {reason} (log: {})", log.display())]
    Deadline {
        /// How long was waited, in seconds.
        seconds: u64,
        /// What was seen last.
        reason: String,
        /// The log to read.
        log: PathBuf,
    },
    /// The server did not end in time.
    #[error("PostgreSQL (process {pid}) did not stop within {seconds} s; stop it by hand")]
    Stop {
        /// Process id of the postmaster.
        pid: i32,
        /// How long was waited, in seconds.
        seconds: u64,
    },
    /// The operating system refused something.
    #[error("{what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which path.
        path: PathBuf,
        /// The refusal.
        source: std::io::Error,
    },
}

impl ServerError {
    /// Adds what was tried, and on what, to a refusal of the operating system.
    pub(crate) fn io(
        what: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { what, path, source }
    }
}
