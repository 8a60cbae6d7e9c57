//! How a service of this platform is run: settings, telemetry, errors, HTTP, tokens, databases,
//! migrations, start and drain.
//!
//! Deliberately knows no domain: nothing here has heard of a tenant's status or an entry.
//! Invariant: dependencies point from the services to this crate, never back.

pub mod address;
pub mod auth;
pub mod config;
pub mod core_dumps;
pub mod db;
pub mod docs;
pub mod email;
pub mod error;
pub mod extract;
pub mod http;
pub mod json;
pub mod limit;
pub mod migrate;
pub mod observe;
pub mod openapi;
pub mod page;
pub mod passwords;
pub mod precondition;
pub mod program;
pub mod serve;
pub mod telemetry;
pub mod words;
