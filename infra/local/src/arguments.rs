//! The command line.
//!
//! Deliberately few settings: everything else has one sensible value on a machine of one's own.
//! Invariant: nothing here is needed; `cargo up` alone works.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// What `cargo up -- ...` says.
#[derive(Debug, Parser)]
#[command(name = "cargo up --", bin_name = "cargo up --", version)]
#[command(about = "Starts PostgreSQL, both services and demo tenants on this machine")]
#[command(
    after_help = "Ctrl-C finishes open requests and stops everything; a second one ends at \
                        once. Data stays until --fresh."
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    /// Where the API and its documentation listen on 127.0.0.1; 0 takes a free port.
    #[arg(long, default_value_t = 8080)]
    pub(crate) port: u16,

    /// Remove all data and credentials of the local installation first.
    #[arg(long)]
    pub(crate) fresh: bool,

    /// Use this server instead of one of our own: postgres://user:password@host:port. The login is a
    /// superuser, or has CREATEDB and CREATEROLE.
    #[arg(
        long,
        value_name = "URL",
        env = "TENANTRY_DATABASE_URL",
        hide_env_values = true
    )]
    #[arg(conflicts_with = "fresh")]
    pub(crate) database_url: Option<String>,

    /// Take that server over from an installation that is gone for good; the refusal without it names it.
    #[arg(long, value_name = "INSTALLATION", requires = "database_url")]
    pub(crate) take_over_from: Option<String>,

    /// The folder with PostgreSQL's programs; otherwise they are looked for, then downloaded.
    #[arg(long, value_name = "FOLDER", env = "TENANTRY_POSTGRES_BIN")]
    pub(crate) postgres_bin: Option<PathBuf>,

    /// Where data, credentials and logs are kept; `.data` of the work tree unless given.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) data: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, Subcommand)]
pub(crate) enum Command {
    /// A minute that shows what the platform does, on data of its own that is gone afterwards.
    Tour,
}

#[cfg(test)]
mod tests {
    use super::Arguments;
    use clap::{CommandFactory as _, Parser as _};

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn an_existing_server_is_never_wiped() {
        let given = ["up", "--fresh", "--database-url", "postgres://a@b"];
        assert!(Arguments::try_parse_from(given).is_err());
    }
}
