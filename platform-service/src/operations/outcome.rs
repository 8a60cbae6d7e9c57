//! What a step came to, and what follows from it: the rules of the runner as one pure function.
//!
//! Deliberately knows no database and no particular step. Invariants: an operation that fails is
//! unwound including the step that failed, unless it is past its point of no return; tries are
//! bounded, those of what waits for a server that is away by time; what can go neither on nor back ends
//! in `stuck`, where somebody sees it, and never in silence.

use std::time::Duration;

use contract::Code;
use kit::error::Problem;

use super::saga::{Cancel, Traits, Wish};
use super::{Failure, Head, OperationState, Plan, Step};
use crate::stop::Stop;

/// The first pause after a failure that may pass; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Tries of a step before the operation is unwound: about twenty seconds.
const MOST_TRIES: i32 = 10;
/// Tries of an undo, or of a step that cannot be undone any more, before the operation is stuck: about ten
/// minutes. One that waits for a server that is away has been tried this often and goes on waiting: such a
/// server must not leave an operation to a human that would have ended by itself.
pub(crate) const MOST_UNDO_TRIES: i32 = 125;
/// The pause between its tries then.
const AWAY_PAUSE: Duration = Duration::from_secs(60);

impl Head {
    /// Whether a failure of the current step, where it can be undone, is not tried again.
    pub(crate) fn is_last_try(&self) -> bool {
        self.attempts + 1 >= MOST_TRIES
    }
}

/// What happened to a step, as the log names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    Started,
    Done,
    Postponed,
    Failed,
    UndoStarted,
    Undone,
    UndoFailed,
}

impl Event {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Started => "started",
            Self::Done => "done",
            Self::Postponed => "postponed",
            Self::Failed => "failed",
            Self::UndoStarted => "undo_started",
            Self::Undone => "undone",
            Self::UndoFailed => "undo_failed",
        }
    }
}

/// A line of an operation's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) step: Step,
    pub(crate) event: Event,
    pub(crate) detail: Option<String>,
}

impl Entry {
    pub(crate) fn new(step: Step, event: Event) -> Self {
        Self {
            step,
            event,
            detail: None,
        }
    }
}

/// The steps of an operation, as its plan has them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Way {
    pub(crate) steps: &'static [Step],
    pub(crate) point_of_no_return: Step,
    pub(crate) traits: Traits,
}

impl Way {
    pub(crate) fn of(plan: &Plan) -> Self {
        Self {
            steps: plan.steps(),
            point_of_no_return: plan.point_of_no_return(),
            traits: plan.traits(),
        }
    }

    fn position(&self, step: Step) -> Option<usize> {
        self.steps.iter().position(|known| *known == step)
    }

    fn after(&self, step: Step) -> Option<Step> {
        self.steps.get(self.position(step)? + 1).copied()
    }

    fn before(&self, step: Step) -> Option<Step> {
        self.steps
            .get(self.position(step)?.checked_sub(1)?)
            .copied()
    }

    /// Whether what fails at a step is undone.
    fn is_reversible(&self, step: Step) -> bool {
        self.position(step) <= self.position(self.point_of_no_return)
    }

    /// Whether an operation that stands there can still be cancelled.
    pub(crate) fn may_be_cancelled(&self, state: OperationState, step: Step) -> bool {
        state == OperationState::Running
            && match self.traits.cancel {
                Cancel::Allowed => self.is_reversible(step),
                Cancel::Heeded => true,
            }
    }

    /// Whether an operation is to be undone instead of its current step being done.
    pub(crate) fn is_cancelled(&self, head: &Head) -> bool {
        head.wish == Wish::End
            && self.traits.cancel == Cancel::Allowed
            && self.may_be_cancelled(head.state, head.step)
    }
}

/// Where an operation stands next, written in one statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Turn {
    pub(crate) state: OperationState,
    /// Of a stuck one: the state in which it goes on when it is tried again.
    pub(crate) resumes: Option<OperationState>,
    pub(crate) step: Step,
    pub(crate) attempts: i32,
    pub(crate) failure: Option<Failure>,
    /// Rests this long before the next try; `None` goes on at once.
    pub(crate) pause: Option<Duration>,
    pub(crate) log: Vec<Entry>,
}

/// What follows when the operation's current step came to `outcome`.
pub(crate) fn next(head: &Head, way: &Way, outcome: &Result<(), Stop>) -> Turn {
    match head.state {
        _ if way.position(head.step).is_none() => stuck(
            head,
            &Stop::Fail(Problem::internal("the plan does not have this step")),
        ),
        OperationState::Unwinding => after_undo(head, way, outcome),
        _ => after_act(head, way, outcome),
    }
}

impl Turn {
    /// Whether nothing is left, for a cause that may pass: the same request, of which the answer said that it
    /// may be sent again, begins anew then.
    pub(crate) fn is_as_if_never_begun(&self) -> bool {
        let cause = self.failure.as_ref();
        self.state == OperationState::Undone
            && cause.is_some_and(|failure| failure.code.is_retryable())
    }

    /// The same when the step that it leads to is done as well.
    pub(crate) fn and_done(mut self, way: &Way) -> Self {
        let after = done(way, self.step);
        self.log.extend(after.log);
        Self {
            log: self.log,
            ..after
        }
    }
}

fn done(way: &Way, step: Step) -> Turn {
    let done = Entry::new(step, Event::Done);
    let (state, step, log) = match way.after(step) {
        Some(next) => {
            let started = Entry::new(next, Event::Started);
            (OperationState::Running, next, vec![done, started])
        }
        None => (OperationState::Done, step, vec![done]),
    };
    Turn {
        state,
        resumes: None,
        step,
        attempts: 0,
        failure: None,
        pause: None,
        log,
    }
}

fn after_act(head: &Head, way: &Way, outcome: &Result<(), Stop>) -> Turn {
    let step = head.step;
    let is_reversible = way.is_reversible(step);
    let most_tries = if is_reversible {
        MOST_TRIES
    } else {
        MOST_UNDO_TRIES
    };
    match outcome {
        Ok(()) => done(way, step),
        Err(Stop::Retry(problem)) if head.attempts + 1 < most_tries => {
            again(head, failure_of(problem))
        }
        Err(Stop::Later { wait, reason }) if head.age < way.traits.patience => {
            later(head, *wait, reason)
        }
        Err(stop) if !is_reversible && is_awaited(head, way, stop) => away(head, failure(stop)),
        Err(stop) if is_reversible => Turn {
            state: OperationState::Unwinding,
            resumes: None,
            step,
            attempts: 0,
            log: vec![
                failed(step, Event::Failed, stop),
                Entry::new(step, Event::UndoStarted),
            ],
            failure: Some(failure(stop)),
            pause: None,
        },
        Err(stop) => stuck(head, stop),
    }
}

fn after_undo(head: &Head, way: &Way, outcome: &Result<(), Stop>) -> Turn {
    let step = head.step;
    match outcome {
        Ok(()) => {
            let undone = Entry::new(step, Event::Undone);
            let (state, step, log) = match way.before(step) {
                Some(previous) => {
                    let started = Entry::new(previous, Event::UndoStarted);
                    (OperationState::Unwinding, previous, vec![undone, started])
                }
                None => (OperationState::Undone, step, vec![undone]),
            };
            Turn {
                state,
                resumes: None,
                step,
                attempts: 0,
                failure: head.failure.clone(),
                pause: None,
                log,
            }
        }
        // Why it is unwound stays what the operation shows.
        Err(Stop::Retry(problem)) if head.attempts + 1 < MOST_UNDO_TRIES => Turn {
            failure: head.failure.clone(),
            ..again(head, failure_of(problem))
        },
        // What an undo waits for comes or does not, as with a server that is away.
        Err(Stop::Later { reason, .. }) if head.attempts + 1 < MOST_UNDO_TRIES => Turn {
            failure: head.failure.clone(),
            ..again(head, waited_for(reason))
        },
        Err(stop) if is_awaited(head, way, stop) => Turn {
            failure: head.failure.clone(),
            ..away(head, failure(stop))
        },
        Err(stop) => stuck(head, stop),
    }
}

/// It goes on by itself no more.
fn stuck(head: &Head, stop: &Stop) -> Turn {
    let (resumes, event, shown) = match head.state {
        OperationState::Unwinding => (
            OperationState::Unwinding,
            Event::UndoFailed,
            head.failure.clone(),
        ),
        _ => (OperationState::Running, Event::Failed, Some(failure(stop))),
    };
    Turn {
        state: OperationState::Stuck,
        resumes: Some(resumes),
        step: head.step,
        attempts: head.attempts,
        failure: shown,
        pause: None,
        log: vec![failed(head.step, event, stop)],
    }
}

fn again(head: &Head, failure: Failure) -> Turn {
    let doublings = u32::try_from(head.attempts).unwrap_or(0).min(16);
    let pause = (FIRST_PAUSE * 2_u32.pow(doublings)).min(LONGEST_PAUSE);
    let entry = Entry {
        detail: Some(failure.detail.clone()),
        ..Entry::new(head.step, Event::Postponed)
    };
    Turn {
        state: head.state,
        resumes: None,
        step: head.step,
        attempts: head.attempts + 1,
        failure: Some(failure),
        pause: Some(pause),
        log: vec![entry],
    }
}

/// Whether it goes on by itself when a server is back.
fn is_awaited(head: &Head, way: &Way, stop: &Stop) -> bool {
    stop.is_unreachable() && head.age < way.traits.patience
}

/// As [`again`] after many tries: looked at now and then.
fn away(head: &Head, failure: Failure) -> Turn {
    let next = Turn {
        pause: Some(AWAY_PAUSE),
        ..again(head, failure)
    };
    // A long wait is one line of the log, not one per look.
    let known = head.attempts >= MOST_UNDO_TRIES;
    Turn {
        log: if known { Vec::new() } else { next.log },
        ..next
    }
}

fn later(head: &Head, wait: Duration, reason: &str) -> Turn {
    let failure = waited_for(reason);
    // A long wait is one line of the log, not one per look.
    let entry = Entry {
        detail: Some(reason.to_owned()),
        ..Entry::new(head.step, Event::Postponed)
    };
    let known = head.failure.as_ref() == Some(&failure);
    Turn {
        state: head.state,
        resumes: None,
        step: head.step,
        // It looked, and saw what it waits for: what failed before has passed.
        attempts: 0,
        failure: Some(failure),
        pause: Some(wait),
        log: if known { Vec::new() } else { vec![entry] },
    }
}

fn waited_for(reason: &str) -> Failure {
    Failure {
        code: Code::NotReady,
        detail: reason.to_owned(),
    }
}

/// What an operation says of a problem: its words, and those of the server that it met.
pub(super) fn failure_of(problem: &Problem) -> Failure {
    let document = problem.document(None);
    let mut words: Vec<String> = document.detail.into_iter().collect();
    let fields = document.errors.iter();
    words.extend(fields.map(|field| format!("{} {}", field.pointer, field.detail)));
    if words.is_empty() {
        words.push(document.title);
    }
    let words = words.join("; ");
    let said = problem.cause().and_then(|cause| kit::db::said(cause));
    Failure {
        code: document.code,
        detail: match said {
            Some(said) => format!("{}; the server said: {said}", words.trim_end_matches('.')),
            None => words,
        },
    }
}

fn failure(stop: &Stop) -> Failure {
    match stop {
        Stop::Retry(problem) | Stop::Fail(problem) => failure_of(problem),
        Stop::Later { reason, .. } => Failure {
            code: Code::Timeout,
            detail: format!("gave up waiting: {reason}"),
        },
    }
}

fn failed(step: Step, event: Event, stop: &Stop) -> Entry {
    Entry {
        step,
        event,
        detail: Some(failure(stop).detail),
    }
}

#[cfg(test)]
mod tests;
