//! Removing a backup: marked, then its object, then its row.
//!
//! Deliberately goes on forwards once it is marked: half a removal is none. Invariant: a row whose
//! object may be gone never says `ready`.

use contract::operator::backup::{BackupId, BackupState};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::PgConnection;

use super::saga::Saga;
use super::{Head, Step, Stop};
use crate::backups::archive;
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
}

impl ForgetBackupPlan {
    /// The removal of a backup.
    pub(crate) fn of(row: &BackupRow) -> Self {
        Self {
            backup: row.id,
            object: row.object.clone(),
            state: row.state,
        }
    }
}

impl Saga for ForgetBackupPlan {
    const STEPS: &'static [Step] = &[Step::Mark, Step::Remove];

    fn point_of_no_return(&self) -> Step {
        Step::Mark
    }

    async fn act(&mut self, platform: &Platform, head: &Head) -> Result<(), Stop> {
        if head.step == Step::Remove {
            let objects = archive::objects(&platform.settings)?;
            let path = archive::object_path(&self.object)?;
            objects.delete(&path).await.map_err(archive::object_stop)?;
        }
        Ok(())
    }

    async fn record(
        &self,
        connection: &mut PgConnection,
        _head: &Head,
        step: Step,
    ) -> Result<(), Stop> {
        match step {
            Step::Mark => store::set_state(connection, self.backup, BackupState::Deleting).await?,
            _ => store::delete(connection, self.backup).await?,
        }
        Ok(())
    }

    async fn undo(&mut self, _platform: &Platform, _head: &Head) -> Result<(), Stop> {
        Ok(())
    }

    async fn forget(&self, connection: &mut PgConnection, _head: &Head) -> Result<(), Stop> {
        Ok(store::set_state(connection, self.backup, self.state).await?)
    }

    fn result(&self) -> Option<Value> {
        Some(json!({ "backup": self.backup }))
    }
}
