//! The control plane: sign-up, operators, the registry, and the operations that make tenants.
//!
//! Deliberately serves no tenant's data. Invariant: this is the only program that reads or writes
//! the registry, and everything else learns of it over the internal listener.

mod adoption;
mod archives;
mod audit;
mod backups;
pub mod cli;
mod clusters;
pub mod config;
mod confirm;
mod doctor;
mod drift;
mod feed;
mod housekeeping;
mod keys;
pub mod local;
mod made_once;
mod meter;
mod operations;
mod operators;
mod pace;
mod platform;
mod psql;
mod query;
mod readiness;
mod registry;
mod replicas;
mod rollouts;
mod schema;
mod service;
mod signing_keys;
mod stop;
mod sweep;
mod tenants;
mod tiers;
mod tools;

pub use kit::serve::Stopper;
#[doc(hidden)]
pub use operations::{Fault, Faults, OperationKind, Step};
pub use service::Service;
