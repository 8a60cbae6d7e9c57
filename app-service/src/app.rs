//! The public builder, and the command line of a program made with it.
//!
//! Deliberately small: a program names its modules and runs. Invariant: what cannot work is said
//! before anything listens.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{SPEC, Settings};
use crate::module::Module;
use crate::service::Service;

/// An app made of modules.
#[derive(Default)]
pub struct App {
    modules: Vec<Module>,
}

#[derive(Parser)]
#[command(
    version,
    about = "Serves tenants' apps, each request in its own tenant's database"
)]
#[command(after_long_help = kit::config::settings_help(&SPEC))]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve until SIGINT or SIGTERM, then finish what is open.
    #[command(after_long_help = kit::config::settings_help(&SPEC))]
    Serve {
        /// A TOML file over the defaults.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

impl App {
    /// An app without modules.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a module.
    #[must_use]
    pub fn module(mut self, module: Module) -> Self {
        self.modules.push(module);
        self
    }

    /// Binds the listeners and prepares everything; nothing is served yet.
    ///
    /// # Errors
    /// Names the module, setting or port that does not work.
    pub async fn build(self, settings: Settings) -> anyhow::Result<Service> {
        Service::build(self.modules, settings).await
    }

    /// Reads command line and settings, and serves.
    pub async fn run(self) -> ExitCode {
        let Command::Serve { config } = CommandLine::parse().command;
        kit::program::exit_code(self.serve(config).await)
    }

    async fn serve(self, config: Option<PathBuf>) -> anyhow::Result<()> {
        kit::core_dumps::forbid()?;
        let settings = Settings::load(config.as_deref())?;
        let _telemetry = kit::telemetry::init(&settings.log)?;
        let service = self.build(settings).await?;
        service.stopper().stop_on_signal();
        service.run().await
    }
}
