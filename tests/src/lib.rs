//! A world for tests: both services in this process against a PostgreSQL of its own, tenants made by
//! the real sign-up, and speakers that say who asks.
//!
//! ```no_run
//! # async fn example() {
//! let world = world::World::shared().await;
//! let acme = world.tenant("acme").await;
//! let answer = acme.owner().get("/v1/me").await;
//! assert_eq!(answer.status(), 200);
//! # }
//! ```
//!
//! For the tests of a module of your own, start a world with it: see [`WorldOptions::app`].
//! Deliberately replaces no part of the services by a double. Invariants: whatever does not work
//! fails the test at once, with words; waiting is for a condition and has a deadline.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod answer;
mod cluster;
mod inside;
mod logs;
mod options;
mod postgres;
mod process;
mod proxy;
mod replica;
mod scan;
mod speaker;
mod standby;
mod tenant;
mod wait;
mod world;

pub use answer::Answer;
pub use cluster::Cluster;
pub use logs::{Everything, Logs};
pub use options::WorldOptions;
pub use platform_service::{Fault, Faults, OperationKind, Step};
pub use postgres::{OpenTransaction, Postgres};
pub use postgres_server::StopMode;
pub use process::PlatformProcess;
pub use proxy::{FaultProxy, Mode};
pub use replica::{AppReplica, PlatformReplica};
pub use scan::objections;
pub use speaker::{Request, Speaker};
pub use tenant::{PASSWORD, TenantHandle};
pub use wait::{DEADLINE, eventually, until};
pub use world::World;
