//! What a refresh token that is shown leads to.
//!
//! Deliberately pure: the caller looks the facts up under the session's lock and does what the
//! verdict says. Invariant: a token that was stolen and used is noticed by the next use of any
//! other token of its place, and the session ends.

#[cfg(test)]
mod tests;

use std::time::Duration;

/// A spent token is taken once more within this time if what was given for it was never used: the
/// answer was lost on its way.
pub(super) const LOST_ANSWER_GRACE: Duration = Duration::from_secs(10);

/// A token in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::Type)]
#[sqlx(type_name = "text", rename_all = "lowercase")]
pub(super) enum TokenState {
    /// Good once.
    Live,
    /// Exchanged.
    Spent,
    /// Its parent was exchanged again, because the answer with this one was lost.
    Superseded,
}

/// Whether a session goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SessionState {
    /// It does.
    Open,
    /// Ended by its bearer, by us, or by its age.
    Over,
}

/// When a token was spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SpentAt {
    /// Within the grace.
    Recently,
    /// Before it, or never.
    LongAgo,
}

/// A token as it is found under the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Presented {
    pub(super) session: SessionState,
    pub(super) token: TokenState,
    pub(super) spent: SpentAt,
}

/// What a token that is shown leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Spend it and give a new one.
    Rotate,
    /// Supersede what was given for it and give another, unless that was used: then [`Self::End`].
    ReissueIfUnused,
    /// It is no use, and tells nothing.
    Refuse,
    /// Somebody else has it: end the session.
    End,
}

impl Presented {
    /// The verdict.
    pub(super) fn verdict(self) -> Verdict {
        match (self.session, self.token, self.spent) {
            (SessionState::Over, _, _) => Verdict::Refuse,
            (SessionState::Open, TokenState::Live, _) => Verdict::Rotate,
            (SessionState::Open, TokenState::Spent, SpentAt::Recently) => Verdict::ReissueIfUnused,
            (SessionState::Open, TokenState::Spent, SpentAt::LongAgo)
            | (SessionState::Open, TokenState::Superseded, _) => Verdict::End,
        }
    }
}
