//! Both services in this process, each on a runtime of its own.
//!
//! Deliberately the services' own libraries with their own settings. Invariants: a dropped service
//! ends like a killed process, one that is stopped finishes what is open; nothing but what the
//! settings name differs from production.

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use axum::Router;
use contract::{ClusterName, Secret};
use kit::config::ConfigSpec;
use serde::de::DeserializeOwned;
use serde_json::json;
use sqlx::ConnectOptions as _;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use utoipa::openapi::OpenApi;

use crate::api::Api;
use crate::credentials::{Age, Credentials};
use crate::database::Admin;

/// The registry's database and its login.
const REGISTRY: &str = "tenantry_registry";
/// The name of the one cluster.
const CLUSTER: &str = "main";
const REGION: &str = "local";
/// Server connections that all tenants may hold together; a server as it is installed has 100.
const BUDGET: u32 = 60;
/// Any free port of this machine.
const ANYWHERE: &str = "127.0.0.1:0";
const PATIENCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(20);

/// What the services are wired with.
pub(crate) struct Wiring<'a> {
    pub(crate) admin: &'a Admin,
    pub(crate) credentials: &'a Credentials,
    /// What tenants' apps call; none where that is app-service itself.
    pub(crate) api_url: Option<&'a str>,
    /// Where backups and archives are kept; none where nobody makes any.
    pub(crate) objects: Option<&'a str>,
    /// Where PostgreSQL's programs are, where the platform would not find them.
    pub(crate) programs: Option<&'a str>,
    /// Whose cluster the server was, where it is to be ours.
    pub(crate) takes_over_from: Option<&'a str>,
}

/// A running service.
pub(crate) struct Replica {
    pub(crate) public: SocketAddr,
    pub(crate) internal: SocketAddr,
    /// Its public API, to be served together with another one.
    pub(crate) api: PublicApi,
    stop: Box<dyn Fn() + Send + Sync>,
    running: JoinHandle<anyhow::Result<()>>,
    _process: Process,
}

/// The public API of a service, without its layers.
#[derive(Clone)]
pub(crate) struct PublicApi {
    pub(crate) router: Router,
    pub(crate) document: OpenApi,
    /// The largest body that the service takes.
    pub(crate) body_bytes: usize,
}

impl PublicApi {
    fn new((router, document): (Router, OpenApi), body_bytes: usize) -> Self {
        Self {
            router,
            document,
            body_bytes,
        }
    }
}

/// A runtime that can end inside another one.
struct Process(Option<Runtime>);

impl Process {
    fn new(name: &str) -> anyhow::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .thread_name(name)
            .enable_all()
            .build()?;
        Ok(Self(Some(runtime)))
    }

    /// Runs something on it.
    fn spawn<F>(&self, work: F) -> anyhow::Result<JoinHandle<F::Output>>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let runtime = self.0.as_ref().context("this runtime has ended")?;
        Ok(runtime.spawn(work))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Replica {
    /// Base URL of its public listener.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.public)
    }

    /// Base URL of its internal listener.
    pub(crate) fn internal_url(&self) -> String {
        format!("http://{}", self.internal)
    }

    /// Lets it finish what is open, and waits for its end.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        (self.stop)();
        self.running.await?
    }

    /// Resolves when it ends, which it does not by itself.
    pub(crate) async fn ended(&mut self) -> anyhow::Error {
        match (&mut self.running).await {
            Ok(Ok(())) => anyhow::anyhow!("it ended by itself"),
            Ok(Err(error)) => error,
            Err(error) => error.into(),
        }
    }

    /// Waits until it says that it is ready.
    pub(crate) async fn ready(&self) -> anyhow::Result<()> {
        let caller = Api::new(&self.url())?;
        let started = Instant::now();
        loop {
            let answer = caller.get("/readyz").await?;
            if answer.status == 200 {
                return Ok(());
            }
            if started.elapsed() > PATIENCE {
                bail!(
                    "not ready after {} s: {}",
                    PATIENCE.as_secs(),
                    answer.body["detail"]
                );
            }
            tokio::time::sleep(POLL).await;
        }
    }
}

impl Wiring<'_> {
    /// Refuses a registry that is there already where the credentials are new: nothing in it could
    /// be opened.
    pub(crate) async fn check_registry(&self, age: Age) -> anyhow::Result<()> {
        let mut admin = self.admin.connect().await?;
        let exists: bool =
            sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
                .bind(REGISTRY)
                .fetch_one(&mut admin)
                .await?;
        if exists && age == Age::New {
            bail!(
                "the server has a database {REGISTRY}, but the keys that its secrets are sealed \
                 with are gone: on a server of our own start with --fresh, on another one drop it"
            );
        }
        Ok(sqlx::Connection::close(admin).await?)
    }

    /// Makes the registry's database and login, or gives the login its password.
    pub(crate) async fn ensure_registry(&self) -> anyhow::Result<()> {
        let mut admin = self.admin.connect().await?;
        let password = Secret::new(self.credentials.registry_password.clone());
        platform_service::local::ensure_registry(&mut admin, REGISTRY, REGISTRY, &password).await?;
        Ok(sqlx::Connection::close(admin).await?)
    }

    /// Connections to the registry, for what no operation does.
    pub(crate) fn registry(&self) -> kit::db::Pool {
        let password = Secret::new(self.credentials.registry_password.clone());
        let server = kit::db::Server {
            host: &self.admin.host,
            port: self.admin.port,
            tls: self.admin.tls,
        };
        let login = kit::db::Login {
            role: REGISTRY,
            password: &password,
            database: REGISTRY,
            application: "local",
        };
        kit::db::Pool::new(kit::db::connect_options(server, login), 1)
    }

    /// Starts platform-service with its internal listener at `internal`, or anywhere.
    pub(crate) async fn start_platform(
        &self,
        internal: Option<SocketAddr>,
    ) -> anyhow::Result<Replica> {
        let settings = self.platform_settings(internal)?;
        let body_bytes = settings.public.max_body_bytes;
        let process = Process::new("platform-service")?;
        let service = process
            .spawn(platform_service::Service::build(settings))?
            .await??;
        let stopper = service.stopper();
        Ok(Replica {
            public: service.public_address(),
            internal: service.internal_address(),
            api: PublicApi::new(service.public_api(), body_bytes),
            stop: Box::new(move || stopper.stop()),
            running: process.spawn(service.run())?,
            _process: process,
        })
    }

    /// Starts app-service with the modules of its program.
    pub(crate) async fn start_app(&self, platform: &Replica) -> anyhow::Result<Replica> {
        let settings = self.app_settings(&platform.internal_url())?;
        let body_bytes = settings.public.max_body_bytes;
        let app = app_service::app();
        let process = Process::new("app-service")?;
        let service = process.spawn(app.build(settings))?.await??;
        let stopper = service.stopper();
        Ok(Replica {
            public: service.public_address(),
            internal: service.internal_address(),
            api: PublicApi::new(service.public_api(), body_bytes),
            stop: Box::new(move || stopper.stop()),
            running: process.spawn(service.run())?,
            _process: process,
        })
    }

    /// Adds the server as a cluster, or notes the port that it has now.
    pub(crate) async fn ensure_cluster(&self, platform: &Replica) -> anyhow::Result<()> {
        let Admin {
            host,
            port,
            user,
            password,
            tls,
            ..
        } = self.admin;
        let operator = Api::new(&platform.url())?.bearer(&self.credentials.operator_key);
        let found = operator.get(&format!("/v1/clusters/{CLUSTER}")).await?;
        if found.status != 404 {
            let cluster = found.expect(200)?;
            if cluster["port"] != *port {
                let name: ClusterName = CLUSTER.parse()?;
                platform_service::local::set_cluster_port(&self.registry(), &name, *port).await?;
            }
            return Ok(());
        }
        let cluster = json!({
            "name": CLUSTER, "region": REGION, "host": host, "port": port, "tls": tls,
            "admin_user": user, "admin_password": password.expose(), "connection_budget": BUDGET,
            "takes_over_from": self.takes_over_from,
        });
        operator.post("/v1/clusters", &cluster).await?.expect(201)?;
        Ok(())
    }

    /// Waits until a database is ready to be given to a tenant: the template is made by then.
    pub(crate) async fn stocked(&self, platform: &Replica) -> anyhow::Result<()> {
        let operator = Api::new(&platform.url())?.bearer(&self.credentials.operator_key);
        let started = Instant::now();
        loop {
            let cluster = operator
                .get(&format!("/v1/clusters/{CLUSTER}"))
                .await?
                .expect(200)?;
            if cluster["stock"].as_u64() > Some(0) {
                return Ok(());
            }
            if started.elapsed() > PATIENCE {
                bail!(
                    "no database was ready after {} s; the log says why",
                    PATIENCE.as_secs()
                );
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn platform_settings(
        &self,
        internal: Option<SocketAddr>,
    ) -> anyhow::Result<platform_service::config::Settings> {
        let Credentials {
            app_key,
            platform_key,
            sealing_keys,
            operator_key,
            ..
        } = self.credentials;
        let registry = self.registry().connect_options().to_url_lossy();
        let internal = internal.map_or_else(|| ANYWHERE.to_owned(), |address| address.to_string());
        let mut given = vec![
            ("registry.url", registry.as_str()),
            ("public.listen", ANYWHERE),
            ("drain.notice", "0s"),
            ("internal.listen", &internal),
            ("internal.app_key", app_key),
            ("internal.platform_key", platform_key),
            ("sealing.keys", sealing_keys),
            ("operators.first_key", operator_key),
            // One person tries things; nobody attacks.
            ("signup.per_address", "60/1m"),
        ];
        given.extend(self.api_url.map(|url| ("public.api_url", url)));
        given.extend(self.objects.map(|folder| ("objects.folder", folder)));
        given.extend(self.programs.map(|folder| ("tools.bin_dir", folder)));
        settings(&platform_service::config::SPEC, &given)
    }

    pub(crate) fn app_settings(
        &self,
        platform_url: &str,
    ) -> anyhow::Result<app_service::config::Settings> {
        let Credentials {
            app_key,
            platform_key,
            sealing_keys,
            ..
        } = self.credentials;
        let given = [
            ("public.listen", ANYWHERE),
            ("drain.notice", "0s"),
            ("internal.listen", ANYWHERE),
            ("internal.app_key", app_key.as_str()),
            ("internal.platform_key", platform_key),
            ("sealing.keys", sealing_keys),
            ("platform.url", platform_url),
        ];
        settings(&app_service::config::SPEC, &given)
    }
}

/// Settings with these values over the defaults; this process's environment does not count.
fn settings<T: DeserializeOwned>(spec: &ConfigSpec, given: &[(&str, &str)]) -> anyhow::Result<T> {
    let variable = |key: &str| {
        let name = key.replace('.', "__").to_ascii_uppercase();
        format!("{}__{name}", spec.env_prefix)
    };
    let environment = given.iter().map(|(key, value)| (variable(key), value));
    Ok(kit::config::load_with(spec, None, environment)?)
}
