//! The schemas of our own modules in a tenant's database, as migrations that are part of the
//! binary: one function per folder, of the same name, made by the build script.
//!
//! Deliberately nothing but the files: the modules hand them to `app-service`, and `kit::migrate`
//! runs them, each owner's in the PostgreSQL schema of the same name. Invariant: a file that is
//! listed in `released.lock` is never edited; a change is a new file.

use refinery::Migration;

include!(concat!(env!("OUT_DIR"), "/owners.rs"));

#[cfg(test)]
mod released;
#[cfg(test)]
mod tests;
