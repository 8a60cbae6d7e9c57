//! Faults that a test plants into the runner: the only way to fail, repeat or kill an operation at
//! a chosen instruction.
//!
//! Deliberately not reachable by a setting or a request: who builds the service hands them over,
//! and the program hands over none. Invariant: without faults the runner behaves as if this were
//! not here.

use std::collections::{HashMap, HashSet};

use super::{OperationKind, Step};

/// What goes wrong at a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The step fails for good before it does anything.
    FailBeforeAct,
    /// The step fails for good after it did everything.
    FailAfterAct,
    /// The step is done twice.
    RepeatAct,
    /// The runner dies before the step.
    HaltBeforeAct,
    /// The runner dies after the step, before that is written.
    HaltAfterAct,
    /// The runner dies after it wrote that the step is done.
    HaltAfterLog,
    /// The undo of the step fails for good.
    FailUndo,
    /// The undo is done twice.
    RepeatUndo,
    /// The runner dies before the undo.
    HaltBeforeUndo,
    /// The runner dies after the undo, before that is written.
    HaltAfterUndo,
    /// The runner dies after it wrote that the step is undone.
    HaltAfterUndoLog,
}

/// The faults of one service.
#[derive(Debug, Clone, Default)]
pub struct Faults(HashMap<(OperationKind, Step), HashSet<Fault>>);

impl Faults {
    /// No fault.
    pub fn none() -> Self {
        Self::default()
    }

    /// One more fault.
    #[must_use]
    pub fn with(mut self, kind: OperationKind, step: Step, fault: Fault) -> Self {
        self.0.entry((kind, step)).or_default().insert(fault);
        self
    }

    /// Whether anything is planted at a step: then it is done apart from its neighbours.
    pub(super) fn touch(&self, kind: OperationKind, step: Step) -> bool {
        self.0.contains_key(&(kind, step))
    }

    pub(super) fn has(&self, kind: OperationKind, step: Step, fault: Fault) -> bool {
        self.0
            .get(&(kind, step))
            .is_some_and(|faults| faults.contains(&fault))
    }
}
