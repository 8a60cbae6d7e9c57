//! Operations: recorded, resumable pieces of platform work on a tenant, a cluster or the fleet.
//!
//! Deliberately one file per kind; the runner ([`runner`]) knows when something is done, the kind's
//! [`saga::Saga`] knows what. A new kind is its file, one line in [`kind`] and one `mod` here. Invariants:
//! intent is recorded before the first act; every act and every undo may run twice; whoever writes holds
//! the operation's lease.

mod adopt;
pub(crate) mod api;
mod arrive;
mod backup;
pub(crate) mod begin;
mod bulk_create;
pub(crate) mod children;
mod clone_tenant;
mod create;
pub(crate) mod delete;
pub(crate) mod drain;
pub(crate) mod drift;
mod export;
mod faults;
mod forget_backup;
pub(crate) mod hold;
mod import;
mod kind;
mod lease;
pub(crate) mod mark;
pub(crate) mod move_tenant;
mod on_tenant;
mod outcome;
mod parts;
pub(crate) mod purge;
mod rename;
pub(crate) mod reseal;
mod reserve;
mod restore;
pub(crate) mod resume;
pub(crate) mod retry;
pub(crate) mod rollout;
pub(crate) mod rotate;
pub(crate) mod rotate_fleet;
mod runner;
pub(crate) mod saga;
mod step;
pub(crate) mod store;
pub(crate) mod suspend;
pub(crate) mod transfer;
pub(crate) mod trial;
pub(crate) mod undelete;
mod verify_backup;

use std::time::Duration;

pub(crate) use contract::operator::operation::{Failure, OperationState};
use contract::{Code, OperationId};
use kit::error::Problem;
use uuid::Uuid;

pub(crate) use adopt::AdoptPlan;
pub(crate) use backup::BackupPlan;
pub(crate) use bulk_create::BulkCreatePlan;
pub(crate) use clone_tenant::ClonePlan;
pub(crate) use export::ExportPlan;
pub use faults::{Fault, Faults};
pub(crate) use forget_backup::ForgetBackupPlan;
pub(crate) use import::ImportPlan;
pub use kind::OperationKind;
pub(crate) use kind::Plan;
pub(crate) use outcome::MOST_UNDO_TRIES;
pub(crate) use reserve::{NewCreate, NotReserved, Reserved, reserve_create};
pub(crate) use restore::RestorePlan;
pub(crate) use runner::{Inbox, RunnerHandle, channel, run};
pub(crate) use saga::{Head, Operation, Subject};
pub use step::Step;
pub(crate) use verify_backup::VerifyBackupPlan;

use crate::stop::Stop;
use saga::Wish;

/// A word of the registry that names nothing here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no {0} of an operation")]
pub struct UnknownWord(&'static str);

impl Operation {
    /// An operation that is to be recorded, leased from the start by whoever makes it.
    ///
    /// # Errors
    /// Its kind has no steps.
    pub(crate) fn new(
        id: OperationId,
        subject: Subject,
        plan: impl Into<Plan>,
    ) -> Result<Self, Problem> {
        let plan = plan.into();
        let first = plan.steps().first();
        let step = *first.ok_or_else(|| Problem::new(Code::Internal))?;
        Ok(Self {
            head: Head {
                id,
                lease: Uuid::now_v7(),
                parent: None,
                subject,
                state: OperationState::Running,
                step,
                attempts: 0,
                failure: None,
                wish: Wish::GoOn,
                age: Duration::ZERO,
            },
            plan,
        })
    }
}
