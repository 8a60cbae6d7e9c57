//! A new password for a tenant's role: known beside the old one, set, proven, and then alone.
//!
//! Deliberately overlapping: replicas try the newest first and the other one next, so no request fails
//! whichever of them the server takes. Invariants: the old password is given up only after the new one
//! has opened the tenant's database; what is undone leaves the old one in force.

use std::time::Duration;

use adapters::secret_store::SecretSubject;
use contract::TenantId;
use contract::secret::{Secret, SecretRef};
use kit::error::{Problem, Result};
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use super::saga::Saga;
use super::{Head, Step, Stop};
use crate::clusters::postgres::wall::Wall;
use crate::clusters::postgres::{self, Name};
use crate::clusters::scram::Verifier;
use crate::feed;
use crate::platform::Platform;
use crate::tenants::place::Placed;
use crate::tenants::{store, wall};

/// How long replicas may take to hear of the new password before the server takes it alone: who is
/// later asks again.
const HEARD_SOON: Duration = Duration::from_secs(1);
/// How long they may take to hear that the old one is gone.
const HEARD: Duration = Duration::from_secs(10);

/// The passwords of before and after.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RotatePlan {
    /// The new password, sealed.
    password: SecretRef,
    /// The references of before.
    old: Vec<SecretRef>,
    /// Opens the new password in the tenants' secret store.
    credential: Option<SecretRef>,
}

/// Chooses a tenant's new password. The tenant's row must be locked.
pub(crate) async fn plan(
    platform: &Platform,
    connection: &mut PgConnection,
    tenant: &TenantId,
) -> Result<RotatePlan> {
    let subject = SecretSubject::Tenant(tenant.clone());
    let password = Secret::random();
    let sealed = platform.seal.put(&subject, "rotation", &password).await;
    Ok(RotatePlan {
        password: sealed.map_err(Problem::internal)?,
        old: store::life::credentials(connection, tenant).await?,
        credential: None,
    })
}

impl RotatePlan {
    async fn new_password(&self, platform: &Platform, head: &Head) -> Result<Secret, Stop> {
        let subject = subject(head)?;
        Ok(platform.seal.open(&subject, &self.password).await?)
    }

    /// The password that the server took before.
    async fn old_password(&self, platform: &Platform, head: &Head) -> Result<Secret, Stop> {
        let none = || Stop::Fail(Problem::internal("the tenant had no credential"));
        let reference = self.old.first().ok_or_else(none)?;
        Ok(platform.secrets.open(&subject(head)?, reference).await?)
    }

    /// The new reference, then those of before.
    fn both(&self) -> Vec<SecretRef> {
        let new = self.credential.iter();
        new.chain(&self.old).cloned().collect()
    }
}

fn subject(head: &Head) -> Result<SecretSubject, Stop> {
    Ok(SecretSubject::Tenant(head.tenant()?.clone()))
}

impl Saga for RotatePlan {
    const STEPS: &'static [Step] = &[
        Step::Secret,
        Step::Publish,
        Step::Password,
        Step::Settle,
        Step::Retire,
    ];

    fn point_of_no_return(&self) -> Step {
        Step::Settle
    }

    async fn act(&mut self, platform: &Platform, head: &Head) -> Result<(), Stop> {
        match head.step {
            Step::Secret => {
                let password = self.new_password(platform, head).await?;
                let version = head.id.to_string();
                let subject = subject(head)?;
                let kept = platform.secrets.put(&subject, &version, &password).await?;
                self.credential = Some(kept);
                Ok(())
            }
            Step::Password => {
                feed::wait_until_heard(platform, HEARD_SOON).await?;
                let password = self.new_password(platform, head).await?;
                set_and_prove(platform, head.tenant()?, &password).await
            }
            Step::Retire => {
                feed::wait_until_heard(platform, HEARD).await?;
                for reference in &self.old {
                    platform.secrets.remove(&subject(head)?, reference).await?;
                }
                Ok(())
            }
            Step::Publish | Step::Settle => Ok(()),
            other => Err(other.unexpected()),
        }
    }

    async fn record(
        &self,
        connection: &mut PgConnection,
        head: &Head,
        step: Step,
    ) -> Result<(), Stop> {
        match step {
            Step::Publish => announce(connection, head.tenant()?, &self.both()).await,
            Step::Settle => announce(connection, head.tenant()?, self.credential.as_slice()).await,
            _ => Ok(()),
        }
    }

    async fn undo(&mut self, platform: &Platform, head: &Head) -> Result<(), Stop> {
        match head.step {
            Step::Password => {
                let password = self.old_password(platform, head).await?;
                set_where_there(platform, head.tenant()?, &password).await
            }
            Step::Secret => {
                let version = head.id.to_string();
                let subject = subject(head)?;
                Ok(platform.secrets.remove_version(&subject, &version).await?)
            }
            _ => Ok(()),
        }
    }

    async fn forget(&self, connection: &mut PgConnection, head: &Head) -> Result<(), Stop> {
        match head.step {
            Step::Publish => announce(connection, head.tenant()?, &self.old).await,
            _ => Ok(()),
        }
    }
}

async fn announce(
    connection: &mut PgConnection,
    tenant: &TenantId,
    credentials: &[SecretRef],
) -> Result<(), Stop> {
    let news = store::set_credentials(&mut *connection, tenant, credentials).await?;
    news.announce(connection).await?;
    Ok(())
}

/// Lets the server take a password, and opens the tenant's database with it, unless nobody may.
async fn set_and_prove(
    platform: &Platform,
    tenant: &TenantId,
    password: &Secret,
) -> Result<(), Stop> {
    let placed = Placed::find(platform, tenant).await?;
    set(&placed, password).await?;
    prove(&placed, password).await
}

/// The same where somebody may have dropped the database, or its role too, behind our back.
async fn set_where_there(
    platform: &Platform,
    tenant: &TenantId,
    password: &Secret,
) -> Result<(), Stop> {
    let placed = Placed::find(platform, tenant).await?;
    let found = placed.look().await?;
    if found.role.is_some() {
        set(&placed, password).await?;
        if found.is_open() {
            prove(&placed, password).await?;
        }
    }
    Ok(())
}

async fn set(placed: &Placed, password: &Secret) -> Result<(), Stop> {
    let name = Name::Tenant(placed.row.id.clone());
    let verifier = Verifier::of(password);
    postgres::set_password(&mut *placed.server.acquire().await?, &name, &verifier).await?;
    Ok(())
}

async fn prove(placed: &Placed, password: &Secret) -> Result<(), Stop> {
    if wall::wanted(&placed.row) == Wall::Blocked {
        return Ok(());
    }
    let name = Name::Tenant(placed.row.id.clone());
    let server = &placed.server;
    server.try_login(&name, password, &placed.database).await
}
