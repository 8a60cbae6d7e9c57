//! app-service as a program of its own, as tests ask it beside a world.
//!
//! Deliberately the same library as the program. Invariant: nothing is set up here that the program
//! would not have.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    app_service::app().run().await
}
