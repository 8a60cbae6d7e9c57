//! Making a tenant once it is reserved: secret, place, database, schema, provisioning, activation.
//!
//! Deliberately a kind of operation like any other: the runner does nothing special for it. Invariants: a
//! database or role that this operation did not make is never touched; the last step is the only one that
//! cannot be undone.

mod database;

use std::time::Duration;

use adapters::secret_store::SecretSubject;
use contract::internal::{NewOwner, ProvisionRequest};
use contract::secret::{Secret, SecretRef};
use contract::{Code, DatabaseRef, OperationId, SchemaVersions, TenantId, TenantRoute};
use kit::error::Problem;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use super::saga::Saga;
use super::{Head, Step, Stop, on_tenant};
use crate::audit::{self, Action, Actor};
use crate::clusters::placement::{self, Needs};
use crate::clusters::postgres::Name;
use crate::clusters::services;
use crate::clusters::services::Occasion;
use crate::clusters::store as clusters;
use crate::clusters::store::derived::{self, Claimed, ClaimedCopy};
use crate::platform::Platform;
use crate::replicas;
use crate::tenants;

pub(super) use database::drop_marked;
use database::{claim_copy, drop_database};

/// The first database of a tenant.
pub(super) const FIRST_COPY: u32 = 1;
/// How long the hooks may take in the step that makes the database.
const FIRST_TRY: Duration = Duration::from_secs(5);
/// How soon an operation looks again for something that is on its way.
const SOON: Duration = Duration::from_millis(200);

/// What was chosen before the first step, and what steps learned.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CreatePlan {
    /// The password of the tenant's role, sealed.
    password: SecretRef,
    /// The first user.
    owner: NewOwner,
    /// Opens the password in the tenants' secret store.
    credential: Option<SecretRef>,
    /// What the database has, as far as its steps are done.
    schema_versions: SchemaVersions,
    /// What the services brought when they were last asked; empty before that.
    #[serde(default)]
    newest_versions: SchemaVersions,
    /// Whether the modules' provisioning is done.
    #[serde(default)]
    provisioned: Provisioned,
    /// The copy, as the process that claimed it with the reservation knows it; the registry tells others.
    #[serde(skip)]
    claimed: Option<ClaimedCopy>,
}

/// Whether the modules' provisioning has run in the new database.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Provisioned {
    #[default]
    NotYet,
    Done,
}

impl CreatePlan {
    /// With the `credential` where the secret store [keeps nothing](adapters::secret_store::SecretStore::keeps_nothing).
    pub(super) fn of(password: SecretRef, credential: Option<SecretRef>, owner: NewOwner) -> Self {
        Self {
            password,
            owner,
            credential,
            schema_versions: SchemaVersions::new(),
            newest_versions: SchemaVersions::new(),
            provisioned: Provisioned::NotYet,
            claimed: None,
        }
    }

    pub(super) fn with_claimed(self, copy: ClaimedCopy) -> Self {
        Self {
            claimed: Some(copy),
            ..self
        }
    }

    pub(super) fn credential(&self) -> &[SecretRef] {
        self.credential.as_slice()
    }

    fn provisioning(&self, route: TenantRoute) -> ProvisionRequest {
        ProvisionRequest {
            route,
            owner: self.owner.clone(),
        }
    }

    /// Whether the database is known to need no migration.
    fn is_current(&self) -> bool {
        !self.newest_versions.is_empty()
            && services::covers(&self.schema_versions, &self.newest_versions)
    }
}

impl Saga for CreatePlan {
    const STEPS: &'static [Step] = &[
        Step::Secret,
        Step::Place,
        Step::Database,
        Step::Schema,
        Step::Provision,
        Step::Activate,
    ];

    fn point_of_no_return(&self) -> Step {
        Step::Activate
    }

    fn needs_no_act(&self, step: Step) -> bool {
        match step {
            Step::Secret => self.credential.is_some(),
            Step::Place | Step::Activate => true,
            Step::Schema => self.is_current(),
            Step::Provision => self.provisioned == Provisioned::Done,
            _ => false,
        }
    }

    async fn act(&mut self, platform: &Platform, head: &Head) -> Result<(), Stop> {
        match head.step {
            // One that nobody keeps was there from the start.
            Step::Secret if self.credential.is_some() && platform.secrets.keeps_nothing() => Ok(()),
            Step::Secret => {
                self.credential = Some(keep_secret(platform, head, &self.password).await?);
                Ok(())
            }
            Step::Database => make_database(platform, head, self).await,
            Step::Schema => migrate(platform, head, self).await,
            Step::Provision => provision(platform, head, self).await,
            Step::Place | Step::Activate => Ok(()),
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
            Step::Secret => {
                let credentials = self.credential.as_slice();
                let tenant = head.tenant()?;
                let news = tenants::store::set_credentials(connection, tenant, credentials).await?;
                news.while_being_made();
                Ok(())
            }
            Step::Place => place(connection, head).await,
            Step::Database => Ok(derived::delete_claimed(connection, head.id).await?),
            Step::Activate => activate(connection, head, &self.schema_versions).await,
            _ => Ok(()),
        }
    }

    async fn undo(&mut self, platform: &Platform, head: &Head) -> Result<(), Stop> {
        match head.step {
            Step::Secret => remove_secret(platform, head).await,
            Step::Database => drop_database(platform, head).await,
            // What the others did goes with the database, or with the tenant's row.
            _ => Ok(()),
        }
    }

    async fn forget(&self, connection: &mut PgConnection, head: &Head) -> Result<(), Stop> {
        match head.step {
            Step::Database => Ok(derived::delete_claimed(connection, head.id).await?),
            // The first step is the last one to be undone: nothing is left, and the id is free.
            Step::Secret => free(connection, head).await,
            _ => Ok(()),
        }
    }
}

fn subject(head: &Head) -> Result<SecretSubject, Stop> {
    Ok(SecretSubject::Tenant(head.tenant()?.clone()))
}

/// Keeps the password of the tenant's role, which is sealed for the operation, in the secret store.
pub(super) async fn keep_secret(
    platform: &Platform,
    head: &Head,
    sealed: &SecretRef,
) -> Result<SecretRef, Stop> {
    let password = open_password(platform, head, sealed).await?;
    platform
        .secrets
        .put(&subject(head)?, &head.id.to_string(), &password)
        .await
        .map_err(Stop::from)
}

/// Removes what [`keep_secret`] has kept.
pub(super) async fn remove_secret(platform: &Platform, head: &Head) -> Result<(), Stop> {
    let version = head.id.to_string();
    let removed = platform
        .secrets
        .remove_version(&subject(head)?, &version)
        .await;
    removed.map_err(Stop::from)
}

/// Frees the id of a tenant of which nothing else is left.
pub(super) async fn free(connection: &mut PgConnection, head: &Head) -> Result<(), Stop> {
    let tenant = head.tenant()?;
    tenants::store::delete_unborn(&mut *connection, tenant).await?;
    let (actor, action) = (Actor::Platform, Action::TenantUndone);
    let detail = serde_json::json!({ "operation": head.id });
    audit::record(connection, actor, action, Some(tenant), detail).await?;
    Ok(())
}

pub(super) async fn open_password(
    platform: &Platform,
    head: &Head,
    sealed: &SecretRef,
) -> Result<Secret, Stop> {
    platform
        .seal
        .open(&subject(head)?, sealed)
        .await
        .map_err(Stop::from)
}

/// Places the tenant, under the lock of the region's clusters, so that none gets more databases than it
/// may have.
async fn place(connection: &mut PgConnection, head: &Head) -> Result<(), Stop> {
    let tenant = on_tenant::row(&mut *connection, head).await?;
    let needs = Needs {
        region: &tenant.region,
        tier: &tenant.tier,
        labels: &tenant.labels,
        bytes: 0,
    };
    placed(connection, (head.id, &tenant.id), needs).await??;
    Ok(())
}

/// Chooses the cluster of a tenant and the copy that becomes its database. The outer error is the
/// registry's; with the inner one nothing was written.
pub(super) async fn placed(
    connection: &mut PgConnection,
    (operation, tenant): (OperationId, &TenantId),
    needs: Needs<'_>,
) -> Result<Result<ClaimedCopy, Stop>, sqlx::Error> {
    let candidates = clusters::lock_candidates(&mut *connection, needs.region).await?;
    let Some(chosen) = placement::place(&candidates, needs) else {
        let misfit = placement::why_none(&candidates, needs);
        return Ok(Err(Stop::Fail(misfit.into_problem(Code::Overloaded))));
    };
    let claimed = derived::place(&mut *connection, &chosen.name, operation, tenant).await?;
    if let Claimed::Copy(copy) = claimed {
        return Ok(Ok(copy));
    }
    let newest = replicas::store::newest_versions(connection).await?;
    Ok(Err(Stop::Later {
        wait: SOON,
        reason: match newest.is_empty() {
            true => "No service that owns schemas is registered.",
            false => "The cluster's first template is being made.",
        }
        .into(),
    }))
}

async fn make_database(
    platform: &Platform,
    head: &Head,
    plan: &mut CreatePlan,
) -> Result<(), Stop> {
    let asked = async {
        let mut registry = platform.registry.acquire().await?;
        let services = replicas::store::live_services(&mut registry).await?;
        Ok::<_, Stop>((services, on_tenant::route(&mut registry, head).await?))
    };
    // As it was known when it was claimed; after this, only looking tells.
    let known = plan.claimed.take();
    let claiming = claim_copy(platform, head, &plan.password, known);
    let ((services, route), claimed) = tokio::try_join!(asked, claiming)?;
    plan.schema_versions = claimed.schema_versions;
    plan.newest_versions = replicas::newest_versions(&services);
    // In the same breath, so that nothing is written between: a step that needs no act ends with the
    // one before it. What does not succeed here has its own step, and its own tries there.
    if plan.is_current() && !services.is_empty() {
        let request = plan.provisioning(route);
        let hooks = services::run_hooks(platform, &services, Occasion::Provision(&request));
        if matches!(tokio::time::timeout(FIRST_TRY, hooks).await, Ok(Ok(()))) {
            plan.provisioned = Provisioned::Done;
        }
    }
    Ok(())
}

async fn migrate(platform: &Platform, head: &Head, plan: &mut CreatePlan) -> Result<(), Stop> {
    let services = services::living(platform).await?;
    let newest = replicas::newest_versions(&services);
    if services::covers(&plan.schema_versions, &newest) {
        return Ok(());
    }
    let database = database(platform, head).await?;
    let reached = services::migrate(platform, &services, &database).await?;
    plan.schema_versions.extend(reached);
    plan.newest_versions = newest;
    Ok(())
}

async fn database(platform: &Platform, head: &Head) -> Result<DatabaseRef, Stop> {
    let cluster = on_tenant::placed_on(platform, head).await?;
    let server = platform.server(&cluster).await?;
    Ok(server.database(&Name::Tenant(head.tenant()?.clone()), FIRST_COPY))
}

async fn provision(platform: &Platform, head: &Head, plan: &CreatePlan) -> Result<(), Stop> {
    let (route, services) = {
        let mut registry = platform.registry.acquire().await?;
        let route = on_tenant::route(&mut registry, head).await?;
        let services = replicas::store::live_services(&mut registry).await?;
        (route, services)
    };
    if services.is_empty() {
        return Err(Stop::Later {
            wait: Duration::from_secs(1),
            reason: "No service that owns schemas is registered.".into(),
        });
    }
    services::run_hooks(
        platform,
        &services,
        Occasion::Provision(&plan.provisioning(route)),
    )
    .await
}

/// Says that the tenant is served, with these versions.
pub(super) async fn activate(
    connection: &mut PgConnection,
    head: &Head,
    versions: &SchemaVersions,
) -> Result<(), Stop> {
    let news = tenants::store::activate(&mut *connection, head.tenant()?, versions)
        .await
        .map_err(|error| match error {
            tenants::store::ActivateError::Registry(error) => Stop::from(error),
            refused => Stop::Fail(Problem::internal(refused)),
        })?;
    let detail = serde_json::json!({ "operation": head.id });
    let tenant = Some(head.tenant()?);
    audit::record(
        &mut *connection,
        Actor::Platform,
        Action::TenantActivated,
        tenant,
        detail,
    )
    .await?;
    news.announce(connection).await?;
    Ok(())
}
