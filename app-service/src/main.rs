//! The program: our own modules on the public builder.
//!
//! Deliberately nothing else; whoever adds modules writes a program like this one.

use std::process::ExitCode;

use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    app_service::app().run().await
}
