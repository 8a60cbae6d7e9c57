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
mod interrupt;
mod output;
mod profile;
mod values;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, ValueEnum as _};

use crate::cli::{Cli, Until};
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{Format, Paint, Reporter};

/// What every operator key starts with.
const KEY_PREFIX: &str = "opk_";

/// Runs the program with the arguments and the environment of this process.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = with_help_as_flag(std::env::args_os().collect());
    if arguments
        .iter()
        .any(|argument| holds_key(&argument.to_string_lossy()))
    {
        return Reporter::new(Format::Table, Paint::Plain).failure(&Failure::KeyOnCommandLine);
    }
    let parsed = Cli::command()
        .try_get_matches_from(&arguments)
        .and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => return usage(&error, wanted_format(&arguments)),
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
    if context.until() == Until::Replicas && !cli.command.is_heard_of() {
        return Err(Failure::usage(
            "--wait=replicas does not apply: this command changes nothing that replicas have to apply",
        ));
    }
    let heeds_interrupts = cli.command.heeds_interrupts();
    let running = cli.command.run(&context);
    let outcome = if heeds_interrupts {
        running.await
    } else {
        tokio::select! {
            // First: it asks for the signal before a command asks for anything else.
            biased;
            () = interrupt::pressed() => Err(context.interrupted()),
            outcome = running => outcome,
        }
    };
    match outcome {
        Err(failure) => Err(commands::tenants::propose(&context, failure).await),
        done => done,
    }
}

/// `help tenants list` means `tenants list --help`.
fn with_help_as_flag(mut arguments: Vec<OsString>) -> Vec<OsString> {
    if arguments.get(1).is_some_and(|first| first == "help") {
        arguments.remove(1);
        arguments.push("--help".into());
    }
    arguments
}

/// Whether an argument holds a key, and not an id such as `t_shopk_berlin`.
fn holds_key(argument: &str) -> bool {
    argument.match_indices(KEY_PREFIX).any(|(at, _)| {
        let before = argument[..at].chars().next_back();
        !before.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_')
    })
}

/// The form of the result that words ask for which are no command.
fn wanted_format(arguments: &[OsString]) -> Format {
    let words: Vec<_> = arguments
        .iter()
        .map(|word| word.to_string_lossy())
        .collect();
    let named = words
        .iter()
        .enumerate()
        .find_map(|(at, word)| match &**word {
            "-o" | "--output" => words.get(at + 1).map(AsRef::as_ref),
            word => ["--output=", "-o=", "-o"]
                .iter()
                .find_map(|flag| word.strip_prefix(flag)),
        });
    let named = named.and_then(|name| Format::from_str(name, false).ok());
    named.unwrap_or_default()
}

/// Help and versions are answers; everything else that clap says is a wrong use.
fn usage(error: &clap::Error, format: Format) -> ExitCode {
    if error.use_stderr() && format != Format::Table {
        let words = error.render().to_string();
        let words = words.trim_start_matches("error: ").trim_end();
        return Reporter::new(format, Paint::Plain).failure(&Failure::usage(words));
    }
    // A help text that cannot be shown is no reason to fail otherwise.
    let _ = error.print();
    if error.use_stderr() {
        ExitCode::from(failure::USAGE)
    } else {
        ExitCode::SUCCESS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_told_from_an_id_that_looks_a_little_like_one() {
        for argument in ["opk_x", "--key=opk_x", "Bearer opk_x"] {
            assert!(holds_key(argument), "{argument}");
        }
        for argument in ["t_shopk_berlin", "t_opk_x", "opk"] {
            assert!(!holds_key(argument), "{argument}");
        }
    }

    #[test]
    fn the_form_of_a_wrong_use_is_the_one_that_was_asked_for() {
        let form = |words: &[&str]| {
            let words: Vec<OsString> = words.iter().map(OsString::from).collect();
            wanted_format(&words)
        };
        assert_eq!(form(&["tenantctl", "-o", "json", "x"]), Format::Json);
        assert_eq!(form(&["tenantctl", "--output=ndjson"]), Format::Ndjson);
        assert_eq!(form(&["tenantctl", "-ojson"]), Format::Json);
        assert_eq!(form(&["tenantctl", "-o"]), Format::Table);
    }
}
