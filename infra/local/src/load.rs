//! A steady stream of requests, and what became of each.
//!
//! Deliberately no benchmark: a fixed pace, so that only failures and gaps count. Invariant: every
//! request that was started is in the tally.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::api::Api;

/// Callers at once, for each tenant.
const CALLERS: usize = 4;
/// Between two requests of a caller; far from any tier's rate.
const PACE: Duration = Duration::from_millis(40);

/// Requests that go on until they are counted.
pub(crate) struct Load {
    stop: CancellationToken,
    callers: Vec<JoinHandle<Vec<Shot>>>,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Served,
    /// 503: to be tried again.
    Later,
    /// Any other status, or no answer.
    Broken,
}

/// One request.
#[derive(Debug, Clone, Copy)]
struct Shot {
    answered: Instant,
    outcome: Outcome,
}

/// What became of all requests.
#[derive(Debug)]
pub(crate) struct Tally {
    /// In the order of their answers.
    shots: Vec<Shot>,
}

impl Load {
    /// Asks `path` in the name of each speaker, over and over.
    pub(crate) fn start(speakers: &[Api], path: &'static str) -> Self {
        let stop = CancellationToken::new();
        let callers = speakers
            .iter()
            .flat_map(|speaker| std::iter::repeat_n(speaker, CALLERS))
            .map(|speaker| tokio::spawn(call(speaker.clone(), path, stop.clone())))
            .collect();
        Self { stop, callers }
    }

    /// Ends the requests and counts them.
    pub(crate) async fn finish(self) -> anyhow::Result<Tally> {
        self.stop.cancel();
        let mut shots = Vec::new();
        for caller in self.callers {
            shots.extend(caller.await?);
        }
        shots.sort_by_key(|shot| shot.answered);
        Ok(Tally { shots })
    }
}

async fn call(speaker: Api, path: &'static str, stop: CancellationToken) -> Vec<Shot> {
    let mut shots = Vec::new();
    while !stop.is_cancelled() {
        let outcome = match speaker.get(path).await {
            Ok(answer) if answer.status == 200 => Outcome::Served,
            Ok(answer) if answer.status == 503 => Outcome::Later,
            _ => Outcome::Broken,
        };
        shots.push(Shot {
            answered: Instant::now(),
            outcome,
        });
        tokio::time::sleep(PACE).await;
    }
    shots
}

impl Tally {
    /// All requests.
    pub(crate) fn total(&self) -> usize {
        self.shots.len()
    }

    /// Those answered with 503.
    pub(crate) fn later(&self) -> usize {
        self.count(Outcome::Later)
    }

    /// Those that failed in another way.
    pub(crate) fn broken(&self) -> usize {
        self.count(Outcome::Broken)
    }

    /// From `moment` to the first answer after the last failure; zero where nothing failed later.
    pub(crate) fn recovered_after(&self, moment: Instant) -> Duration {
        let failed = self
            .shots
            .iter()
            .rposition(|shot| shot.outcome != Outcome::Served);
        let first_served = failed.and_then(|last| self.shots.get(last + 1));
        first_served.map_or(Duration::ZERO, |shot| {
            shot.answered.saturating_duration_since(moment)
        })
    }

    fn count(&self, outcome: Outcome) -> usize {
        self.shots
            .iter()
            .filter(|shot| shot.outcome == outcome)
            .count()
    }
}

#[cfg(test)]
mod tests {
    use super::{Outcome, Shot, Tally};
    use std::time::Duration;
    use tokio::time::Instant;

    #[test]
    fn recovery_counts_from_the_moment_to_the_first_answer_after_the_last_failure() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let shot = |millis, outcome| Shot {
            answered: at(millis),
            outcome,
        };
        let tally = Tally {
            shots: vec![
                shot(1, Outcome::Served),
                shot(5, Outcome::Later),
                shot(6, Outcome::Served),
                shot(9, Outcome::Broken),
                shot(14, Outcome::Served),
            ],
        };
        assert_eq!(tally.recovered_after(at(10)), Duration::from_millis(4));
        assert_eq!(tally.recovered_after(at(20)), Duration::ZERO);
        assert_eq!((tally.total(), tally.later(), tally.broken()), (5, 1, 1));
    }
}
