//! The running service: listeners, background work, start and drain.
//!
//! Deliberately can be started many times in one process, on free ports: tests and the local stack
//! do. Invariant: a stop finishes open requests, gives the connections back and tells the platform.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use contract::client::PlatformClient;
use contract::credential::{ServiceIdentity, ServiceSigner};
use contract::{Code, ReplicaId, ServiceName};
use kit::auth::service::{Reached, SERVICE_SCHEME, ServiceVerifier};
use kit::docs::{self, Title};
use kit::error::Problem;
use kit::http::Layers;
use kit::serve::{Drain, DrainEnd, Listener, Stopper};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use crate::auth::Auth;
use crate::config::Settings;
use crate::gauges;
use crate::internal;
use crate::module::{ApiNames, InvalidModule, Module, OwnedMigrations};
use crate::state::{AppState, Inner, SignInLimits};
use crate::tenancy::doors::TOKEN_SCHEME;
use crate::tenancy::{
    Directory, Heart, Migrator, MigratorSettings, Registration, Seen, follow_changes, keep_beating,
    stay_seen,
};

const SWEEP: Duration = Duration::from_secs(5);
/// How long the end of background work is waited for after the last request.
const BACKGROUND_PATIENCE: Duration = Duration::from_secs(10);

const PUBLIC: Title = Title {
    name: "Tenantry app-service",
    description: "The API of tenants' apps. Every request names its tenant in `X-Tenant-Id`; all \
                  but log-in and refresh carry a bearer token of that tenant.",
    security: &[(TOKEN_SCHEME, "An access token from `POST /v1/auth/login`.")],
};
const INTERNAL: Title = Title {
    name: "Tenantry app-service, internal",
    description: "What the platform asks of a service that owns schemas.",
    security: &[(
        SERVICE_SCHEME,
        "A service credential: a signed token of a minute, used once.",
    )],
};

/// A service that is ready to run.
pub struct Service {
    settings: Settings,
    public: Listener,
    internal: Listener,
    public_api: (Router, OpenApi),
    health: Router,
    internal_api: (Router, OpenApi),
    heart: Heart,
    directory: Directory,
    auth: Auth,
    registration: watch::Sender<Registration>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Service {
    pub(crate) async fn build(modules: Vec<Module>, settings: Settings) -> anyhow::Result<Self> {
        settings.check()?;
        kit::telemetry::metrics_handle()?;
        let public = Listener::bind(settings.public.listen).await?;
        let internal = Listener::bind(settings.internal.listen).await?;
        let replica = ReplicaId::new();
        let name = service_name()?;
        let application: Arc<str> = replica.application_name(&name).into();
        let platform = platform_client(&settings)?;
        let seal = Arc::new(settings.sealing.open()?);
        let secrets = Arc::new(settings.secrets.open(&settings.sealing).await?);
        let tasks = TaskTracker::new();
        let stop = CancellationToken::new();

        let mut routes = OpenApiRouter::default();
        let mut owned: Vec<OwnedMigrations> = Vec::new();
        let mut names = ApiNames::new();
        let (mut provision, mut ownership) = (Vec::new(), Vec::new());
        for mut module in modules {
            let migrations = module.take_migrations()?;
            if owned.iter().any(|other| other.owner == migrations.owner) {
                return Err(InvalidModule::Twice(migrations.owner).into());
            }
            names.add(&migrations.owner, module.routes.get_openapi())?;
            owned.push(migrations);
            routes = routes.merge(module.routes);
            provision.extend(module.provision);
            ownership.extend(module.ownership);
        }
        let migrator = Migrator::new(
            owned,
            MigratorSettings {
                on_demand: settings.migrations.on_demand,
                at_once: usize::from(settings.migrations.at_once.get()),
                call_budget: settings.migrations.call_budget.get(),
            },
            Arc::clone(&seal),
            platform.clone(),
            application.to_string(),
        );
        let directory = Directory::new(
            settings.directory(),
            platform.clone(),
            secrets,
            migrator.clone(),
            application,
            tasks.clone(),
        );
        let auth = Auth::new(&settings.auth, platform.clone(), seal, names.permissions())?;
        names.fit_into(auth.longest_token()?)?;
        let internal_url = internal_url(&settings, internal.local_addr());
        let state = AppState::new(Inner {
            directory: directory.clone(),
            migrator: migrator.clone(),
            auth: auth.clone(),
            platform_calls: ServiceVerifier::new(
                &settings.internal.platform_key,
                ServiceIdentity::PlatformService,
                ServiceIdentity::AppService,
                Reached::At(internal_url.clone()),
            ),
            sign_in_limits: SignInLimits::new(&settings.auth),
            provision,
            ownership,
        });
        let (registration, registered) = watch::channel(Registration::Missing);
        let readiness = readiness(registered, auth.clone(), directory.clone(), stop.clone());
        let heart = Heart {
            replica,
            service: name,
            internal_url,
            platform,
            directory: directory.clone(),
            migrator,
            seen: Seen::default(),
        };
        Ok(Self {
            public_api: docs::api(routes, PUBLIC, state.clone(), Router::new()),
            internal_api: docs::api(
                internal::router(),
                INTERNAL,
                state.clone(),
                readiness.clone().merge(metrics(&state)),
            ),
            health: readiness,
            settings,
            public,
            internal,
            heart,
            directory,
            auth,
            registration,
            stop,
            tasks,
        })
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
        let public = kit::http::dress(
            self.public_api.0.clone().merge(self.health.clone()),
            &self.public_api.1,
            &self.public_layers(),
        )?;
        let internal = kit::http::dress(
            self.internal_api.0.clone(),
            &self.internal_api.1,
            &Layers::internal(self.settings.internal.max_body_bytes),
        )?;
        tracing::info!(
            public = %self.public.local_addr(),
            internal = %self.internal.local_addr(),
            replica = %self.heart.replica,
            "app-service serves"
        );
        let background = self.start_background();
        let limits = self.settings.serve;
        // The internal listener outlives the public one, so that it can be watched to its end.
        let internal_stop = CancellationToken::new();
        let end = DrainEnd::new(self.settings.drain.deadline.get());
        let drain = Drain {
            token: self.stop.clone(),
            notice: self.settings.drain.notice.get(),
            end: end.clone(),
        };
        let internal_drain = Drain {
            token: internal_stop.clone(),
            notice: Duration::ZERO,
            end,
        };
        let internal_task = tokio::spawn(kit::serve::serve(
            self.internal,
            internal,
            limits,
            internal_drain,
        ));
        let report = kit::serve::serve(self.public, public, limits, drain).await;
        internal_stop.cancel();
        internal_task.await?;
        background.cancel();
        self.directory.close_idle();
        self.tasks.close();
        let ended = async {
            self.tasks.wait().await;
            // Those that were cut off in a statement are idle by now.
            self.directory.close_idle();
            self.tasks.wait().await;
            self.heart.stop().await;
        };
        if tokio::time::timeout(BACKGROUND_PATIENCE, ended)
            .await
            .is_err()
        {
            // The platform frees our share when it sees no session of ours any more.
            tracing::warn!("background work did not end in time, or the platform was not told");
        }
        tracing::info!(cut = report.cut, "app-service has stopped");
        Ok(())
    }

    fn public_layers(&self) -> Layers {
        let public = &self.settings.public;
        Layers {
            listener: "public",
            deadline: Some(public.deadline.get()),
            body_bytes: public.max_body_bytes,
            cors: public.cors.clone(),
            trusted_proxies: public.trusted_proxies.clone(),
        }
    }

    /// Starts what goes on besides requests; it ends with the token.
    fn start_background(&self) -> CancellationToken {
        let stop = CancellationToken::new();
        self.tasks.spawn(keep_beating(
            self.heart.clone(),
            self.registration.clone(),
            stop.clone(),
        ));
        self.tasks.spawn(follow_changes(
            self.heart.platform.clone(),
            self.heart.replica,
            self.directory.clone(),
            self.heart.seen.clone(),
            stop.clone(),
        ));
        self.tasks
            .spawn(self.auth.clone().keep_keys_fresh(stop.clone()));
        self.tasks
            .spawn(sweep(self.directory.clone(), stop.clone()));
        self.tasks
            .spawn(stay_seen(self.directory.clone(), stop.clone()));
        stop
    }
}

fn metrics(state: &AppState) -> Router {
    let state = state.clone();
    kit::http::metrics_after(move || gauges::measure(&state))
}

fn readiness(
    registered: watch::Receiver<Registration>,
    auth: Auth,
    directory: Directory,
    stop: CancellationToken,
) -> Router {
    let ready = get(move || {
        let goes_on = !stop.is_cancelled();
        let registered = *registered.borrow() == Registration::Accepted;
        let keys = auth.verifier().has_keys();
        let shares = directory.usage().iter().any(|(_, usage)| usage.share > 0);
        async move {
            for (is_so, what) in [
                (goes_on, "It is stopping."),
                (registered, "The platform has not taken this replica in."),
                (keys, "It has no signing keys yet."),
                (shares, "It has no share of any cluster's connections yet."),
            ] {
                if !is_so {
                    return Err(Problem::new(Code::NotReady).detail(what));
                }
            }
            Ok("ready")
        }
    });
    kit::http::liveness().route("/readyz", ready)
}

async fn sweep(directory: Directory, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(SWEEP) => {}
        }
        directory.sweep();
    }
}

fn platform_client(settings: &Settings) -> anyhow::Result<PlatformClient> {
    let signer = ServiceSigner::new(
        &settings.internal.app_key,
        ServiceIdentity::AppService,
        ServiceIdentity::PlatformService,
    );
    Ok(PlatformClient::new(&settings.platform.url, signer)?)
}

fn service_name() -> anyhow::Result<ServiceName> {
    Ok("app-service".parse()?)
}

fn internal_url(settings: &Settings, address: SocketAddr) -> String {
    if settings.internal.url.is_empty() {
        format!("http://{address}")
    } else {
        settings.internal.url.trim_end_matches('/').to_owned()
    }
}
