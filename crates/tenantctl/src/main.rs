//! `tenantctl`: the operators' command line, as a program.
//!
//! Deliberately only a beginning: the library does everything. Invariant: a key never stands on its
//! command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    tenantctl::main()
}
