//! How the process of a service ends.
//!
//! Deliberately no logs: they may not have been set up yet. Invariant: an error is one line on standard error, with
//! its causes, and a failing exit code.

use std::process::ExitCode;

/// The exit code of what was done; says on standard error why it failed.
#[expect(
    clippy::print_stderr,
    reason = "the error of a command belongs on standard error"
)]
pub fn exit_code(done: anyhow::Result<()>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
