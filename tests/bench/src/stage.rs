//! Where the rows are measured: PostgreSQL, the registry, both services as processes.
//!
//! Deliberately made by the public APIs; the registry is written to only where a row says so.
//! Invariant: services run only where a row needs them, one platform-service and mostly one
//! app-service, so that both sides of a row have the machine for themselves.

mod fleet;
mod tenants;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use adapters::secret_store::{KeyRing, SealedStore, SecretStore};
use anyhow::{Context as _, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use contract::Secret;
use postgres_server::{
    Binaries, DataFolder, Port, Profile, Server, ServerConfig, StopMode, Superuser,
};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, PgConnection};
use tempfile::TempDir;

pub(crate) use self::tenants::{Tenant, add_entries, log_in, log_in_as};
use crate::cli::{Options, Role};
use crate::client::{Client, Prepared};
use crate::machine;
use crate::process::{Process, Start};
use crate::roles::baseline::{Setup, Way};

/// In the environment of an app-service: how many migrations it has besides the reference schema's.
pub(crate) const RELEASES: &str = "BENCH_RELEASES";
/// In the environment of an app-service: what hashing a password costs, by its [name](PasswordCosts::name).
pub(crate) const PASSWORDS: &str = "BENCH_PASSWORDS";
const REGISTRY: &str = "registry";
/// The first cluster.
pub(crate) const CLUSTER: &str = "main";
/// The second, which only moves need.
pub(crate) const SECOND: &str = "second";
const REGION: &str = "here";
const MAX_CONNECTIONS: u16 = 400;
/// The cluster's budget where a row asks for nothing else.
pub(crate) const BUDGET: u32 = 256;
/// A quarter of the memory goes to the server's own cache, as its manual advises, and no more than this.
const MOST_BUFFERS_MIB: u64 = 1024;
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

/// What is secret on the stage.
#[derive(Debug)]
struct Keys {
    app: Secret,
    platform: Secret,
    ring: Secret,
    operator: Secret,
    registry: Secret,
}

/// What hashing a password costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PasswordCosts {
    /// Next to nothing: rows that are about something else.
    Nothing,
    /// What it does in production.
    AsDelivered,
}

impl PasswordCosts {
    /// Of an environment variable.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::AsDelivered => "as-delivered",
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) options: Options,
    postgres: Server,
    second: Option<Server>,
    /// The folder of PostgreSQL's programs.
    programs: PathBuf,
    /// Where backups are kept.
    objects: TempDir,
    keys: Keys,
    secrets: SecretStore,
    platform: Option<Process>,
    /// Where platform-service listens, the same after every restart.
    platform_at: Vec<SocketAddr>,
    app: Option<Process>,
    tenants: Vec<Tenant>,
    signed_up: u32,
    /// Migrations that the app-service has besides those of the reference schema.
    releases: u32,
    /// Of the next app-service that is started.
    pub(crate) password_costs: PasswordCosts,
}

impl Stage {
    /// Starts everything, with no stock.
    pub(crate) async fn open(options: &Options) -> anyhow::Result<Self> {
        let binaries = Binaries::of_workspace().await?;
        let programs = binaries.bin_dir.clone();
        let postgres = start_postgres(binaries).await?;
        let ring = KeyRing::generate();
        let operator = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
        let keys = Keys {
            app: Secret::random(),
            platform: Secret::random(),
            ring: ring.to_secret(),
            operator: Secret::new(format!("opk_{operator}")),
            registry: Secret::random(),
        };
        let mut stage = Self {
            options: options.clone(),
            postgres,
            second: None,
            programs,
            objects: tempfile::tempdir()?,
            keys,
            secrets: SecretStore::Sealed(SealedStore::new(ring)),
            platform: None,
            platform_at: Vec::new(),
            app: None,
            tenants: Vec::new(),
            signed_up: 0,
            releases: 0,
            password_costs: PasswordCosts::Nothing,
        };
        stage.make_registry().await?;
        stage.platform(0).await?;
        stage.add_cluster(CLUSTER, stage.superuser()).await?;
        stage.open_tiers().await?;
        stage.app(BUDGET, &[]).await?;
        Ok(stage)
    }

    /// Stops everything and removes the data.
    pub(crate) async fn close(mut self) -> anyhow::Result<()> {
        for process in [self.app.take(), self.platform.take()]
            .into_iter()
            .flatten()
        {
            process.stop().await?;
        }
        if let Some(mut second) = self.second.take() {
            second.stop(StopMode::Immediate).await?;
        }
        Ok(self.postgres.stop(StopMode::Immediate).await?)
    }

    /// Stops PostgreSQL and starts it again; gives back when it accepts logins.
    pub(crate) async fn restart(&mut self, mode: StopMode) -> anyhow::Result<()> {
        Ok(self.postgres.restart(mode).await?)
    }

    /// Stops PostgreSQL as a crash does; gives how long it takes, once started again, until it accepts logins.
    pub(crate) async fn crash(&mut self) -> anyhow::Result<Duration> {
        self.postgres.stop(StopMode::Immediate).await?;
        let started = Instant::now();
        self.postgres.start_again().await?;
        Ok(started.elapsed())
    }

    fn superuser(&self) -> &Superuser {
        self.postgres.superuser()
    }

    /// Where PostgreSQL listens.
    pub(crate) fn server(&self) -> SocketAddr {
        SocketAddr::from((self.superuser().host, self.superuser().port))
    }

    /// A connection of the superuser.
    pub(crate) async fn connect(&self, database: &str) -> anyhow::Result<PgConnection> {
        let options: PgConnectOptions = self.superuser().options(database);
        #[expect(clippy::disallowed_methods, reason = "the superuser's, not a tenant's")]
        Ok(options.connect().await?)
    }

    /// A connection of the superuser to the registry.
    pub(crate) async fn registry(&self) -> anyhow::Result<PgConnection> {
        self.connect(REGISTRY).await
    }

    /// Opens and seals what the services do.
    pub(crate) fn secrets(&self) -> &SecretStore {
        &self.secrets
    }

    pub(crate) async fn server_version(&self) -> anyhow::Result<String> {
        let mut admin = self.connect("postgres").await?;
        Ok(
            sqlx::query_scalar("select current_setting('server_version')")
                .fetch_one(&mut admin)
                .await?,
        )
    }

    async fn make_registry(&self) -> anyhow::Result<()> {
        let mut admin = self.connect("postgres").await?;
        let role = format!(
            "create role platform login password '{}'",
            self.keys.registry.expose()
        );
        run(&mut admin, role).await?;
        run(
            &mut admin,
            format!("create database {REGISTRY} owner platform"),
        )
        .await
    }

    /// Restarts platform-service with a stock of so many ready databases.
    pub(crate) async fn platform(&mut self, stock: u32) -> anyhow::Result<()> {
        if let Some(platform) = self.platform.take() {
            platform.stop().await?;
        }
        let server = self.server();
        let registry = format!(
            "postgres://platform:{}@{server}/{REGISTRY}",
            self.keys.registry.expose()
        );
        let mut listen = self.platform_at.iter().map(ToString::to_string);
        let mut address = || listen.next().unwrap_or_else(|| "127.0.0.1:0".to_owned());
        let environment = settings(
            "PLATFORM",
            &[
                ("registry.url", &registry),
                ("public.listen", &address()),
                ("drain.notice", "0s"),
                ("internal.listen", &address()),
                ("internal.app_key", self.keys.app.expose()),
                ("internal.platform_key", self.keys.platform.expose()),
                ("sealing.keys", self.keys.ring.expose()),
                ("operators.first_key", self.keys.operator.expose()),
                ("signup.per_address", "1000000/1s"),
                ("signup.overall", "1000000/1s"),
                ("signup.wait", "25s"),
                ("stock.level", &stock.to_string()),
                ("objects.folder", &self.objects.path().to_string_lossy()),
                ("tools.bin_dir", &self.programs.to_string_lossy()),
            ],
        );
        let platform = self
            .start(Role::Platform, environment, String::new())
            .await?;
        self.platform_at.clone_from(&platform.addresses);
        self.platform = Some(platform);
        Ok(())
    }

    /// Restarts platform-service; gives how long it took from its start until it was ready.
    pub(crate) async fn platform_ready_again(&mut self) -> anyhow::Result<Duration> {
        if let Some(platform) = self.platform.take() {
            platform.stop().await?;
        }
        let started = Instant::now();
        self.platform(0).await?;
        let request = Prepared::get("/readyz")?;
        let mut client = Client::new(self.platform_address()?);
        while !client.send(&request).await?.status.is_success() {
            ensure!(
                started.elapsed() < PATIENCE,
                "platform-service is not ready"
            );
            tokio::time::sleep(POLL).await;
        }
        Ok(started.elapsed())
    }

    /// The tier without limits may be chosen at the sign-up.
    async fn open_tiers(&self) -> anyhow::Result<()> {
        sqlx::query("update registry.tier set self_service = true")
            .execute(&mut self.registry().await?)
            .await?;
        Ok(())
    }

    async fn add_cluster(&self, name: &str, superuser: &Superuser) -> anyhow::Result<()> {
        let body = json!({
            "name": name,
            "region": REGION,
            "host": superuser.host.to_string(),
            "port": superuser.port,
            "tls": "disable",
            "admin_user": superuser.user,
            "admin_password": superuser.password.expose_secret(),
            "connection_budget": BUDGET,
        });
        let request = Prepared::post("/v1/clusters", &body)?.bearer(self.keys.operator.expose())?;
        let answer = Client::new(self.platform_address()?).send(&request).await?;
        answer.expect::<Value>("adding the cluster").map(drop)
    }

    /// Restarts app-service with a budget of server connections and more settings.
    pub(crate) async fn app(&mut self, budget: u32, more: &[(&str, &str)]) -> anyhow::Result<()> {
        let platform = self.platform_internal()?;
        self.app_behind(platform, budget, more).await
    }

    /// The same with another way to the platform's internal listener.
    pub(crate) async fn app_behind(
        &mut self,
        platform: SocketAddr,
        budget: u32,
        more: &[(&str, &str)],
    ) -> anyhow::Result<()> {
        if let Some(app) = self.app.take() {
            app.stop().await?;
        }
        sqlx::query("update registry.cluster set connection_budget = $1")
            .bind(i32::try_from(budget)?)
            .execute(&mut self.registry().await?)
            .await?;
        let app = self.start_app(platform, more).await?;
        self.app = Some(app);
        Ok(())
    }

    /// One more app-service beside the first; its user stops it.
    pub(crate) async fn another_app(&self, platform: SocketAddr) -> anyhow::Result<Process> {
        self.start_app(platform, &[]).await
    }

    /// Starts an app-service and waits until it is ready.
    async fn start_app(
        &self,
        platform: SocketAddr,
        more: &[(&str, &str)],
    ) -> anyhow::Result<Process> {
        let platform = format!("http://{platform}");
        let mut environment = settings(
            "APP",
            &[
                ("public.listen", "127.0.0.1:0"),
                ("drain.notice", "0s"),
                ("internal.listen", "127.0.0.1:0"),
                ("internal.app_key", self.keys.app.expose()),
                ("internal.platform_key", self.keys.platform.expose()),
                ("sealing.keys", self.keys.ring.expose()),
                ("platform.url", &platform),
                // Longer than the benchmark.
                ("auth.access_lifetime", "4h"),
                ("auth.sign_in_per_address", "1000000/1s"),
                ("auth.sign_in_per_account", "1000000/1s"),
                ("auth.unknown_look_ups", "1000000/1s"),
            ],
        );
        environment.extend(settings("APP", more));
        environment.push((RELEASES.to_owned(), self.releases.to_string()));
        environment.push((PASSWORDS.to_owned(), self.password_costs.name().to_owned()));
        let app = self.start(Role::App, environment, String::new()).await?;
        let request = Prepared::get("/readyz")?;
        let mut client = Client::new(app.address()?);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = client.send(&request).await?;
            if answer.status.is_success() {
                return Ok(app);
            }
            if Instant::now() > deadline {
                bail!("app-service is not ready: {}", answer.words());
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Starts a baseline that may log in as these tenants.
    pub(crate) async fn baseline(&self, tenants: &[&str], way: Way) -> anyhow::Result<Process> {
        let setup = Setup {
            server: self.server(),
            logins: self.logins(tenants).await?,
            way,
        };
        let input = serde_json::to_string(&setup)?;
        self.start(Role::Baseline, Vec::new(), input).await
    }

    async fn start(
        &self,
        role: Role,
        environment: Vec<(String, String)>,
        input: String,
    ) -> anyhow::Result<Process> {
        let logs = self.options.logs.as_deref();
        Process::start(
            role,
            Start {
                environment,
                input,
                logs,
            },
        )
        .await
    }

    /// Sign-up and operators.
    pub(crate) fn platform_address(&self) -> anyhow::Result<SocketAddr> {
        self.platform_at
            .first()
            .copied()
            .context("platform-service runs")
    }

    /// The platform's internal listener.
    pub(crate) fn platform_internal(&self) -> anyhow::Result<SocketAddr> {
        self.platform_at
            .get(1)
            .copied()
            .context("platform-service runs")
    }

    /// The tenants' API.
    pub(crate) fn app_address(&self) -> anyhow::Result<SocketAddr> {
        self.app.as_ref().context("app-service runs")?.address()
    }

    /// Resident memory of app-service.
    pub(crate) fn app_memory_kib(&self) -> anyhow::Result<u64> {
        machine::resident_kib(self.app.as_ref().context("app-service runs")?.id()?)
    }

    /// Resident memory of platform-service.
    pub(crate) fn platform_memory_kib(&self) -> anyhow::Result<u64> {
        machine::resident_kib(
            self.platform
                .as_ref()
                .context("platform-service runs")?
                .id()?,
        )
    }

    /// Waits until so many databases are ready and nothing is being made.
    pub(crate) async fn stocked(&self, level: u32) -> anyhow::Result<()> {
        let mut registry = self.registry().await?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (ready, others): (i64, i64) = sqlx::query_as(
                "select count(*) filter (where status = 'ready'),
                    count(*) filter (where status <> 'ready') from registry.stock",
            )
            .fetch_one(&mut registry)
            .await?;
            if ready == i64::from(level) && others == 0 {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("{ready} databases are ready and {others} are not, instead of {level} and 0");
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// The newest template.
    pub(crate) async fn template(&self) -> anyhow::Result<String> {
        let number: i64 = sqlx::query_scalar(
            "select number from registry.template where status = 'ready' order by number desc limit 1",
        )
        .fetch_one(&mut self.registry().await?)
        .await?;
        Ok(format!("tpl:{number}"))
    }

    /// Waits until there is a template.
    pub(crate) async fn templated(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while self.template().await.is_err() {
            if Instant::now() > deadline {
                bail!("there is no template");
            }
            tokio::time::sleep(POLL).await;
        }
        Ok(())
    }
}

async fn start_postgres(binaries: Binaries) -> anyhow::Result<Server> {
    let mut extra = vec![("wal_level".to_owned(), "logical".to_owned())];
    if let Some(memory) = machine::memory_mib() {
        let buffers = (memory / 4).min(MOST_BUFFERS_MIB);
        extra.push(("shared_buffers".to_owned(), format!("{buffers}MB")));
    }
    let (server, _) = Server::start(ServerConfig {
        binaries,
        data: DataFolder::Temporary,
        port: Port::Free,
        profile: Profile::Durable,
        max_connections: MAX_CONNECTIONS,
        extra,
    })
    .await?;
    Ok(server)
}

/// Runs a statement that holds a name.
pub(crate) async fn run(connection: &mut PgConnection, statement: String) -> anyhow::Result<()> {
    sqlx::raw_sql(AssertSqlSafe(statement))
        .execute(connection)
        .await?;
    Ok(())
}

/// Settings as environment variables.
fn settings(prefix: &str, given: &[(&str, &str)]) -> Vec<(String, String)> {
    given
        .iter()
        .map(|(key, value)| {
            let key = key.replace('.', "__").to_ascii_uppercase();
            (format!("{prefix}__{key}"), (*value).to_owned())
        })
        .collect()
}
