//! A roll-out as an operation: its tenants are selected, its waves rolled out, its end recorded.
//!
//! Deliberately migrates nothing itself: [`crate::rollouts::driver`] does. Invariants: what was migrated is
//! never undone, so from the selection of the tenants on it only goes forwards; cancelling it ends it
//! early, as aborting the roll-out does.

use std::time::Duration;

use contract::OperationId;
use contract::operator::rollout::RolloutTally;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::PgConnection;

use super::saga::{Cancel, Head, Progress, Saga, Traits};
use super::{Step, Stop};
use crate::platform::Platform;
use crate::rollouts::{driver, store};

/// How long a roll-out may be paused, or halted.
const PATIENCE: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// What a roll-out's operation needs: the rest is in the stored object.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RolloutPlan {
    rollout: OperationId,
    start: Start,
    /// At its end.
    tally: RolloutTally,
}

/// How a roll-out begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Start {
    /// With all the tenants that its filter selects.
    New,
    /// With those of the first time that failed.
    Again,
}

impl RolloutPlan {
    pub(crate) fn new(rollout: OperationId, start: Start) -> Self {
        Self {
            rollout,
            start,
            tally: RolloutTally::default(),
        }
    }
}

impl Saga for RolloutPlan {
    const STEPS: &'static [Step] = &[Step::Prepare, Step::Waves, Step::Finish];

    fn point_of_no_return(&self) -> Step {
        Step::Prepare
    }

    fn traits(&self) -> Traits {
        Traits {
            cancel: Cancel::Heeded,
            patience: PATIENCE,
            ..Traits::LONG
        }
    }

    fn needs_no_act(&self, step: Step) -> bool {
        step == Step::Finish
    }

    async fn act(&mut self, platform: &Platform, head: &Head) -> Result<(), Stop> {
        match head.step {
            Step::Waves => {
                self.tally = driver::drive(platform, head, self.rollout).await?;
                Ok(())
            }
            Step::Prepare | Step::Finish => Ok(()),
            other => Err(other.unexpected()),
        }
    }

    async fn record(
        &self,
        connection: &mut PgConnection,
        _head: &Head,
        step: Step,
    ) -> Result<(), Stop> {
        match (step, self.start) {
            (Step::Prepare, Start::New) => store::select_tenants(connection, self.rollout).await?,
            (Step::Finish, _) => store::finish(connection, self.rollout).await?,
            _ => {}
        }
        Ok(())
    }

    async fn undo(&mut self, _platform: &Platform, _head: &Head) -> Result<(), Stop> {
        Ok(())
    }

    async fn forget(&self, connection: &mut PgConnection, _head: &Head) -> Result<(), Stop> {
        match self.start {
            Start::New => store::give_up(connection, self.rollout).await?,
            Start::Again => store::end_again(connection, self.rollout).await?,
        }
        Ok(())
    }

    fn result(&self) -> Option<Value> {
        Some(json!({ "rollout": self.rollout, "tally": self.tally }))
    }

    fn progress(&self) -> Option<Progress> {
        (self.tally.total() > 0).then(|| driver::progress(&self.tally))
    }
}
