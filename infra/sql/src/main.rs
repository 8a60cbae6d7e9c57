//! `cargo sql`: prepares the offline data of the services' checked SQL, or checks it.
//!
//! Deliberately depends on no service: a service does not compile while its data is missing or
//! stale, and then this is what is run. Invariant: the data is made from the migration files of this
//! work tree alone, on a PostgreSQL of its own that is gone afterwards.

mod databases;
mod offline;
mod prepare;

use std::process::ExitCode;

use clap::Parser;

#[derive(Parser)]
#[command(
    name = "cargo sql",
    about = "Prepares the offline data of the services' checked SQL"
)]
struct Arguments {
    /// Change nothing; fail where the data that is there is not what the code needs.
    #[arg(long)]
    check: bool,
}

#[tokio::main]
#[expect(
    clippy::print_stderr,
    reason = "the error of a command belongs on standard error"
)]
async fn main() -> ExitCode {
    let mode = if Arguments::parse().check {
        offline::Mode::Check
    } else {
        offline::Mode::Replace
    };
    match prepare::prepare_all(mode).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
