//! The command line.
//!
//! Deliberately two commands; operators use the API. Invariant: an error is one line on standard
//! error and a failing exit code.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{SPEC, Settings};
use crate::service::{Origin, Service};

#[derive(Parser)]
#[command(version, about = "The control plane: sign-up, operators, the registry")]
#[command(after_long_help = kit::config::settings_help(&SPEC))]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
    /// A TOML file over the defaults.
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Serve until SIGINT or SIGTERM, then finish what is open.
    #[command(after_long_help = kit::config::settings_help(&SPEC))]
    Serve,
    /// Bring the registry's schema up to date, then end.
    Migrate {
        /// The registry comes from a backup: replicas forget what they knew since then.
        #[arg(long)]
        restored: bool,
    },
}

/// Reads command line and settings, and does what they say.
pub async fn main() -> ExitCode {
    let CommandLine { command, config } = CommandLine::parse();
    let done = match command {
        Command::Serve => serve(config.as_deref()).await,
        Command::Migrate { restored } => {
            migrate(config.as_deref(), Origin::backup_if(restored)).await
        }
    };
    kit::program::exit_code(done)
}

async fn serve(config: Option<&Path>) -> anyhow::Result<()> {
    kit::core_dumps::forbid()?;
    let settings = Settings::load(config)?;
    let _telemetry = kit::telemetry::init(&settings.log)?;
    let service = Service::build(settings).await?;
    service.stopper().stop_on_signal();
    service.run().await
}

async fn migrate(config: Option<&Path>, origin: Origin) -> anyhow::Result<()> {
    kit::core_dumps::forbid()?;
    let settings = Settings::load(config)?;
    let _telemetry = kit::telemetry::init(&settings.log)?;
    let version = Service::migrate(&settings, origin).await?;
    tracing::info!(version, "the registry is up to date");
    Ok(())
}
