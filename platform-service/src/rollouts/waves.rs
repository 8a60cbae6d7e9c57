//! The rules of roll-outs: what may be asked for, what comes next, when one halts.
//!
//! Deliberately pure: it knows no database and calls nobody. Invariant: a roll-out whose failures are
//! past its share tries no further tenant, and does not end, until an operator has said so.

use contract::operator::rollout::{RolloutRequest, RolloutState, RolloutTally, Wave};
use kit::error::{Problem, Result};

const MAX_TITLE_CHARS: usize = 100;
const MAX_WAVES: usize = 20;
const MAX_CANARIES: usize = 1000;
const MAX_CONCURRENCY: u16 = 64;
/// Before so many were tried, a share is counted as of so many, or of all where there are fewer: one
/// failure among the first few says little about a fleet.
const COUNTED_AS_LEAST: u64 = 50;
/// So many failures say something about those that were tried, however few these are.
const TELLING_FAILURES: u64 = 3;

/// Refuses a roll-out that makes no sense.
///
/// # Errors
/// `validation-failed` with the fields.
pub(super) fn check(request: &RolloutRequest) -> Result<()> {
    kit::words::check_optional(&request.title, MAX_TITLE_CHARS)
        .map_err(|broken| Problem::field("/title", broken.to_string()))?;
    if !(1..=MAX_CONCURRENCY).contains(&request.concurrency) {
        return Err(Problem::field("/concurrency", "is 1 to 64"));
    }
    if !(0.0..=1.0).contains(&request.halt_share) {
        return Err(Problem::field("/halt_share", "is 0 to 1"));
    }
    if request.waves.len() > MAX_WAVES {
        return Err(Problem::field("/waves", "are at most 20"));
    }
    if !request.filter.is_of_living() {
        let rule = "is active or suspended: others have no schema to migrate";
        return Err(Problem::field("/filter/status", rule));
    }
    for (number, wave) in request.waves.iter().enumerate() {
        check_wave(number, wave)?;
    }
    Ok(())
}

fn check_wave(number: usize, wave: &Wave) -> Result<()> {
    let refused = |rule: &'static str| Err(Problem::field(format!("/waves/{number}"), rule));
    match wave {
        Wave::Tenants(tenants) if tenants.is_empty() || tenants.len() > MAX_CANARIES => {
            refused("names 1 to 1000 tenants")
        }
        Wave::Percent(share) if !(1..=100).contains(share) => refused("is 1 to 100 percent"),
        Wave::Tenants(_) | Wave::Percent(_) | Wave::Tier(_) | Wave::Cluster(_) => Ok(()),
    }
}

/// A roll-out at one moment.
#[derive(Debug, Clone)]
pub(super) struct Look {
    pub(super) state: RolloutState,
    /// Failures that an operator has gone past.
    pub(super) forgiven: u64,
    pub(super) halt_share: f64,
    /// As asked for, without the last one.
    pub(super) waves: Vec<Wave>,
    /// The wave that was worked on last.
    pub(super) current: usize,
    /// Of each wave, in order; the last one has all others.
    pub(super) tallies: Vec<RolloutTally>,
}

/// What follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision {
    /// This wave has tenants whose turn it is.
    Work(usize),
    /// It halts, for this reason.
    Halt(String),
    /// An operator has to say something first.
    Wait(&'static str),
    /// Nothing is left, or it was ended.
    Finish,
}

impl Look {
    /// All waves together.
    pub(super) fn tally(&self) -> RolloutTally {
        let mut all = RolloutTally::default();
        for wave in &self.tallies {
            all.pending += wave.pending;
            all.running += wave.running;
            all.done += wave.done;
            all.failed += wave.failed;
            all.skipped += wave.skipped;
        }
        all
    }
}

/// What follows from how a roll-out stands.
pub(super) fn decide(look: &Look) -> Decision {
    match look.state {
        RolloutState::Done | RolloutState::Aborted => return Decision::Finish,
        RolloutState::Paused => return Decision::Wait("The roll-out is paused."),
        RolloutState::Halted => return Decision::Wait("The roll-out has halted."),
        RolloutState::Running => {}
    }
    let open = |wave: &RolloutTally| wave.pending + wave.running > 0;
    // Also when nobody is left: what is past its share does not end as if all were well.
    if let Some(reason) = reason_to_halt(look) {
        return Decision::Halt(reason);
    }
    let next = look.tallies.iter().position(open);
    next.map_or(Decision::Finish, Decision::Work)
}

fn reason_to_halt(look: &Look) -> Option<String> {
    let all = look.tally();
    let failed = all.failed.saturating_sub(look.forgiven);
    if failed == 0 {
        return None;
    }
    let current = look.tallies.get(look.current);
    let is_canary = matches!(look.waves.get(look.current), Some(Wave::Tenants(_)));
    if is_canary && current.is_some_and(|wave| wave.failed > 0) {
        return Some(format!(
            "Migrations failed in a wave of canaries: {failed}."
        ));
    }
    let tried = all.done + failed;
    let total = tried + all.pending + all.running;
    let of = if failed >= TELLING_FAILURES {
        tried
    } else {
        tried.max(total.min(COUNTED_AS_LEAST))
    };
    // Tenants are counted in thousands: exact in a double.
    #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
    let share = failed as f64 / of as f64;
    (share > look.halt_share)
        .then(|| format!("Of {tried} tenants that were tried, migrations of {failed} failed."))
}

#[cfg(test)]
mod tests;
