//! One behavioural suite for every secret store, and what is peculiar to each.
//!
//! Deliberately no stand-in for a store: the sealed one is whole, and AWS Secrets Manager is
//! spoken to through its own SDK, with only the endpoint changed. Invariant: a store that the
//! port gains has a file here that calls `behaves!`.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[macro_use]
mod suite;
mod aws;
mod moto;
mod sealed;
