//! The program behind `cargo bench -p bench`.
//!
//! Deliberately nothing of its own; see the library. Invariant: it fails where a row failed.

use std::process::ExitCode;

use mimalloc::MiMalloc;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    bench::main()
}
