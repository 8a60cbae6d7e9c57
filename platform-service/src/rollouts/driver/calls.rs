//! One call of a roll-out: several tenants' turns, and what came of each.
//!
//! Deliberately writes nothing. Invariants: trouble is of the one tenant that it is told of, and of nobody where
//! a call for several gives no answer; who had no turn is given back as if nothing had been.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use contract::internal::{FailedMigration, KnownDatabase, Migrated};
use contract::{Code, SchemaVersions};
use kit::error::{Problem, chain};

use super::{Drive, Services};
use crate::clusters::postgres::Name;
use crate::clusters::services;
use crate::rollouts::line::Call;
use crate::rollouts::store::work::{End, Ended, Turn};
use crate::stop::Stop;

/// Tries of a tenant whose database cannot be worked with.
const MOST_ATTEMPTS: u32 = 4;
/// SQLSTATEs of what passes by itself: a lock not had in time, a deadlock, a server that stops or starts.
const PASSING: [&str; 5] = ["55P03", "40P01", "57P01", "57P02", "57P03"];
/// Pause before a second try, longer before each further one.
const ATTEMPT_PAUSE: Duration = Duration::from_secs(1);

/// What came of a call.
pub(super) struct Called {
    pub(super) over: Vec<Ended>,
    /// Those that had no turn.
    pub(super) left: Vec<Turn>,
    pub(super) call: Call,
}

impl Drive<'_> {
    /// The turns of some tenants, of which the first alone may have been tried in vain before.
    pub(super) async fn call(&self, turns: Vec<Turn>, services: Services) -> Called {
        let attempts = turns.first().map_or(0, |turn| turn.attempts);
        if attempts > 0 {
            tokio::time::sleep(ATTEMPT_PAUSE * attempts).await;
        }
        let (tenants, began) = (turns.len(), Instant::now());
        let brought = self.bring_up(&turns, &services).await;
        let took = began.elapsed();
        let mut turns = turns.into_iter();
        let over: Vec<Ended> = match brought {
            Ok(brought) => brought
                .into_iter()
                .zip(turns.by_ref())
                .map(|(migrated, turn)| self.over(turn, migrated))
                .collect(),
            Err(stop) if tenants == 1 => {
                Vec::from_iter(turns.next().map(|turn| in_vain(turn, stop)))
            }
            // Whose trouble it is, and who is done all the same, their calls of one tell.
            Err(stop) => {
                tracing::info!(
                    tenants,
                    cause = stop.words(),
                    "a call is made again for each tenant"
                );
                Vec::new()
            }
        };
        Called {
            call: Call {
                tenants,
                done: over.iter().filter(|ended| ended.is_done()).count(),
                took,
            },
            over,
            left: turns.collect(),
        }
    }

    async fn bring_up(&self, turns: &[Turn], services: &Services) -> Result<Vec<Migrated>, Stop> {
        let mut databases = Vec::with_capacity(turns.len());
        for turn in turns {
            let server = match self.platform.server(&turn.cluster).await {
                Ok(server) => server,
                Err(error) if databases.is_empty() => return Err(error),
                // It says so again when it is the first one.
                Err(_) => break,
            };
            databases.push(KnownDatabase {
                database: server.database(&Name::Tenant(turn.tenant.clone()), turn.copy),
                known: turn.versions.clone(),
            });
        }
        let spread = self.calls.fetch_add(1, Ordering::Relaxed);
        services::bring_up(self.platform, services, &databases, spread).await
    }

    /// What came of a turn.
    pub(super) fn over(&self, turn: Turn, migrated: Migrated) -> Ended {
        let mut versions = turn.versions.clone();
        versions.extend(migrated.schema_versions.clone());
        let end = match migrated.failed {
            Some(failed) => refused(&turn, failed),
            None if services::covers(&versions, &self.rollout.target) => End::Done,
            None => {
                let words = "No replica that brings the versions of this roll-out lives.";
                let problem = Problem::new(Code::NotReady).detail(words);
                return in_vain(turn, Stop::Retry(problem));
            }
        };
        Ended {
            tenant: turn.tenant,
            copy: turn.copy,
            reached: migrated.schema_versions,
            end,
        }
    }
}

/// A tenant whose migration was refused: given up, unless only somebody's lock stood in the way.
fn refused(turn: &Turn, failed: FailedMigration) -> End {
    let sqlstate = failed.sqlstate.as_deref().unwrap_or_default();
    if PASSING.contains(&sqlstate) && turn.attempts + 1 < MOST_ATTEMPTS {
        End::Later(format!("{}: {}", failed.migration, failed.message))
    } else {
        End::Failed(failed)
    }
}

/// A tenant whose database could not be worked with: again later, or given up.
fn in_vain(turn: Turn, stop: Stop) -> Ended {
    let (words, passes) = match stop {
        Stop::Retry(problem) => (chain(&problem), true),
        Stop::Later { reason, .. } => (reason.into_owned(), true),
        Stop::Fail(problem) => (chain(&problem), false),
    };
    let end = if passes && turn.attempts + 1 < MOST_ATTEMPTS {
        End::Later(words)
    } else {
        End::Unreachable(words)
    };
    Ended {
        tenant: turn.tenant,
        copy: turn.copy,
        reached: SchemaVersions::new(),
        end,
    }
}
