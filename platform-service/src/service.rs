//! The running service: listeners, background work, start and drain.
//!
//! Deliberately can be started many times in one process, on free ports and on one registry: tests
//! and the local stack do. Invariant: a stop finishes open requests and the steps of operations that
//! are running; a kill loses neither.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use contract::client::ServiceClient;
use contract::credential::{ServiceIdentity, ServiceSigner};
use kit::auth::service::{Reached, SERVICE_SCHEME, ServiceVerifier};
use kit::docs::{self, Title};
use kit::http::Layers;
use kit::passwords::Hasher;
use kit::serve::{Drain, DrainEnd, Listener, Stopper};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use crate::config::{MigratePolicy, Settings};
use crate::operations::api::POLL_SCHEME;
use crate::operations::{Faults, Inbox};
use crate::operators::OPERATOR_SCHEME;
use crate::platform::{Inner, Platform};
use crate::registry::RegistryPool;
use crate::tenants::signup::Signups;
use crate::{
    adoption, archives, audit, backups, clusters, doctor, drift, feed, housekeeping, keys,
    operations, operators, psql, query, readiness, replicas, rollouts, schema, signing_keys, sweep,
    tenants, tiers,
};

const PUBLIC: Title = Title {
    name: "Tenantry platform-service",
    description: "Sign-up, and the operators' API: tenants, clusters, operations, keys.",
    security: &[
        (
            OPERATOR_SCHEME,
            "An operator key (`opk_...`) with the scope that the operation names.",
        ),
        (
            POLL_SCHEME,
            "The token of one operation (`poll_...`), from the 202 that started it.",
        ),
    ],
};
const INTERNAL: Title = Title {
    name: "Tenantry platform-service, internal",
    description: "What services that own schemas ask of the platform and tell it.",
    security: &[(
        SERVICE_SCHEME,
        "A service credential: a signed token of a minute, used once.",
    )],
};

/// How long a stop waits for connections to the registry that are still in use.
const REGISTRY_CLOSE: Duration = Duration::from_secs(2);

/// A service that is ready to run.
pub struct Service {
    platform: Platform,
    inbox: Inbox,
    public: Listener,
    internal: Listener,
    public_api: (Router, OpenApi),
    health: Router,
    internal_api: (Router, OpenApi),
    /// Cancelled to stop the service; `Platform::stopping` follows.
    stop: CancellationToken,
}

/// Where a registry comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// It has been this installation's all the time.
    Kept,
    /// Another registry was there after it, of which replicas may know.
    Backup,
}

impl Origin {
    /// Of a registry that somebody says was restored.
    pub(crate) const fn backup_if(restored: bool) -> Self {
        if restored { Self::Backup } else { Self::Kept }
    }
}

impl Service {
    /// Binds the listeners, brings the registry up to date where the settings say so, and prepares
    /// everything; nothing is served yet.
    ///
    /// # Errors
    /// Names the setting, port or database that does not work.
    pub async fn build(settings: Settings) -> anyhow::Result<Self> {
        Self::build_with(settings, Faults::none()).await
    }

    /// As [`Service::build`], with faults planted into the runner of operations.
    #[doc(hidden)]
    pub async fn build_with(settings: Settings, faults: Faults) -> anyhow::Result<Self> {
        settings.check()?;
        // What is measured before the recorder stands is lost.
        kit::telemetry::metrics_handle()?;
        let public = Listener::bind(settings.public.listen).await?;
        let internal = Listener::bind(settings.internal.listen).await?;
        let registry = schema::registry(&settings, settings.registry.max_connections)?;
        let public_registry = schema::registry(&settings, settings.registry.public_connections)?;
        match settings.registry.migrate {
            MigratePolicy::OnStart => {
                schema::migrate(&registry).await?;
            }
            MigratePolicy::ByCommand => schema::check(&registry).await?,
        }
        let (runner, inbox) = operations::channel(faults);
        let platform = Platform::new(Inner {
            secrets: settings.secrets.open(&settings.sealing).await?,
            seal: settings.sealing.open()?,
            services: service_client(&settings)?,
            callers: ServiceVerifier::new(
                &settings.internal.app_key,
                ServiceIdentity::AppService,
                ServiceIdentity::PlatformService,
                Reached::Balanced,
            ),
            hasher: Hasher::new(settings.passwords)?,
            runner,
            clusters: clusters::Connections::new(),
            feed: feed::Bell::new(),
            noting: operators::Noting::new(),
            signups: Signups::new(&settings.signup),
            sharing: replicas::Sharing::default(),
            readiness: readiness::Readiness::default(),
            leaving: CancellationToken::new(),
            stopping: CancellationToken::new(),
            registry: RegistryPool::new(registry),
            public_registry: RegistryPool::new(public_registry),
            settings,
        });
        signing_keys::ensure(&platform).await?;
        operators::ensure_first_key(&platform).await?;
        let readiness = readiness::router(&platform);
        Ok(Self {
            public_api: docs::api(public_routes(), PUBLIC, platform.clone(), Router::new()),
            internal_api: docs::api(
                internal_routes(),
                INTERNAL,
                platform.clone(),
                readiness.clone().merge(kit::http::metrics()),
            ),
            health: readiness,
            stop: platform.leaving.clone(),
            platform,
            inbox,
            public,
            internal,
        })
    }

    /// Brings the registry's schema up to date and gives its version. One that comes from a backup gets
    /// a new epoch, by which replicas see that they know what never was.
    ///
    /// # Errors
    /// Names the migration that failed, or what cannot be reached.
    pub async fn migrate(settings: &Settings, origin: Origin) -> anyhow::Result<i32> {
        let registry = schema::registry(settings, 1)?;
        let version = schema::migrate(&registry).await?;
        if origin == Origin::Backup {
            feed::store::renew_epoch(&mut *registry.acquire().await?).await?;
        }
        Ok(version)
    }

    /// The address of the public listener.
    pub fn public_address(&self) -> SocketAddr {
        self.public.local_addr()
    }

    /// The address of the internal listener.
    pub fn internal_address(&self) -> SocketAddr {
        self.internal.local_addr()
    }

    /// The public API without its layers and its health, to be served together with another one.
    pub fn public_api(&self) -> (Router, OpenApi) {
        self.public_api.clone()
    }

    /// The document of the internal API.
    pub fn internal_document(&self) -> &OpenApi {
        &self.internal_api.1
    }

    /// Stops it from elsewhere.
    pub fn stopper(&self) -> Stopper {
        Stopper::new(self.stop.clone())
    }

    /// Serves until it is stopped, then finishes what is open.
    ///
    /// # Errors
    /// Where the settings cannot be served with.
    pub async fn run(self) -> anyhow::Result<()> {
        let Self {
            platform,
            inbox,
            public,
            internal,
            public_api,
            health,
            internal_api,
            stop,
        } = self;
        let settings = &platform.settings;
        let (public_router, document) = public_api;
        let public_router = kit::http::dress(
            public_router.merge(health),
            &document,
            &public_layers(settings),
        )?;
        let internal_router = kit::http::dress(
            internal_api.0,
            &internal_api.1,
            &Layers::internal(settings.internal.max_body_bytes),
        )?;
        tracing::info!(
            public = %public.local_addr(),
            internal = %internal.local_addr(),
            "platform-service serves"
        );
        let tasks = start_background(&platform, inbox);
        let end = DrainEnd::new(settings.drain.deadline.get());
        // The internal listener outlives the public one, so that what is being made gets its answers
        // and the drain can be watched.
        let internal_stop = CancellationToken::new();
        let internal_drain = Drain {
            token: internal_stop.clone(),
            notice: Duration::ZERO,
            end: end.clone(),
        };
        let internal_task = tokio::spawn(kit::serve::serve(
            internal,
            internal_router,
            settings.serve,
            internal_drain,
        ));
        // Long polls and the runner hear of the stop when the listener does.
        let stopping = platform.stopping.clone();
        let (follow, notice) = (stop.clone(), settings.drain.notice.get());
        tasks.spawn(async move {
            follow.cancelled().await;
            tokio::time::sleep(notice).await;
            stopping.cancel();
        });
        tasks.close();
        let drain = Drain {
            token: stop,
            notice,
            end: end.clone(),
        };
        let report = kit::serve::serve(public, public_router, settings.serve, drain).await;
        if tokio::time::timeout_at(end.at(), tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!("background work did not end in time; others will finish it");
        }
        internal_stop.cancel();
        internal_task.await?;
        let closed = async {
            platform.public_registry.close().await;
            platform.registry.close().await;
        };
        if tokio::time::timeout(REGISTRY_CLOSE, closed).await.is_err() {
            tracing::warn!("connections to the registry were still in use and are cut");
        }
        tracing::info!(cut = report.cut, "platform-service has stopped");
        Ok(())
    }
}

fn start_background(platform: &Platform, inbox: Inbox) -> TaskTracker {
    let tasks = TaskTracker::new();
    tasks.spawn(operations::run(platform.clone(), inbox));
    tasks.spawn(clusters::keep(platform.clone()));
    tasks.spawn(clusters::keep_measured(platform.clone()));
    tasks.spawn(feed::listen(platform.clone()));
    tasks.spawn(signing_keys::rotate(platform.clone()));
    tasks.spawn(replicas::silence::reap(platform.clone()));
    tasks.spawn(housekeeping::keep(platform.clone()));
    tasks.spawn(tenants::due::keep(platform.clone()));
    tasks.spawn(psql::keep(platform.clone()));
    tasks.spawn(sweep::keep(platform.clone()));
    tasks.spawn(backups::schedule::keep(platform.clone()));
    tasks.spawn(backups::tidy::keep(platform.clone()));
    tasks
}

fn public_routes() -> OpenApiRouter<Platform> {
    OpenApiRouter::default()
        .merge(tenants::signup::router())
        .merge(tiers::router())
        .merge(operations::api::router())
        .merge(operations::retry::router())
        .merge(tenants::operator::router())
        .merge(tenants::bulk::router())
        .merge(tenants::life::router())
        .merge(tenants::purge::router())
        .merge(tenants::access::router())
        .merge(tenants::certificate::router())
        .merge(clusters::router())
        .merge(operations::move_tenant::router())
        .merge(operations::drain::router())
        .merge(backups::router())
        .merge(adoption::router())
        .merge(archives::router())
        .merge(operators::api::router())
        .merge(audit::api::router())
        .merge(doctor::router())
        .merge(keys::router())
        .merge(operations::rotate_fleet::router())
        .merge(query::router())
        .merge(psql::router())
        .merge(sweep::api::router())
        .merge(replicas::api::router())
        .merge(rollouts::router())
        .merge(drift::router())
}

fn internal_routes() -> OpenApiRouter<Platform> {
    OpenApiRouter::default()
        .merge(tenants::internal::internal_router())
        .merge(feed::internal_router())
        .merge(replicas::internal_router())
        .merge(signing_keys::internal_router())
}

fn public_layers(settings: &Settings) -> Layers {
    let public = &settings.public;
    Layers {
        listener: "public",
        deadline: Some(public.deadline.get()),
        body_bytes: public.max_body_bytes,
        cors: public.cors.clone(),
        trusted_proxies: public.trusted_proxies.clone(),
    }
}

fn service_client(settings: &Settings) -> anyhow::Result<ServiceClient> {
    let signer = ServiceSigner::new(
        &settings.internal.platform_key,
        ServiceIdentity::PlatformService,
        ServiceIdentity::AppService,
    );
    Ok(ServiceClient::new(signer)?)
}
