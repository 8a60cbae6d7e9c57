//! The operators' command line, as tests start it beside a world.
//!
//! Deliberately the same library as the program. Invariant: nothing is set up here that the program
//! would not have.

use std::process::ExitCode;

fn main() -> ExitCode {
    tenantctl::main()
}
