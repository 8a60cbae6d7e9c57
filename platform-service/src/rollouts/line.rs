//! The turns that wait on a cluster, and how many of them go into one call of a service.
//!
//! Deliberately pure: it takes no turn and calls nobody. A call is work of its own for both sides, so quick
//! migrations share one; who stops a roll-out waits for the calls that run, so they stay short. Invariants:
//! a slow migration has a call for itself; so has a tenant that was tried in vain, and one of a call that gave
//! no answer; what is left of a call is first in the line again; no more turns wait than calls are soon for.

use std::collections::VecDeque;
use std::time::Duration;

use super::store::work::Turn;

/// How long a call is to last: one with several tenants, not one that has a slow one.
const CALL: Duration = Duration::from_millis(200);
/// Whose migrations last longer have a call each.
const QUICK: Duration = Duration::from_millis(50);
/// The most tenants of a call.
const MOST: usize = 16;
/// Turns are taken for so many calls, for each that runs at once.
const CALLS_AHEAD: usize = 4;

/// See the module.
#[derive(Debug)]
pub(super) struct Line {
    waiting: VecDeque<Turn>,
    at_once: usize,
    pace: Pace,
}

impl Line {
    /// A line whose turns go into so many calls at once.
    pub(super) fn new(at_once: usize) -> Self {
        Self {
            waiting: VecDeque::new(),
            at_once,
            pace: Pace(1),
        }
    }

    /// How many more turns to take; none while there are enough to fill the calls of a while.
    pub(super) fn wants(&self) -> Option<usize> {
        let calls = self.at_once * self.pace.0;
        (self.waiting.len() < 2 * calls).then_some(calls * CALLS_AHEAD)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Adds turns that were taken.
    pub(super) fn join(&mut self, turns: impl IntoIterator<Item = Turn>) {
        self.waiting.extend(turns);
    }

    /// The turns of the next call: no more than leaves something for each of those at once.
    pub(super) fn next(&mut self) -> Option<Vec<Turn>> {
        let most = self.pace.0.min(self.waiting.len().div_ceil(self.at_once));
        let together = self.waiting.iter().take(most);
        let together = together.take_while(|turn| turn.attempts == 0 && !turn.alone);
        let together = together.count();
        let count = together.max(1).min(self.waiting.len());
        (count > 0).then(|| self.waiting.drain(..count).collect())
    }

    /// Lets those of a call that had no turn have it next, and learns from what it was like. Gives those
    /// whose turn was taken too early.
    pub(super) fn learn(&mut self, call: &Call, left: Vec<Turn>) -> Vec<Turn> {
        // Any of them may be why nobody had a turn.
        let is_unheard = left.len() == call.tenants;
        for mut turn in left.into_iter().rev() {
            turn.alone |= is_unheard;
            self.waiting.push_front(turn);
        }
        self.pace = self.pace.after(call);
        if call.took > CALL {
            self.too_early()
        } else {
            Vec::new()
        }
    }

    /// Those at the end for whom no call comes soon. What is known of those that go alone is known here only.
    fn too_early(&mut self) -> Vec<Turn> {
        let most = 2 * CALLS_AHEAD * self.at_once * self.pace.0;
        let last_alone = self.waiting.iter().rposition(|turn| turn.alone);
        let most = most.max(last_alone.map_or(0, |at| at + 1));
        self.waiting.split_off(most.min(self.waiting.len())).into()
    }

    /// Everybody leaves.
    pub(super) fn leave(&mut self) -> Vec<Turn> {
        self.waiting.drain(..).collect()
    }
}

/// What a call was like.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    /// Tenants that it was for.
    pub(super) tenants: usize,
    /// Those of them that came up.
    pub(super) done: usize,
    pub(super) took: Duration,
}

/// How many tenants a call is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pace(usize);

impl Pace {
    /// Grows step by step, and begins anew after a call that did not bring up all: one failed, and others may
    /// not be meant to; one was in the way; time was over; or the replica takes one at a time.
    fn after(self, call: &Call) -> Self {
        let done = u32::try_from(call.done.max(1)).unwrap_or(u32::MAX);
        let each = (call.took / done).max(Duration::from_micros(1));
        if call.done < call.tenants || each > QUICK {
            return Self(1);
        }
        let fit = usize::try_from(CALL.as_micros() / each.as_micros()).unwrap_or(MOST);
        Self(fit.min(2 * self.0).clamp(1, MOST))
    }
}

#[cfg(test)]
mod tests;
