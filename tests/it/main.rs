//! The world tests: one file per theme, one binary.
//!
//! Deliberately through the public and the internal APIs, and through the server's own eyes; nothing
//! of the services is called from inside. Tests that need nothing special share a world.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]
#![expect(
    clippy::too_many_lines,
    reason = "a test is one story, and a table of vectors is one table"
)]

mod answers;
mod architecture;
mod auth;
mod aws;
mod bodies;
mod budget;
mod callers;
mod clusters;
mod ctl;
mod deploys;
mod directory;
mod documents;
mod entries;
mod faults;
mod fleet;
mod frozen;
mod fuzz;
mod headers;
mod isolation;
mod limits;
mod markers;
mod migrations;
mod operator_keys;
mod oversight;
mod programs;
mod provisioning;
mod repeats;
mod saga;
mod secrets;
mod sessions;
mod silence;
mod soak;
mod support;
mod templates;
mod tokens;
mod twins;
mod walls;
