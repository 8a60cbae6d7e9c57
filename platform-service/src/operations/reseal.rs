//! Seals every secret anew with the first key of the ring, so that an older key can be dropped.
//!
//! Deliberately one step, done batch by batch and never undone: each batch stands by itself, and a box
//! opens with its old key until the new box is in its place, so no request fails. Invariant: when it is
//! done no box is left that an older key of the ring sealed.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::saga::{Progress, Saga, Traits};
use super::{Head, Step, Stop};
use crate::keys::reseal::{Advance, Tally, advance};
use crate::platform::Platform;

/// How often operations are looked at that hold older boxes.
const LOOK: Duration = Duration::from_secs(1);

/// How far it is.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ResealPlan {
    /// Boxes of older keys at the start.
    pub(crate) total: u64,
    #[serde(default)]
    pub(crate) tally: Tally,
}

impl Saga for ResealPlan {
    const STEPS: &'static [Step] = &[Step::Reseal];

    fn point_of_no_return(&self) -> Step {
        Step::Reseal
    }

    fn traits(&self) -> Traits {
        Traits::FLEET
    }

    async fn act(&mut self, platform: &Platform, _head: &Head) -> Result<(), Stop> {
        match advance(platform, &mut self.tally).await? {
            Advance::Complete => Ok(()),
            Advance::More => Err(Stop::Later {
                wait: Duration::ZERO,
                reason: "Boxes are sealed anew, batch by batch.".into(),
            }),
            Advance::Waits => Err(Stop::Later {
                wait: LOOK,
                reason: "Operations that are under way hold boxes of an older key.".into(),
            }),
        }
    }

    // What is sealed anew is as good as before.
    async fn undo(&mut self, _platform: &Platform, _head: &Head) -> Result<(), Stop> {
        Ok(())
    }

    fn result(&self) -> Option<Value> {
        Some(json!({
            "resealed": self.tally.resealed,
            "unopened": self.tally.unopened.len(),
        }))
    }

    fn progress(&self) -> Option<Progress> {
        Some(Progress {
            done: self.tally.resealed.min(self.total),
            total: self.total,
            unit: "secrets".to_owned(),
            note: None,
        })
    }
}
