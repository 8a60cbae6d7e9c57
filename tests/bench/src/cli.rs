//! The command line, and which of its parts this process plays.
//!
//! Deliberately thin. Invariant: the exit code is a failure where a row could not be measured; a
//! goal that was not reached is a figure, not a failure.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::machine::Machine;
use crate::process::{raise_open_files, say};
use crate::report::Report;
use crate::rows::Row;
use crate::stage::Stage;
use crate::{roles, rows};

/// Measures the platform against baselines of the same run; prints a table and writes JSON.
#[derive(Debug, Parser)]
#[command(name = "cargo bench -p bench --")]
struct CommandLine {
    #[command(subcommand)]
    role: Option<Role>,
    #[command(flatten)]
    options: Options,
}

/// How to measure.
#[derive(Debug, Clone, Args)]
pub(crate) struct Options {
    /// Full size: 1,000 tenants, memory up to 11,000, longer rounds; takes half an hour and about
    /// 15 GB of temporary files.
    #[arg(long)]
    pub(crate) full: bool,
    /// Only this row; may be given several times.
    #[arg(long, value_name = "ROW")]
    only: Vec<Row>,
    /// Rounds of each row, in which ours and the baseline take turns; an even number, so that each goes
    /// first as often as the other, which finds the warmer caches.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rounds: u32,
    /// Where the results go; by default `bench/results.json` in the target folder.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// A folder for the services' logs; by default they are thrown away.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) logs: Option<PathBuf>,
    /// Cargo adds it.
    #[arg(long, hide = true)]
    bench: bool,
}

/// What a child process is.
#[derive(Debug, Clone, Copy, Subcommand)]
#[command(hide = true)]
pub(crate) enum Role {
    /// platform-service.
    #[command(hide = true)]
    Platform,
    /// app-service with the reference schema.
    #[command(hide = true)]
    App,
    /// A baseline.
    #[command(hide = true)]
    Baseline,
}

impl Role {
    /// The argument that makes a process play it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Platform => "platform",
            Self::App => "app",
            Self::Baseline => "baseline",
        }
    }
}

impl Options {
    /// `small`, or `full` with `--full`.
    pub(crate) fn sized<T>(&self, small: T, full: T) -> T {
        if self.full { full } else { small }
    }
}

/// Runs the benchmark, or one of the processes that it starts.
pub fn main() -> ExitCode {
    let CommandLine { role, options } = CommandLine::parse();
    let done = raise_open_files().and_then(|()| {
        tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()?
            .block_on(async {
                match role {
                    None => measure(&options).await,
                    Some(Role::Platform) => roles::platform().await,
                    Some(Role::App) => roles::app().await,
                    Some(Role::Baseline) => roles::baseline::serve().await,
                }
            })
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn measure(options: &Options) -> anyhow::Result<()> {
    if let Some(logs) = &options.logs {
        std::fs::create_dir_all(logs)?;
    }
    let mut stage = Stage::open(options).await?;
    let machine = Machine::look(&stage).await?;
    let mut report = Report::new(options, machine);
    let mut failed = 0;
    for row in Row::chosen(&options.only) {
        say(&format!("measuring {} ...", row.name()));
        match rows::measure(row, &mut stage).await {
            Ok(figure) => report.add(figure),
            Err(error) => {
                say(&format!("{} failed: {error:#}", row.name()));
                failed += 1;
            }
        }
    }
    stage.close().await?;
    report.print()?;
    report.write(&options.json.clone().map_or_else(default_json, Ok)?)?;
    anyhow::ensure!(failed == 0, "{failed} rows could not be measured");
    Ok(())
}

/// Beside the program, which is in `<target>/release/deps`.
fn default_json() -> anyhow::Result<PathBuf> {
    let program = std::env::current_exe()?;
    let target = program.ancestors().nth(3).unwrap_or(&program);
    Ok(target.join("bench").join("results.json"))
}
