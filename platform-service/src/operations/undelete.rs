//! Bringing a deleted tenant back: its name, the wall that it had before, and then the word that it is
//! back.
//!
//! Deliberately restores no data, because [`super::delete`] destroyed none: it takes the same steps back.
//! Invariant: nobody is let in before the registry says that the tenant is back.

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use super::saga::Saga;
use super::{Head, Step, Stop, lease, rename};
use crate::clusters::postgres::Name;
use crate::clusters::postgres::wall::{Wall, Who};
use crate::platform::Platform;
use crate::tenants::place::Placed;
use crate::tenants::{store, wall};

/// Which copy comes back.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct UndeletePlan {
    pub(crate) copy: u32,
}

impl Saga for UndeletePlan {
    const STEPS: &'static [Step] = &[Step::RenameBack, Step::Wall, Step::Announce];

    fn point_of_no_return(&self) -> Step {
        Step::Announce
    }

    async fn act(&mut self, platform: &Platform, head: &Head) -> Result<(), Stop> {
        let tenant = head.tenant()?;
        match head.step {
            Step::RenameBack => {
                let placed = Placed::find(platform, tenant).await?;
                let kept = Name::Deleted(tenant.clone(), self.copy);
                let name = Name::Tenant(tenant.clone());
                rename::both((platform, head), &placed.server, (&kept, &name), self.copy).await
            }
            Step::Wall => {
                let placed = Placed::find(platform, tenant).await?;
                let wanted = wall::before_deletion(&placed.row);
                lease::set_wall((platform, head), &placed.server, tenant, wanted).await
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
            let news = store::life::undelete(&mut *connection, tenant).await?;
            news.announce(connection).await?;
        }
        Ok(())
    }

    async fn undo(&mut self, platform: &Platform, head: &Head) -> Result<(), Stop> {
        let tenant = head.tenant()?;
        let name = Name::Tenant(tenant.clone());
        match head.step {
            Step::RenameBack => {
                let placed = Placed::find(platform, tenant).await?;
                let kept = Name::Deleted(tenant.clone(), self.copy);
                rename::what_is_there((platform, head), &placed.server, (&name, &kept), self.copy)
                    .await?;
                Ok(())
            }
            Step::Wall => {
                let placed = Placed::find(platform, tenant).await?;
                lease::set_wall((platform, head), &placed.server, tenant, Wall::Blocked).await?;
                wall::end_sessions(&placed.server, &name, Who::Everybody).await
            }
            _ => Ok(()),
        }
    }
}
