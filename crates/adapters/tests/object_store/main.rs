//! The port for objects: one behavioural suite, run on every implementation.
//!
//! Deliberately on real stores: a folder of this machine's file system. Invariant: what the suite asks
//! for holds for each of them.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test fails by panicking"
)]

mod folder;
mod sealing;
mod suite;
