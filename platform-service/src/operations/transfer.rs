//! A tenant gets another owner: in its database, then as its contact.
//!
//! Deliberately without deciding who may be one: the service that keeps people does. Invariant: what is
//! undone leaves the tenant with the owners of before.

use contract::internal::{NewOwner, OwnershipAct, OwnershipRequest};
use contract::operator::tenant::OtherOwners;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use super::saga::Saga;
use super::{Head, Step, Stop, on_tenant};
use crate::clusters::services::{self, Occasion};
use crate::platform::Platform;
use crate::tenants::place::Placed;
use crate::tenants::store;

/// Who becomes the owner.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TransferPlan {
    pub(crate) email: String,
    /// For somebody who has no account in the tenant yet.
    pub(crate) account: Option<NewOwner>,
    pub(crate) others: OtherOwners,
}

impl Saga for TransferPlan {
    const STEPS: &'static [Step] = &[Step::Account, Step::Record];

    fn point_of_no_return(&self) -> Step {
        Step::Record
    }

    async fn act(&mut self, platform: &Platform, head: &Head) -> Result<(), Stop> {
        match head.step {
            Step::Account => {
                let give = OwnershipAct::Give {
                    email: self.email.clone(),
                    account: self.account.clone(),
                    others: self.others,
                };
                ask(platform, head, give).await?;
                Ok(())
            }
            Step::Record => Ok(()),
            other => Err(other.unexpected()),
        }
    }

    async fn record(
        &self,
        connection: &mut PgConnection,
        head: &Head,
        step: Step,
    ) -> Result<(), Stop> {
        if step == Step::Record {
            let tenant = head.tenant()?;
            let news = store::life::set_contact(&mut *connection, tenant, &self.email).await?;
            news.announce(connection).await?;
        }
        Ok(())
    }

    async fn undo(&mut self, platform: &Platform, head: &Head) -> Result<(), Stop> {
        if head.step != Step::Account {
            return Ok(());
        }
        let placed = Placed::find(platform, head.tenant()?).await?;
        if placed.look().await?.is_open() {
            ask(platform, head, OwnershipAct::TakeBack).await?;
        }
        // Its people are gone with a database that somebody has dropped.
        Ok(())
    }
}

async fn ask(platform: &Platform, head: &Head, act: OwnershipAct) -> Result<(), Stop> {
    let services = services::living(platform).await?;
    let route = on_tenant::route(&mut *platform.registry.acquire().await?, head).await?;
    let request = OwnershipRequest {
        route,
        change: head.id.uuid(),
        act,
    };
    services::run_hooks(platform, &services, Occasion::Ownership(&request)).await
}
