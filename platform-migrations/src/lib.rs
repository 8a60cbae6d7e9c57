//! The registry's schema, as migrations that are part of the binary.
//!
//! Deliberately nothing but the files: `kit::migrate` runs them. Invariant: a file that is listed in
//! `released.lock` is never edited; a change is a new file.

use refinery::{Migration, embed_migrations};

#[cfg(test)]
#[path = "../../tenant-migrations/src/released.rs"]
mod released;
#[cfg(test)]
mod tests;

embed_migrations!("sql");

/// The PostgreSQL schema that the registry lives in.
pub const SCHEMA: &str = "registry";

/// The registry's migrations, oldest first.
pub fn migrations() -> Vec<Migration> {
    migrations::runner().get_migrations().clone()
}
