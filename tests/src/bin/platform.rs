//! platform-service as a program of its own, as tests start and kill it beside a world.
//!
//! Deliberately the same library as the program. Invariant: nothing is set up here that the program
//! would not have.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    platform_service::cli::main().await
}
