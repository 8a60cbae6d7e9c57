//! Off-boarding a tenant so that it can come back: announced, locked out, renamed.
//!
//! Deliberately destroys nothing: [`super::purge`] does. A database that somebody has dropped meanwhile is
//! no failure: the result says that it is missing. Invariants: when it is done no service can connect,
//! whatever it knows; the wall that the tenant had before is remembered for its return.

use contract::TenantId;
use contract::operator::tenant::FinalBackup;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::PgConnection;

use super::rename::{self, Database};
use super::saga::Saga;
use super::{Head, Step, Stop, lease};
use crate::clusters::connections::Server;
use crate::clusters::postgres::wall::{Wall, Who};
use crate::clusters::postgres::{self, Name};
use crate::platform::Platform;
use crate::tenants::place::Placed;
use crate::tenants::{store, wall};

/// Which copy is kept, and what its purge will keep.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeletePlan {
    copy: u32,
    #[serde(default)]
    database: Database,
    /// Left out where nothing is kept, as plans had it that knew of no last backup.
    #[serde(default, skip_serializing_if = "FinalBackup::is_none")]
    final_backup: FinalBackup,
}

impl DeletePlan {
    pub(crate) fn new(copy: u32, final_backup: FinalBackup) -> Self {
        Self {
            copy,
            database: Database::There,
            final_backup,
        }
    }
}

/// Sets a tenant's wall where there is anything to wall.
async fn set_wall(
    (platform, head): (&Platform, &Head),
    server: &Server,
    tenant: &TenantId,
    wanted: Wall,
) -> Result<(), Stop> {
    let name = Name::Tenant(tenant.clone());
    let found = postgres::look(&mut *server.acquire().await?, &name).await?;
    match (found.database, found.role) {
        (None, None) => Ok(()),
        _ => lease::set_wall((platform, head), server, tenant, wanted).await,
    }
}

impl Saga for DeletePlan {
    const STEPS: &'static [Step] = &[Step::Announce, Step::Wall, Step::Sessions, Step::Rename];

    fn point_of_no_return(&self) -> Step {
        Step::Rename
    }

    async fn act(&mut self, platform: &Platform, head: &Head) -> Result<(), Stop> {
        let tenant = head.tenant()?;
        let name = Name::Tenant(tenant.clone());
        match head.step {
            Step::Wall => {
                let placed = Placed::find(platform, tenant).await?;
                set_wall((platform, head), &placed.server, tenant, Wall::Blocked).await
            }
            Step::Sessions => {
                let placed = Placed::find(platform, tenant).await?;
                wall::end_sessions(&placed.server, &name, Who::Everybody).await
            }
            Step::Rename => {
                let placed = Placed::find(platform, tenant).await?;
                let kept = Name::Deleted(tenant.clone(), self.copy);
                self.database = rename::what_is_there(
                    (platform, head),
                    &placed.server,
                    (&name, &kept),
                    self.copy,
                )
                .await?;
                Ok(())
            }
            Step::Announce => Ok(()),
            other => Err(other.unexpected()),
        }
    }

    async fn record(
        &self,
        connection: &mut PgConnection,
        head: &Head,
        step: Step,
    ) -> Result<(), Stop> {
        if step == Step::Announce {
            let tenant = head.tenant()?;
            let kept = Name::Deleted(tenant.clone(), self.copy).to_string();
            let news =
                store::life::delete(&mut *connection, tenant, &kept, self.final_backup).await?;
            news.announce(connection).await?;
        }
        // There is nothing of which the purge could keep a backup, and it is not to wait for that for ever.
        if step == Step::Rename && self.database == Database::Missing {
            store::life::keep_nothing(&mut *connection, head.tenant()?).await?;
        }
        Ok(())
    }

    async fn undo(&mut self, platform: &Platform, head: &Head) -> Result<(), Stop> {
        let tenant = head.tenant()?;
        match head.step {
            Step::Rename => {
                let placed = Placed::find(platform, tenant).await?;
                let kept = Name::Deleted(tenant.clone(), self.copy);
                let name = Name::Tenant(tenant.clone());
                rename::what_is_there((platform, head), &placed.server, (&kept, &name), self.copy)
                    .await?;
                Ok(())
            }
            Step::Wall => {
                let placed = Placed::find(platform, tenant).await?;
                let wanted = wall::before_deletion(&placed.row);
                set_wall((platform, head), &placed.server, tenant, wanted).await
            }
            _ => Ok(()),
        }
    }

    async fn forget(&self, connection: &mut PgConnection, head: &Head) -> Result<(), Stop> {
        if head.step == Step::Announce {
            let tenant = head.tenant()?;
            // Nothing where it failed before it was announced.
            let news = store::life::undelete(&mut *connection, tenant).await?;
            news.announce(connection).await?;
        }
        Ok(())
    }

    fn result(&self) -> Option<Value> {
        (self.database == Database::Missing).then(|| json!({ "database": self.database }))
    }
}
