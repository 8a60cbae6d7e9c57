//! Holding a tenant back: announced, enforced in its database, and its sessions ended.
//!
//! Deliberately announced first: a replica that heard answers with words before the database refuses
//! it. Invariant: when it is done, no session is left that could do more than the wall allows, whatever
//! any replica knows.

use contract::tenant::Suspension;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use super::saga::Saga;
use super::{Head, Step, Stop, lease};
use crate::clusters::postgres::Name;
use crate::clusters::postgres::wall::Who;
use crate::platform::Platform;
use crate::tenants::place::Placed;
use crate::tenants::{store, wall};

/// How the tenant is to be held back.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SuspendPlan {
    pub(crate) suspension: Suspension,
}

impl Saga for SuspendPlan {
    const STEPS: &'static [Step] = &[Step::Announce, Step::Wall, Step::Sessions];

    fn point_of_no_return(&self) -> Step {
        Step::Announce
    }

    async fn act(&mut self, platform: &Platform, head: &Head) -> Result<(), Stop> {
        let tenant = head.tenant()?;
        match head.step {
            Step::Wall => {
                let placed = Placed::find(platform, tenant).await?;
                let wanted = wall::wanted(&placed.row);
                lease::set_wall((platform, head), &placed.server, tenant, wanted).await
            }
            Step::Sessions => {
                let placed = Placed::find(platform, tenant).await?;
                let name = Name::Tenant(tenant.clone());
                wall::end_sessions(&placed.server, &name, Who::People).await
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
            let news = store::life::suspend(&mut *connection, tenant, &self.suspension).await?;
            news.announce(connection).await?;
        }
        Ok(())
    }

    // The first step is the point of no return, and does nothing but what is recorded with it.
    async fn undo(&mut self, _platform: &Platform, _head: &Head) -> Result<(), Stop> {
        Ok(())
    }
}
