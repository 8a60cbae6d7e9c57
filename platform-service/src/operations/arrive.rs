//! The steps that every tenant takes that arrives with its data: a secret, a place, a database that is
//! loaded beside the tenants', a role, and the word that it is served.
//!
//! Deliberately no kind of operation: clones, imports and adoptions are put together from it. Invariants:
//! before a role can reach the data it is complete, and its schemas are such as every service serves; what
//! this operation did not make is never touched.

use std::collections::BTreeSet;
use std::time::Duration;

use adapters::secret_store::SecretSubject;
use contract::secret::{Secret, SecretRef};
use contract::{ClusterName, Code, OperationId, SchemaVersions, TenantId};
use kit::db::broken_constraint;
use kit::error::{Problem, Result};
use serde::{Deserialize, Serialize};
use sqlx::{Connection, PgConnection};
use tokio::time::timeout;

use super::create::{self, FIRST_COPY};
use super::{Head, Step, Stop, lease, mark, on_tenant};
use crate::clusters::connections::{Database, Server};
use crate::clusters::placement::{self, Candidate, Needs};
use crate::clusters::postgres::defaults::Defaults;
use crate::clusters::postgres::unattended::unattended;
use crate::clusters::postgres::{self, Claim, Name};
use crate::clusters::scram::Verifier;
use crate::clusters::store::{self as clusters, kept};
use crate::clusters::{owner, services, spare};
use crate::platform::Platform;
use crate::tenants::overrides::Overrides;
use crate::tenants::{self, NewTenant};

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What was chosen before the first step, and what steps learned.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Arrival {
    /// The password of the tenant's role, sealed.
    pub(super) password: SecretRef,
    /// Opens the password in the tenants' secret store.
    credential: Option<SecretRef>,
    /// Of its data, as far as that is known before it is loaded.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) bytes: u64,
    /// Where it is placed if there is room.
    near: Option<ClusterName>,
    /// Where it is placed only if nobody else takes it: it did not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    silent: Option<ClusterName>,
    /// What the database has once its schemas are brought up.
    pub(super) schema_versions: SchemaVersions,
    /// Of the owner's role, before anything that is not ours ran as it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    defaults: Option<Defaults>,
    /// How often its login had been set again by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    login_resets: Option<i32>,
}

impl Arrival {
    /// Records the tenant, in the transaction that records its operation.
    ///
    /// # Errors
    /// `slug-taken` where somebody was faster.
    pub(super) async fn record(
        connection: &mut PgConnection,
        platform: &Platform,
        operation: OperationId,
        tenant: &NewTenant,
        overrides: Overrides,
        near: Option<ClusterName>,
    ) -> Result<Self> {
        let subject = SecretSubject::Tenant(tenant.id.clone());
        let sealed = platform
            .seal
            .put(&subject, &operation.to_string(), &Secret::random())
            .await
            .map_err(Problem::internal)?;
        tenants::store::insert_provisioning(&mut *connection, tenant, &[])
            .await
            .map_err(|error| match broken_constraint(&error) {
                Some("tenant_key" | "tenant_slug_key") => Problem::new(Code::SlugTaken),
                _ => error.into(),
            })?;
        tenants::store::set_overrides(connection, &tenant.id, &overrides).await?;
        Ok(Self {
            password: sealed,
            credential: None,
            bytes: 0,
            near,
            silent: None,
            schema_versions: SchemaVersions::new(),
            defaults: None,
            login_resets: None,
        })
    }

    /// Looks whether the cluster that it would be placed on answers, where its data does not come from
    /// there; another one is better then.
    pub(super) async fn avoid_silence(&mut self, platform: &Platform) -> Result<(), Stop> {
        let Some(near) = &self.near else {
            return Ok(());
        };
        let answers = match platform.find_server(near).await? {
            Some(server) => answers(&server).await,
            None => false,
        };
        self.silent = (!answers).then(|| near.clone());
        Ok(())
    }

    /// The database that the data is loaded into.
    pub(super) fn side(tenant: &TenantId) -> Name {
        Name::Side(tenant.clone(), FIRST_COPY)
    }

    /// The server that the tenant is placed on.
    pub(super) async fn server(
        platform: &Platform,
        head: &Head,
    ) -> Result<std::sync::Arc<Server>, Stop> {
        match on_tenant::cluster(platform, head).await? {
            Some(cluster) => platform.server(&cluster).await,
            None => Err(Stop::Fail(Problem::internal("the tenant is not placed"))),
        }
    }

    /// Makes the empty database that the data is loaded into.
    pub(super) async fn make_side(platform: &Platform, head: &Head) -> Result<Name, Stop> {
        let tenant = head.tenant()?;
        let server = Self::server(platform, head).await?;
        let side = Self::side(tenant);
        spare::make_empty(platform, &server, &side, (tenant, head.id)).await?;
        Ok(side)
    }

    /// Notes how the owner's login is.
    pub(super) async fn survey(
        &mut self,
        platform: &Platform,
        server: &Server,
    ) -> Result<(), Stop> {
        let (defaults, resets) = owner::look(platform, server).await?;
        (self.defaults, self.login_resets) = (Some(defaults), Some(resets));
        Ok(())
    }

    pub(super) fn login_before(&self) -> owner::Before<'_> {
        owner::Before {
            defaults: self.defaults.as_ref(),
            resets: self.login_resets,
        }
    }

    /// Takes the owner's login back from what ran as it and is not ours.
    ///
    /// # Errors
    /// It had been changed: whoever does that wants more than one tenant's data.
    pub(super) async fn reclaim(&self, platform: &Platform, head: &Head) -> Result<(), Stop> {
        let server = Self::server(platform, head).await?;
        match owner::reclaim(platform, &server, self.login_before()).await? {
            owner::Login::AsItWas => Ok(()),
            owner::Login::Changed => Err(refused(
                "The statements change the role that runs them: leave `alter role` out.".to_owned(),
            )),
        }
    }

    /// What runs by itself in the loaded database.
    pub(super) async fn unattended(
        platform: &Platform,
        head: &Head,
    ) -> Result<BTreeSet<String>, Stop> {
        let server = Self::server(platform, head).await?;
        let side = Self::side(head.tenant()?);
        let mut inside = server.connect(Database::Ours(&side)).await?;
        let found = unattended(&mut inside).await?;
        inside.close().await?;
        Ok(found)
    }

    /// What runs by itself in a database that migrations make, at these versions; nothing where the services
    /// that live do not make exactly these.
    pub(super) async fn unattended_of_migrations(
        platform: &Platform,
        head: &Head,
        versions: &SchemaVersions,
    ) -> Result<BTreeSet<String>, Stop> {
        let server = Self::server(platform, head).await?;
        let scratch = Self::scratch(head);
        spare::make_empty(platform, &server, &scratch, (head.tenant()?, head.id)).await?;
        let database = server.database(&scratch, spare::copy_of(&scratch));
        let services = services::living(platform).await?;
        let made = services::make_at(platform, &services, &database, versions).await?;
        let mut inside = server.connect(Database::Ours(&scratch)).await?;
        let found = unattended(&mut inside).await?;
        inside.close().await?;
        spare::drop_now(platform, &server, &scratch).await?;
        Ok(if made == *versions {
            found
        } else {
            BTreeSet::new()
        })
    }

    fn scratch(head: &Head) -> Name {
        Name::Scratch(head.id.uuid())
    }

    /// Refuses what runs by itself in the loaded database and is not expected there.
    ///
    /// # Errors
    /// There is such a thing.
    pub(super) fn as_expected(
        found: &BTreeSet<String>,
        expected: &BTreeSet<String>,
    ) -> Result<(), Stop> {
        match found.difference(expected).next() {
            None => Ok(()),
            Some(unexpected) => Err(refused(format!(
                "Nothing may be added that runs by itself, as the owner of all tenants' schemas: leave out \
                 {unexpected}."
            ))),
        }
    }

    /// The steps that every arrival has; others are the kind's.
    pub(super) async fn act(&mut self, platform: &Platform, head: &Head) -> Result<(), Stop> {
        match head.step {
            Step::Secret => {
                let kept = create::keep_secret(platform, head, &self.password).await?;
                self.credential = Some(kept);
                Ok(())
            }
            Step::Survey => {
                let server = Self::server(platform, head).await?;
                self.survey(platform, &server).await
            }
            Step::Schema => self.migrate(platform, head).await,
            Step::Database => self.settle(platform, head).await,
            // The registry alone learns of them.
            Step::Place | Step::Activate => Ok(()),
            other => Err(other.unexpected()),
        }
    }

    pub(super) async fn record_step(
        &self,
        connection: &mut PgConnection,
        head: &Head,
        step: Step,
    ) -> Result<(), Stop> {
        let tenant = head.tenant()?;
        match step {
            Step::Secret => {
                let credentials = self.credential.as_slice();
                let news = tenants::store::set_credentials(connection, tenant, credentials).await?;
                news.while_being_made();
                Ok(())
            }
            Step::Place => self.place(connection, head).await,
            Step::Activate => create::activate(connection, head, &self.schema_versions).await,
            _ => Ok(()),
        }
    }

    pub(super) async fn undo(&self, platform: &Platform, head: &Head) -> Result<(), Stop> {
        match head.step {
            Step::Secret => create::remove_secret(platform, head).await,
            // Nothing is on a server before there is a place.
            Step::Load => match on_tenant::cluster(platform, head).await? {
                Some(cluster) => {
                    let server = platform.server(&cluster).await?;
                    // Whoever ran what is not ours may have died right after it.
                    owner::reclaim(platform, &server, self.login_before()).await?;
                    spare::drop_now(platform, &server, &Self::scratch(head)).await?;
                    spare::drop_now(platform, &server, &Self::side(head.tenant()?)).await
                }
                None => Ok(()),
            },
            Step::Database => {
                let server = Self::server(platform, head).await?;
                create::drop_marked(&server, head).await
            }
            _ => Ok(()),
        }
    }

    /// Frees the id, after the first step is undone.
    pub(super) async fn free(connection: &mut PgConnection, head: &Head) -> Result<(), Stop> {
        create::free(connection, head).await
    }

    async fn place(&self, connection: &mut PgConnection, head: &Head) -> Result<(), Stop> {
        let tenant = on_tenant::row(&mut *connection, head).await?;
        let candidates = clusters::lock_candidates(&mut *connection, &tenant.region).await?;
        let needs = Needs {
            region: &tenant.region,
            tier: &tenant.tier,
            labels: &tenant.labels,
            bytes: self.bytes,
        };
        let (silent, answering): (Vec<Candidate>, Vec<Candidate>) = candidates
            .iter()
            .cloned()
            .partition(|candidate| Some(&candidate.name) == self.silent.as_ref());
        let near = answering.iter().find(|candidate| {
            Some(&candidate.name) == self.near.as_ref() && candidate.judge(needs).is_ok()
        });
        let chosen = near
            .or_else(|| placement::place(&answering, needs))
            .or_else(|| placement::place(&silent, needs));
        let Some(chosen) = chosen else {
            let misfit = placement::why_none(&candidates, needs);
            return Err(Stop::Fail(misfit.into_problem(Code::ClusterFull)));
        };
        tenants::store::set_cluster(connection, head.tenant()?, &chosen.name).await?;
        Ok(())
    }

    async fn migrate(&mut self, platform: &Platform, head: &Head) -> Result<(), Stop> {
        let server = Self::server(platform, head).await?;
        let side = Self::side(head.tenant()?);
        let database = server.database(&side, spare::copy_of(&side));
        self.schema_versions = services::bring_to_serve(platform, head, &server, &database).await?;
        Ok(())
    }

    /// Gives the loaded database the tenant's name, and makes its role.
    async fn settle(&self, platform: &Platform, head: &Head) -> Result<(), Stop> {
        let server = Self::server(platform, head).await?;
        let name = Name::Tenant(head.tenant()?.clone());
        let side = Self::side(head.tenant()?);
        let mark = mark::of(head.id);
        let found = postgres::look(&mut *server.acquire().await?, &name).await?;
        if found.role_mark() != Some(&mark) {
            if found.role.is_some() || found.database.is_some() {
                return Err(mark::taken(&server, &name));
            }
            let password = create::open_password(platform, head, &self.password).await?;
            let claim = Claim {
                tenant: &name,
                marker: &server.database(&name, FIRST_COPY).marker(),
                mark: &mark,
                verifier: &Verifier::of(&password),
                connection_limit: server.connection_budget(),
            };
            let fence = lease::fence(platform, head, &server).await?;
            let mut connection = server.acquire().await?;
            postgres::end_sessions(&mut connection, &side).await?;
            postgres::settle(&mut connection, fence, &side, &claim).await?;
        }
        let place = (server.name(), &side);
        kept::forget(&mut *platform.registry.acquire().await?, place).await?;
        Ok(())
    }
}

fn refused(detail: String) -> Stop {
    Stop::Fail(Problem::new(Code::ValidationFailed).detail(detail))
}

/// Whether a server takes a connection now.
async fn answers(server: &Server) -> bool {
    let tried = async {
        let connection = server.connect(Database::Maintenance).await?;
        connection.close().await
    };
    matches!(timeout(PATIENCE, tried).await, Ok(Ok(())))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
const fn is_zero(bytes: &u64) -> bool {
    *bytes == 0
}
