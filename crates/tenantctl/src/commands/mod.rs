//! The commands: a file per noun.
//!
//! Deliberately thin: arguments become one request, its answer becomes a table. Invariant: a command
//! that destroys says what it destroys, shows it with `--dry-run`, and asks for its name.

pub(crate) mod archive;
pub(crate) mod audit;
pub(crate) mod backups;
pub(crate) mod clusters;
pub(crate) mod completion;
pub(crate) mod doctor;
pub(crate) mod drift;
pub(crate) mod findings;
pub(crate) mod keys;
pub(crate) mod login;
pub(crate) mod operations;
pub(crate) mod psql;
pub(crate) mod query;
pub(crate) mod replicas;
pub(crate) mod rollouts;
mod selection;
pub(crate) mod tenants;
pub(crate) mod tiers;
