//! The data plane: requests of tenants' apps, each in its own tenant's database.
//!
//! A library first: [`App`] takes modules, and the program in `main.rs` is its first user.
//! Deliberately nothing of the control plane. Invariant: module X knows no other module.

mod app;
pub mod auth;
pub mod config;
pub mod entries;
mod gauges;
mod internal;
mod module;
mod service;
mod state;
pub mod tenancy;

pub use app::App;
pub use kit::serve::Stopper;
pub use module::{Declarer, InvalidModule, Module, OwnershipHook, ProvisionHook};
pub use service::Service;
pub use state::AppState;
pub use tenancy::{Borrowed, InTenant, Permission, SignedIn, SigningOut, Tenant, Transaction};

/// Our own modules on the public builder: what the program, the local stack and the tests run.
pub fn app() -> App {
    App::new().module(auth::module()).module(entries::module())
}
