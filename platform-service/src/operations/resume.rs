//! Letting a suspended tenant go on: its database opened, then announced.
//!
//! Deliberately in this order: a replica that hears of it finds the database open. Invariant: one that
//! is undone leaves the tenant behind the wall that it had.

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use super::saga::Saga;
use super::{Head, Step, Stop, lease};
use crate::clusters::postgres::Name;
use crate::clusters::postgres::wall::{Wall, Who};
use crate::platform::Platform;
use crate::tenants::place::Placed;
use crate::tenants::{store, wall};

/// Nothing has to be chosen.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ResumePlan {}

impl Saga for ResumePlan {
    const STEPS: &'static [Step] = &[Step::Wall, Step::Announce];

    fn point_of_no_return(&self) -> Step {
        Step::Announce
    }

    async fn act(&mut self, platform: &Platform, head: &Head) -> Result<(), Stop> {
        match head.step {
            Step::Wall => {
                let placed = Placed::find(platform, head.tenant()?).await?;
                let tenant = head.tenant()?;
                lease::set_wall((platform, head), &placed.server, tenant, Wall::Open).await
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
            let news = store::life::resume(&mut *connection, tenant).await?;
            news.announce(connection).await?;
        }
        Ok(())
    }

    async fn undo(&mut self, platform: &Platform, head: &Head) -> Result<(), Stop> {
        if head.step == Step::Wall {
            let tenant = head.tenant()?;
            let placed = Placed::find(platform, tenant).await?;
            let wanted = wall::wanted(&placed.row);
            lease::set_wall((platform, head), &placed.server, tenant, wanted).await?;
            let name = Name::Tenant(tenant.clone());
            wall::end_sessions(&placed.server, &name, Who::Tenant).await?;
        }
        Ok(())
    }
}
