//! Making a tenant of a database that is there: closed, taken over, given the tenant's name.
//!
//! Deliberately nothing is copied and nothing is dropped: what is undone goes back to those who had it,
//! under its old name, with its old owners and rights; schemas that migrations made meanwhile stay in
//! it, for the next try. Invariants: it is known by its oid; what is given back was recorded before it
//! was taken; nobody gets in between the first change and the last.

use std::time::Duration;

use contract::internal::{NewOwner, OwnershipAct, OwnershipRequest, ProvisionRequest};
use contract::operator::tenant::OtherOwners;
use contract::{ClusterName, Code, OperationId, SchemaVersions};
use kit::error::{Problem, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};

use super::arrive::Arrival;
use super::create::{self, FIRST_COPY};
use super::saga::{Saga, Traits};
use super::{Head, Step, Stop, lease, mark, on_tenant};
use crate::adoption::compare;
use crate::adoption::judge::Schemas;
use crate::clusters::connections::{ClusterRole, Server};
use crate::clusters::postgres::contents::{self, Thing, To};
use crate::clusters::postgres::foreign::{self, Found};
use crate::clusters::postgres::sessions::{self, Sitting};
use crate::clusters::postgres::{self, Claim, Name};
use crate::clusters::scram::Verifier;
use crate::clusters::services::Occasion;
use crate::clusters::{owner, services, spare};
use crate::platform::Platform;
use crate::tenants::NewTenant;
use crate::tenants::overrides::Overrides;

/// How long sessions that are being ended are waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// What was chosen before the first step, and what was learned.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AdoptPlan {
    arrival: Arrival,
    cluster: ClusterName,
    found: Found,
    /// The first owner, where one is asked for.
    account: Option<NewOwner>,
    schemas: Schemas,
    /// Statements that give the platform's groups the rights that migrations would have given.
    rights: Vec<String>,
    /// The same for the tables of histories that the baseline makes.
    history_rights: Vec<String>,
    /// What was somebody else's.
    things: Vec<Thing>,
}

impl AdoptPlan {
    /// Records the tenant that the database becomes; not placed yet.
    ///
    /// # Errors
    /// The slug is taken.
    pub(crate) async fn record(
        connection: &mut PgConnection,
        platform: &Platform,
        operation: OperationId,
        (tenant, cluster): (&NewTenant, &ClusterName),
        (found, schemas, account): (Found, Schemas, Option<NewOwner>),
    ) -> Result<Self> {
        let none = Overrides::default();
        let arrival = Arrival::record(connection, platform, operation, tenant, none, None).await?;
        Ok(Self {
            arrival,
            cluster: cluster.clone(),
            found,
            account,
            schemas,
            rights: Vec::new(),
            history_rights: Vec::new(),
            things: Vec::new(),
        })
    }

    /// Holds what is there against what migrations make.
    async fn compare(&mut self, platform: &Platform, head: &Head) -> Result<(), Stop> {
        let server = platform.server(&self.cluster).await?;
        self.arrival.survey(platform, &server).await?;
        if self.schemas.there.is_empty() {
            return Ok(());
        }
        let scratch = Name::Scratch(head.id.uuid());
        spare::make_empty(platform, &server, &scratch, (head.tenant()?, head.id)).await?;
        let place = (server.as_ref(), &scratch);
        let compared = compare::compare(platform, place, &self.found, &self.schemas).await?;
        spare::drop_now(platform, &server, &scratch).await?;
        if let Some(wrong) = compared.refusal() {
            return Err(Stop::Fail(wrong));
        }
        self.rights = compared.rights;
        self.history_rights = compared.history_rights;
        Ok(())
    }

    /// Closes the database and ends every session in it; notes whose things it holds.
    async fn close(&mut self, platform: &Platform, head: &Head) -> Result<(), Stop> {
        let server = platform.server(&self.cluster).await?;
        if self.now(&server).await?.as_deref() != Some(&self.found.name) {
            return Err(self.gone());
        }
        lease::still_ours(platform, head).await?;
        foreign::close(&mut *server.acquire().await?, &self.found).await?;
        self.empty(&server).await?;
        let mut inside = self.enter(platform, &server).await?;
        self.things = contents::things(&mut inside).await?;
        inside.close().await?;
        Ok(())
    }

    /// Gives everything in the database to the role that runs migrations.
    async fn own(&self, platform: &Platform) -> Result<(), Stop> {
        let server = platform.server(&self.cluster).await?;
        let mut inside = self.enter(platform, &server).await?;
        contents::give(&mut inside, &self.things, To::Us).await?;
        contents::set_rights(&mut inside, &self.rights).await?;
        inside.close().await?;
        Ok(())
    }

    /// Gives the database the tenant's name, and makes its role.
    async fn take(&self, platform: &Platform, head: &Head) -> Result<(), Stop> {
        let server = platform.server(&self.cluster).await?;
        let name = Name::Tenant(head.tenant()?.clone());
        let mark = mark::of(head.id);
        if mark::is_on(&server, &name, &mark).await? {
            return Ok(());
        }
        if self.now(&server).await?.as_deref() != Some(&self.found.name) {
            return Err(self.gone());
        }
        let found = postgres::look(&mut *server.acquire().await?, &name).await?;
        let is_other = found.database.is_some() && self.found.name != name.to_string();
        if found.role.is_some() || is_other {
            return Err(mark::taken(&server, &name));
        }
        let password = create::open_password(platform, head, &self.arrival.password).await?;
        let claim = Claim {
            tenant: &name,
            marker: &server.database(&name, FIRST_COPY).marker(),
            mark: &mark,
            verifier: &Verifier::of(&password),
            connection_limit: server.connection_budget(),
        };
        self.empty(&server).await?;
        let fence = lease::fence(platform, head, &server).await?;
        foreign::take(&mut *server.acquire().await?, fence, &self.found, &claim).await?;
        Ok(())
    }

    async fn migrate(&mut self, platform: &Platform, head: &Head) -> Result<(), Stop> {
        let services = services::living(platform).await?;
        let server = platform.server(&self.cluster).await?;
        let name = Name::Tenant(head.tenant()?.clone());
        let database = server.database(&name, FIRST_COPY);
        let baseline = &self.schemas.baseline;
        self.arrival.schema_versions =
            services::migrate_from(platform, &services, &database, baseline).await?;
        let mut inside = server
            .connect_as(platform, ClusterRole::Schema, &database)
            .await?;
        contents::set_rights(&mut inside, &self.history_rights).await?;
        inside.close().await?;
        // What is in it may have run with the migrations.
        self.arrival.reclaim(platform, head).await
    }

    /// Makes the first owner; in a database that had nothing of ours, modules provision too.
    async fn provision(&self, platform: &Platform, head: &Head) -> Result<(), Stop> {
        let Some(owner) = &self.account else {
            return Ok(());
        };
        let give = OwnershipAct::Give {
            email: owner.email.clone(),
            account: Some(owner.clone()),
            others: OtherOwners::Keep,
        };
        change_owners(platform, head, give).await?;
        if self.schemas.there.is_empty() {
            let request = ProvisionRequest {
                route: on_tenant::route(&mut *platform.registry.acquire().await?, head).await?,
                owner: owner.clone(),
            };
            services::run_hooks(
                platform,
                &services::living(platform).await?,
                Occasion::Provision(&request),
            )
            .await?;
        }
        Ok(())
    }

    /// Gives the database its name, its owner and its comment back.
    async fn give_back(&self, platform: &Platform, head: &Head) -> Result<(), Stop> {
        let server = platform.server(&self.cluster).await?;
        let name = Name::Tenant(head.tenant()?.clone());
        let is_taken = mark::is_on(&server, &name, &mark::of(head.id)).await?;
        if !is_taken || self.now(&server).await?.is_none() {
            return Ok(());
        }
        self.empty(&server).await?;
        let fence = lease::fence(platform, head, &server).await?;
        foreign::give_back(&mut *server.acquire().await?, fence, &self.found, &name).await?;
        Ok(())
    }

    /// Gives everything in it to those who had it.
    async fn disown(&self, platform: &Platform) -> Result<(), Stop> {
        let server = platform.server(&self.cluster).await?;
        if self.things.is_empty() || !self.is_back(&server).await? {
            return Ok(());
        }
        let owners = self.things.iter().map(|thing| &thing.owner);
        foreign::let_make(&mut *server.acquire().await?, &self.found, owners).await?;
        let mut inside = self.enter(platform, &server).await?;
        contents::give(&mut inside, &self.things, To::Before).await?;
        inside.close().await?;
        Ok(())
    }

    async fn reopen(&self, platform: &Platform) -> Result<(), Stop> {
        let server = platform.server(&self.cluster).await?;
        if self.is_back(&server).await? {
            foreign::reopen(&mut *server.acquire().await?, &self.found).await?;
        }
        Ok(())
    }

    /// The name of the database now; none where it is gone.
    async fn now(&self, server: &Server) -> Result<Option<String>, Stop> {
        let oid = self.found.oid;
        Ok(foreign::name_now(&mut *server.acquire().await?, oid).await?)
    }

    /// Whether it has its old name. What has another one is gone, or somebody else's.
    async fn is_back(&self, server: &Server) -> Result<bool, Stop> {
        Ok(self.now(server).await?.as_deref() == Some(&self.found.name))
    }

    fn gone(&self) -> Stop {
        let detail = format!(
            "The database {} of {} was renamed or dropped meanwhile.",
            self.found.name, self.cluster
        );
        Stop::Fail(Problem::new(Code::Conflict).detail(detail))
    }

    async fn enter(&self, platform: &Platform, server: &Server) -> Result<PgConnection, Stop> {
        let place = (self.found.oid, self.found.name.as_str());
        server
            .connect_foreign(platform, ClusterRole::Schema, place)
            .await
    }

    /// Ends the sessions in it.
    async fn empty(&self, server: &Server) -> Result<(), Stop> {
        let sitting = Sitting::InForeign {
            oid: self.found.oid,
            name: &self.found.name,
        };
        sessions::empty(server, sitting, PATIENCE).await?;
        Ok(())
    }
}

async fn change_owners(platform: &Platform, head: &Head, act: OwnershipAct) -> Result<(), Stop> {
    let request = OwnershipRequest {
        route: on_tenant::route(&mut *platform.registry.acquire().await?, head).await?,
        change: head.id.uuid(),
        act,
    };
    services::run_hooks(
        platform,
        &services::living(platform).await?,
        Occasion::Ownership(&request),
    )
    .await
}

impl Saga for AdoptPlan {
    const STEPS: &'static [Step] = &[
        Step::Compare,
        Step::Secret,
        Step::Close,
        Step::Own,
        Step::Database,
        Step::Schema,
        Step::Account,
        Step::Activate,
    ];

    fn point_of_no_return(&self) -> Step {
        Step::Activate
    }

    fn traits(&self) -> Traits {
        Traits::LONG
    }

    fn needs_no_act(&self, step: Step) -> bool {
        step == Step::Activate
    }

    async fn act(&mut self, platform: &Platform, head: &Head) -> Result<(), Stop> {
        match head.step {
            Step::Compare => self.compare(platform, head).await,
            Step::Close => self.close(platform, head).await,
            Step::Own => self.own(platform).await,
            Step::Database => self.take(platform, head).await,
            Step::Schema => self.migrate(platform, head).await,
            Step::Account => self.provision(platform, head).await,
            _ => self.arrival.act(platform, head).await,
        }
    }

    async fn record(
        &self,
        connection: &mut PgConnection,
        head: &Head,
        step: Step,
    ) -> Result<(), Stop> {
        match step {
            Step::Secret | Step::Activate => self.arrival.record_step(connection, head, step).await,
            _ => Ok(()),
        }
    }

    async fn undo(&mut self, platform: &Platform, head: &Head) -> Result<(), Stop> {
        match head.step {
            Step::Account if self.account.is_some() => {
                change_owners(platform, head, OwnershipAct::TakeBack).await
            }
            Step::Database => self.give_back(platform, head).await,
            Step::Own => self.disown(platform).await,
            Step::Close => self.reopen(platform).await,
            Step::Secret => self.arrival.undo(platform, head).await,
            Step::Compare => {
                let server = platform.server(&self.cluster).await?;
                spare::drop_now(platform, &server, &Name::Scratch(head.id.uuid())).await
            }
            Step::Schema => {
                // What migrations made stays, with its history; what ran with them does not keep the login.
                let server = platform.server(&self.cluster).await?;
                owner::reclaim(platform, &server, self.arrival.login_before()).await?;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn forget(&self, connection: &mut PgConnection, head: &Head) -> Result<(), Stop> {
        match head.step {
            // The first step is the last one to be undone.
            Step::Compare => Arrival::free(connection, head).await,
            _ => Ok(()),
        }
    }

    fn result(&self) -> Option<Value> {
        let versions: &SchemaVersions = &self.arrival.schema_versions;
        Some(json!({
            "cluster": self.cluster, "database": self.found.name, "taken_over": self.things.len(),
            "schema_versions": versions,
        }))
    }
}
