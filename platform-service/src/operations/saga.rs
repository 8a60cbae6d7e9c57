//! What a kind of operation is: its steps, what each does, and what undoes it.
//!
//! Deliberately in two halves per step: what happens outside of the registry ([`Saga::act`],
//! [`Saga::undo`]) may run twice; what happens in it ([`Saga::record`], [`Saga::forget`]) commits
//! together with the log. Invariants: intent is in the plan before the first act; an act may be
//! dropped at any `await`, so it holds nothing that a drop would leave behind.

use std::fmt::Debug;
use std::future::{Future, ready};
use std::time::Duration;

pub(crate) use contract::operator::operation::Progress;
use contract::{ClusterName, OperationId, TenantId};
use kit::error::Problem;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Failure, OperationState, Plan, Step, Stop};
use crate::platform::Platform;

/// A kind of operation, as the plan of one.
pub(crate) trait Saga: Serialize + DeserializeOwned + Debug + Send + Sync + 'static {
    /// Every step that an operation of this kind may have, in order; those of all variants together.
    const STEPS: &'static [Step];

    /// The steps in order; may depend on what the plan said from the start, and on nothing else.
    fn steps(&self) -> &'static [Step] {
        Self::STEPS
    }

    /// Once this step is done, and that is logged, nothing is undone: what fails later is tried
    /// again, is stuck then, and goes on forwards. A failure in this step or before it unwinds, this
    /// step's own undo included.
    fn point_of_no_return(&self) -> Step;

    /// How it is run.
    fn traits(&self) -> Traits {
        Traits::QUICK
    }

    /// Whether a step does nothing outside of the registry, as far as the steps before it have
    /// learned: then it is written together with the step before it, or with the operation itself, and not
    /// acted. Not for a step after one that enters the change feed, which is the last write of its transaction.
    fn needs_no_act(&self, _step: Step) -> bool {
        false
    }

    /// Whether the keepers of templates and stock may have something to do once it ends or waits.
    fn concerns_keepers(&self) -> bool {
        true
    }

    /// Does what the current step does outside of the registry. May run twice; what it learned, it
    /// keeps in the plan. Where it tells steps apart it names each of them,
    /// and refuses any other as [unexpected](Step::unexpected).
    fn act(
        &mut self,
        platform: &Platform,
        head: &Head,
    ) -> impl Future<Output = Result<(), Stop>> + Send;

    /// Writes what `step` means to the registry, in the transaction that logs it as done; it is the
    /// current one, or one that [needs no act](Self::needs_no_act) and follows it.
    fn record(
        &self,
        _connection: &mut PgConnection,
        _head: &Head,
        _step: Step,
    ) -> impl Future<Output = Result<(), Stop>> + Send {
        ready(Ok(()))
    }

    /// Undoes outside of the registry what the current step may have done. May run twice. Deliberately
    /// without a default: that there is nothing to undo is for each kind to say.
    fn undo(
        &mut self,
        platform: &Platform,
        head: &Head,
    ) -> impl Future<Output = Result<(), Stop>> + Send;

    /// Takes back what the current step meant to the registry, in the transaction that logs it as
    /// undone.
    fn forget(
        &self,
        _connection: &mut PgConnection,
        _head: &Head,
    ) -> impl Future<Output = Result<(), Stop>> + Send {
        ready(Ok(()))
    }

    /// What is kept when the plan is erased: ids, sizes, checksums; never a secret.
    fn result(&self) -> Option<Value> {
        None
    }

    /// How far it is, where it counts.
    fn progress(&self) -> Option<Progress> {
        None
    }
}

/// How an operation is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Traits {
    pub(crate) lane: Lane,
    pub(crate) cancel: Cancel,
    /// How long it waits for something outside of it before it gives up, since it was asked for.
    pub(crate) patience: Duration,
}

impl Traits {
    /// Over in seconds.
    pub(crate) const QUICK: Self = Self {
        lane: Lane::Quick,
        cancel: Cancel::Allowed,
        patience: Duration::from_secs(24 * 60 * 60),
    };
    /// Moves data, or waits for others.
    pub(crate) const LONG: Self = Self {
        lane: Lane::Long,
        ..Self::QUICK
    };
    /// Goes through many tenants.
    pub(crate) const FLEET: Self = Self {
        patience: Duration::from_secs(14 * 24 * 60 * 60),
        ..Self::LONG
    };
}

/// Which permits its steps take, so that long work never stops a sign-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    Quick,
    Long,
}

/// Whether it can be cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cancel {
    /// Until its point of no return: it is undone.
    Allowed,
    /// At any time: its acts look at [`Head::wish`] and come to an early end.
    Heeded,
}

/// What an operation is about; one live operation at a time has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Subject {
    Tenant(TenantId),
    Cluster(ClusterName),
    /// All of it: one live operation of each kind.
    Fleet,
}

impl Subject {
    /// The tenant, where it is one.
    pub(crate) fn tenant(&self) -> Option<&TenantId> {
        match self {
            Self::Tenant(tenant) => Some(tenant),
            Self::Cluster(_) | Self::Fleet => None,
        }
    }

    /// The cluster, where it is one.
    pub(crate) fn cluster(&self) -> Option<&ClusterName> {
        match self {
            Self::Cluster(cluster) => Some(cluster),
            Self::Tenant(_) | Self::Fleet => None,
        }
    }
}

/// Whether somebody wants an operation to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    GoOn,
    End,
}

/// A live operation without its plan, as its steps see it.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub(crate) id: OperationId,
    pub(crate) lease: Uuid,
    /// The operation that it is a part of.
    pub(crate) parent: Option<OperationId>,
    pub(crate) subject: Subject,
    pub(crate) state: OperationState,
    pub(crate) step: Step,
    /// How often the current step was tried in vain.
    pub(crate) attempts: i32,
    pub(crate) failure: Option<Failure>,
    pub(crate) wish: Wish,
    /// Since it was asked for.
    pub(crate) age: Duration,
}

impl Head {
    /// The tenant that it is about.
    ///
    /// # Errors
    /// It is about something else.
    pub(crate) fn tenant(&self) -> Result<&TenantId, Stop> {
        let none = || Stop::Fail(Problem::internal("the operation is about no tenant"));
        self.subject.tenant().ok_or_else(none)
    }

    /// The cluster that it is about.
    ///
    /// # Errors
    /// It is about something else.
    pub(crate) fn cluster(&self) -> Result<&ClusterName, Stop> {
        let none = || Stop::Fail(Problem::internal("the operation is about no cluster"));
        self.subject.cluster().ok_or_else(none)
    }
}

/// A live operation whose lease this process holds.
#[derive(Debug)]
pub(crate) struct Operation {
    pub(crate) head: Head,
    pub(crate) plan: Plan,
}
