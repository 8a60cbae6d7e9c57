//! Removing a backup: it is marked, then its object is deleted, then its row.
//!
//! Deliberately does not keep the tenant busy while the store refuses to delete an object: what may be half
//! removed stays marked, and a schedule removes it later. Invariants: a row whose object may be gone never
//! says `ready`; a removal that was cancelled leaves no mark, so nothing removes the backup later.

use contract::operator::backup::{BackupId, BackupState};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::PgConnection;

use super::saga::{Saga, Wish};
use super::{Head, Step, Stop};
use crate::backups::archive;
use crate::backups::discard::is_there;
use crate::backups::store::{self, BackupRow};
use crate::platform::Platform;

/// What was chosen before the first step.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ForgetBackupPlan {
    backup: BackupId,
    object: String,
    /// For the undo.
    state: BackupState,
    /// Whether an undo did not see the object any more.
    #[serde(default)]
    may_be_gone: bool,
}

impl ForgetBackupPlan {
    /// The removal of a backup.
    pub(crate) fn of(row: &BackupRow) -> Self {
        Self {
            backup: row.id,
            object: row.object.clone(),
            state: row.state,
            may_be_gone: false,
        }
    }

    /// Where an undone removal leaves the backup.
    fn state_after(&self, wish: Wish) -> BackupState {
        match (wish, self.may_be_gone, self.state) {
            // Also where a store that is away was not seen to have it: a try of it makes it ready again.
            (Wish::End, true, _) | (Wish::End, false, BackupState::Deleting) => {
                BackupState::Corrupt
            }
            (Wish::GoOn, true, _) => BackupState::Deleting,
            (_, false, before) => before,
        }
    }
}

impl Saga for ForgetBackupPlan {
    const STEPS: &'static [Step] = &[Step::Mark, Step::Remove];

    fn point_of_no_return(&self) -> Step {
        Step::Remove
    }

    async fn act(&mut self, platform: &Platform, head: &Head) -> Result<(), Stop> {
        match head.step {
            Step::Remove => {
                let objects = archive::objects(&platform.settings)?;
                let path = archive::object_path(&self.object)?;
                objects.delete(&path).await.map_err(archive::object_stop)?;
                Ok(())
            }
            Step::Mark => Ok(()),
            other => Err(other.unexpected()),
        }
    }

    async fn record(
        &self,
        connection: &mut PgConnection,
        _head: &Head,
        step: Step,
    ) -> Result<(), Stop> {
        match step {
            Step::Mark => store::set_state(connection, self.backup, BackupState::Deleting).await?,
            Step::Remove => store::delete(connection, self.backup).await?,
            other => return Err(other.unexpected()),
        }
        Ok(())
    }

    async fn undo(&mut self, platform: &Platform, head: &Head) -> Result<(), Stop> {
        if head.step == Step::Remove {
            self.may_be_gone = !is_there(platform, &self.object).await;
        }
        Ok(())
    }

    async fn forget(&self, connection: &mut PgConnection, head: &Head) -> Result<(), Stop> {
        if head.step == Step::Mark {
            let state = self.state_after(head.wish);
            store::set_state(connection, self.backup, state).await?;
        }
        Ok(())
    }

    fn result(&self) -> Option<Value> {
        Some(json!({ "backup": self.backup }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_back_is_never_marked_and_what_may_be_gone_is_never_ready() {
        use BackupState::{Corrupt, Deleting, Ready, Writing};
        use Wish::{End, GoOn};
        let cases = [
            ((GoOn, false), [Ready, Corrupt, Deleting, Writing]),
            ((GoOn, true), [Deleting, Deleting, Deleting, Deleting]),
            ((End, false), [Ready, Corrupt, Corrupt, Writing]),
            ((End, true), [Corrupt, Corrupt, Corrupt, Corrupt]),
        ];
        for ((wish, may_be_gone), after) in cases {
            for (state, after) in [Ready, Corrupt, Deleting, Writing].into_iter().zip(after) {
                let plan = ForgetBackupPlan {
                    backup: BackupId::new(),
                    object: String::new(),
                    state,
                    may_be_gone,
                };
                let left = plan.state_after(wish);
                assert_eq!(left, after, "{wish:?} {may_be_gone} {state:?}");
            }
        }
    }
}
