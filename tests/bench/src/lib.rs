//! The benchmark: the figures that the platform promises, each against a baseline of the same run.
//!
//! Deliberately without doubles: both services run as processes of their own, with JSON logs, on a
//! PostgreSQL that syncs; the baselines are the least code that does the same work without tenancy.
//! Invariants: ours and the baseline take turns within every round, so that a noisy machine hurts
//! both; one client program drives both; a figure is a median over rounds.

mod cli;
mod client;
mod link;
mod load;
mod machine;
mod process;
mod reference;
mod report;
mod roles;
mod rows;
mod stage;
mod stats;

pub use cli::main;
