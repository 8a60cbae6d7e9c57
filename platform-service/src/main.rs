//! The program.
//!
//! Deliberately nothing else: the library is what tests and the local stack start.

use std::process::ExitCode;

use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    platform_service::cli::main().await
}
