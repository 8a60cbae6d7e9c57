//! Why work on servers and stores is not done, and whether to try it again.
//!
//! Deliberately decides neither how often nor how long: an operation's rules and each loop of the platform
//! have patience of their own. Invariant: what may pass by itself, such as a server that is away or a lock
//! that others hold, is never told as a failure, and what no try can mend is never tried again.

use std::borrow::Cow;
use std::error::Error;
use std::time::Duration;

use adapters::secret_store::SecretError;
use contract::Code;
use kit::db::Fault;
use kit::error::{Problem, chain};

use crate::clusters;

/// Why something is not done.
#[derive(Debug)]
pub(crate) enum Stop {
    /// It may pass by itself: tried again, a bounded number of times.
    Retry(Problem),
    /// Something else has to happen first.
    Later {
        /// When to look again.
        wait: Duration,
        /// What is waited for, in words for an operator.
        reason: Cow<'static, str>,
    },
    /// It cannot be done.
    Fail(Problem),
}

impl Stop {
    /// Whether nothing can be done on a server now: it is away, lets nobody in, or takes no writes.
    pub(crate) fn is_unusable(&self) -> bool {
        matches!(self, Self::Retry(problem) if problem.code() == Code::DatabaseUnavailable)
    }

    /// Whether a server could not be reached. One that answers, and refuses, needs somebody to look.
    pub(crate) fn is_unreachable(&self) -> bool {
        let Self::Retry(problem) = self else {
            return false;
        };
        let mut cause: Option<&(dyn Error + 'static)> = match problem.cause() {
            Some(cause) => Some(cause),
            None => None,
        };
        while let Some(error) = cause {
            match error.downcast_ref() {
                // Connections of ours that are all in use are no server's fault.
                Some(sqlx::Error::PoolTimedOut) => return false,
                Some(error) => return Fault::of(error) == Fault::Unreachable,
                None => cause = error.source(),
            }
        }
        false
    }

    /// The same for somebody who waits for an answer.
    pub(crate) fn into_problem(self) -> Problem {
        match self {
            Self::Retry(problem) | Self::Fail(problem) => problem,
            Self::Later { reason, .. } => Problem::new(Code::NotReady).detail(reason),
        }
    }

    /// The same for a log, or for an operator who looks at many places.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Retry(problem) | Self::Fail(problem) => chain(problem),
            Self::Later { reason, .. } => reason.to_string(),
        }
    }
}

impl From<sqlx::Error> for Stop {
    fn from(error: sqlx::Error) -> Self {
        let passing = match Fault::of(&error) {
            Fault::Unreachable
            | Fault::Closed
            | Fault::LoginRefused
            | Fault::Full
            | Fault::Exhausted
            | Fault::ReadOnly
            | Fault::LockTimeout
            | Fault::Cancelled
            | Fault::Conflict => true,
            Fault::DatabaseGone | Fault::RightsLost | Fault::Unstorable | Fault::Other => {
                clusters::is_in_use(&error) || clusters::is_race(&error)
            }
        };
        let problem = Problem::from(error);
        if passing {
            Self::Retry(problem)
        } else {
            Self::Fail(problem)
        }
    }
}

impl From<SecretError> for Stop {
    fn from(error: SecretError) -> Self {
        if error.is_retryable() {
            Self::Retry(
                Problem::new(Code::NotReady)
                    .detail("The secret store is not available.")
                    .caused_by(error),
            )
        } else {
            Self::Fail(Problem::internal(error))
        }
    }
}

impl From<Problem> for Stop {
    fn from(problem: Problem) -> Self {
        if problem.code().is_retryable() {
            Self::Retry(problem)
        } else {
            Self::Fail(problem)
        }
    }
}
