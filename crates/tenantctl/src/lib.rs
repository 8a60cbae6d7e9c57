//! The operators' command line: a client of the operators' API, with words for people and formats for
//! scripts.
//!
//! Deliberately a client of the public API alone: what it can, every script can with the same key.
//! Invariants: a key comes from the environment, a file that nobody else can read, or stdin, never
//! from an argument; data goes to stdout and everything else to stderr; the exit code says what kind
//! of failure it was.

mod api;
mod cli;
mod commands;
mod confirm;
mod context;
mod failure;
mod follow;
mod output;
mod profile;
mod values;

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _};

use crate::cli::Cli;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{Format, Paint, Reporter};

/// What every operator key starts with.
const KEY_PREFIX: &str = "opk_";

/// Runs the program with the arguments and the environment of this process.
#[must_use]
pub fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    if arguments
        .iter()
        .any(|argument| argument.to_string_lossy().contains(KEY_PREFIX))
    {
        return Reporter::new(Format::Table, Paint::Plain).failure(&Failure::KeyOnCommandLine);
    }
    let parsed = Cli::command()
        .try_get_matches_from(&arguments)
        .and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let reporter = cli.globals.reporter();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(run(cli)),
        Err(error) => Err(Failure::Io("starting", error)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => reporter.failure(&failure),
    }
}

async fn run(cli: Cli) -> Result<(), Failure> {
    let context = Context::new(cli.globals);
    let outcome = cli.command.run(&context).await;
    match outcome {
        Err(failure) => Err(commands::tenants::propose(&context, failure).await),
        done => done,
    }
}

/// Help and versions are answers; everything else that clap says is a wrong use.
fn usage(error: &clap::Error) -> ExitCode {
    // A help text that cannot be shown is no reason to fail otherwise.
    let _ = error.print();
    if error.use_stderr() {
        ExitCode::from(failure::USAGE)
    } else {
        ExitCode::SUCCESS
    }
}
