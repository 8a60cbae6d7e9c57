//! What a service of the data plane can reach: routes, and databases by the secrets in them.
//!
//! Deliberately by the public contract between the services, with the installation's own keys.
//! Invariant: a connection is opened with the login that it is asked for and no other.

use adapters::secret_store::{KeyRing, SealedStore, SecretStore, SecretSubject};
use contract::client::PlatformClient;
use contract::credential::{ServiceIdentity, ServiceSigner};
use contract::{Secret, SecretRef, TenantRoute};
use kit::db::{Login, Server};
use sqlx::{ConnectOptions as _, PgConnection};

use crate::credentials::Credentials;

const APPLICATION: &str = "local";

/// See the module.
pub(crate) struct Reach {
    platform: PlatformClient,
    secrets: SecretStore,
}

impl Reach {
    /// By the platform's internal listener and the installation's keys.
    pub(crate) fn new(internal_url: &str, credentials: &Credentials) -> anyhow::Result<Self> {
        let signer = ServiceSigner::new(
            &Secret::new(credentials.app_key.clone()),
            ServiceIdentity::AppService,
            ServiceIdentity::PlatformService,
        );
        let ring = KeyRing::parse(&credentials.sealing_keys)?;
        Ok(Self {
            platform: PlatformClient::new(internal_url, signer)?,
            secrets: SecretStore::Sealed(SealedStore::new(ring)),
        })
    }

    /// The platform, as a service calls it.
    pub(crate) fn platform(&self) -> &PlatformClient {
        &self.platform
    }

    /// The route of a tenant.
    pub(crate) async fn route(&self, tenant: &str) -> anyhow::Result<TenantRoute> {
        Ok(self.platform.route(&tenant.parse()?).await?)
    }

    /// Opens a secret.
    pub(crate) async fn open(
        &self,
        subject: &SecretSubject,
        reference: &SecretRef,
    ) -> anyhow::Result<Secret> {
        Ok(self.secrets.open(subject, reference).await?)
    }

    /// A connection to the database of a route, as `role` with the password behind `reference`.
    pub(crate) async fn connect(
        &self,
        route: &TenantRoute,
        role: &str,
        subject: &SecretSubject,
        reference: &SecretRef,
    ) -> anyhow::Result<PgConnection> {
        let password = self.open(subject, reference).await?;
        Ok(enter(route, role, &password).await?)
    }
}

/// Tries to enter the database of a route with a role and its password.
#[expect(
    clippy::disallowed_methods,
    reason = "one connection, to set up or to show a wall"
)]
pub(crate) async fn enter(
    route: &TenantRoute,
    role: &str,
    password: &Secret,
) -> Result<PgConnection, sqlx::Error> {
    let cluster = &route.database.cluster;
    let server = Server {
        host: &cluster.host,
        port: cluster.port,
        tls: cluster.tls,
    };
    let login = Login {
        role,
        password,
        database: &route.database.name,
        application: APPLICATION,
    };
    kit::db::connect_options(server, login).connect().await
}
