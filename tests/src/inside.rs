//! What is in a world: the server, the replicas, the links and the keys, and how they are started.
//!
//! Deliberately the services' own settings and builders. Invariant: the replicas end before the
//! server that they talk to.

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use adapters::secret_store::AwsCredentials;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use contract::Secret;
use kit::passwords::PasswordCost;
use platform_service::Faults;
use postgres_server::Superuser;
use secrecy::ExposeSecret;
use serde_json::json;
use tokio::sync::{OnceCell, OwnedSemaphorePermit};

use crate::cluster::Cluster;
use crate::logs::Logs;
use crate::options::{DatabaseLink, WorldOptions};
use crate::postgres::Postgres;
use crate::proxy::FaultProxy;
use crate::replica::{AppReplica, PlatformReplica, Process};
use crate::speaker::Speaker;
use crate::wait::{DEADLINE, eventually, until};

/// The registry's database.
pub(crate) const REGISTRY: &str = "registry";
/// The name of the world's cluster.
const CLUSTER: &str = "main";
pub(crate) const REGION: &str = "here";

#[derive(Debug)]
pub(crate) struct Inner {
    // In the order in which they end.
    pub(crate) apps: Mutex<Vec<AppReplica>>,
    pub(crate) platforms: Mutex<Vec<PlatformReplica>>,
    pub(crate) platform_link: FaultProxy,
    pub(crate) database_link: Option<FaultProxy>,
    pub(crate) postgres: Postgres,
    pub(crate) second: OnceCell<Cluster>,
    pub(crate) keys: Keys,
    pub(crate) options: WorldOptions,
    links: Process,
    _place: Option<OwnedSemaphorePermit>,
}

/// What is secret in a world.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    pub(crate) app: String,
    pub(crate) platform: String,
    pub(crate) ring: String,
    pub(crate) operator: String,
    pub(crate) registry_password: String,
}

impl Keys {
    pub(crate) fn random() -> Self {
        Self {
            app: Secret::random().expose().to_owned(),
            platform: Secret::random().expose().to_owned(),
            ring: format!("k1:{}", STANDARD.encode(rand::random::<[u8; 32]>())),
            operator: format!("opk_{}", URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())),
            registry_password: Secret::random().expose().to_owned(),
        }
    }
}

impl Inner {
    pub(crate) async fn start(options: WorldOptions, place: Option<OwnedSemaphorePermit>) -> Self {
        Logs::of_process();
        let keys = Keys::random();
        let postgres = Postgres::first(options.max_connections).await;
        make_registry(&postgres, &keys, REGISTRY).await;
        let links = Process::new("links");
        let server = SocketAddr::from((postgres.superuser().host, postgres.superuser().port));
        let database_link = match options.database_link {
            DatabaseLink::Direct => None,
            DatabaseLink::Proxied => Some(start_link(&links, server).await),
        };
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
        let inner = Self {
            apps: Mutex::default(),
            platforms: Mutex::default(),
            platform_link: start_link(&links, nowhere).await,
            database_link,
            postgres,
            second: OnceCell::new(),
            keys,
            options,
            links,
            _place: place,
        };
        let platform = inner.start_platform(inner.options.faults.clone()).await;
        inner.platform_link.retarget(platform.internal);
        inner.platforms().push(platform);
        for _ in 0..inner.options.app_replicas {
            let app = inner.start_app().await;
            inner.apps().push(app);
        }
        inner.add_cluster().await;
        inner
    }

    pub(crate) fn apps(&self) -> MutexGuard<'_, Vec<AppReplica>> {
        self.apps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn platforms(&self) -> MutexGuard<'_, Vec<PlatformReplica>> {
        self.platforms
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) async fn start_platform(&self, faults: Faults) -> PlatformReplica {
        let replica = PlatformReplica::start(self.platform_settings(), faults).await;
        replica.expect("platform-service starts")
    }

    pub(crate) async fn start_app(&self) -> AppReplica {
        self.start_app_over(self.platform_link.address()).await
    }

    pub(crate) async fn start_app_over(&self, platform: SocketAddr) -> AppReplica {
        self.start_app_by(self.app_settings_over(platform, &[]))
            .await
    }

    pub(crate) async fn start_app_with(&self, own: &[(&str, &str)]) -> AppReplica {
        let platform = self.platform_link.address();
        self.start_app_by(self.app_settings_over(platform, own))
            .await
    }

    async fn start_app_by(&self, settings: app_service::config::Settings) -> AppReplica {
        let app = (self.options.app)();
        let replica = AppReplica::start(app, settings).await;
        replica.expect("app-service starts")
    }

    /// The settings of platform-service, as variables of a process.
    pub(crate) fn platform_environment(&self) -> Vec<(String, String)> {
        let keys = &self.keys;
        let registry = self.registry_url(REGISTRY);
        let level = self.options.stock_level.to_string();
        let programs = self.postgres.programs.unusual();
        let programs = programs.map(|folder| folder.display().to_string());
        let mut given = vec![
            ("registry.url", registry.as_str()),
            ("public.listen", "127.0.0.1:0"),
            ("drain.notice", "0s"),
            ("internal.listen", "127.0.0.1:0"),
            ("public.trusted_proxies", "127.0.0.1/32"),
            ("internal.app_key", &keys.app),
            ("internal.platform_key", &keys.platform),
            ("sealing.keys", &keys.ring),
            ("operators.first_key", &keys.operator),
            ("stock.level", &level),
            // What is swept in a test is what the test sweeps; whose time is over goes all the same.
            ("sweep.every", "1d"),
            // Whoever waits for an end gets it on a slow machine too; less than `public.deadline`.
            ("operations.wait", "25s"),
            ("signup.wait", "25s"),
        ];
        given.extend(
            programs
                .iter()
                .map(|folder| ("tools.bin_dir", folder.as_str())),
        );
        environment("PLATFORM", &given, &self.options.platform_settings)
    }

    /// How the platform reaches a registry on the world's server.
    pub(crate) fn registry_url(&self, database: &str) -> String {
        self.registry_url_over(self.postgres.address(), database)
    }

    fn registry_url_over(&self, address: SocketAddr, database: &str) -> String {
        let password = &self.keys.registry_password;
        format!("postgres://platform:{password}@{address}/{database}")
    }

    /// A replica of platform-service that reaches its registry over a link.
    pub(crate) async fn start_platform_over(&self, link: &FaultProxy) -> PlatformReplica {
        let mut settings = self.platform_settings();
        settings.registry.url = Secret::new(self.registry_url_over(link.address(), REGISTRY));
        let replica = PlatformReplica::start(settings, Faults::none()).await;
        replica.expect("platform-service starts")
    }

    fn platform_settings(&self) -> platform_service::config::Settings {
        let environment = self.platform_environment();
        let mut settings: platform_service::config::Settings =
            kit::config::load_with(&platform_service::config::SPEC, None, environment)
                .expect("settings of platform-service");
        settings.passwords = PasswordCost::weak_for_tests();
        settings.secrets.aws.credentials = AwsCredentials::ForTests;
        settings
    }

    pub(crate) fn app_settings(&self) -> app_service::config::Settings {
        self.app_settings_over(self.platform_link.address(), &[])
    }

    fn app_settings_over(
        &self,
        platform: SocketAddr,
        own: &[(&str, &str)],
    ) -> app_service::config::Settings {
        let keys = &self.keys;
        let platform = format!("http://{platform}");
        let given = [
            ("public.listen", "127.0.0.1:0"),
            ("drain.notice", "0s"),
            ("internal.listen", "127.0.0.1:0"),
            ("public.trusted_proxies", "127.0.0.1/32"),
            ("internal.app_key", &keys.app),
            ("internal.platform_key", &keys.platform),
            ("sealing.keys", &keys.ring),
            ("platform.url", &platform),
            // A crowd of requests waits for its turn on a slow machine too.
            ("connections.queue_wait", "20s"),
        ];
        let own = own
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let options: Vec<_> = self
            .options
            .app_settings
            .iter()
            .cloned()
            .chain(own)
            .collect();
        let environment = environment("APP", &given, &options);
        let mut settings: app_service::config::Settings =
            kit::config::load_with(&app_service::config::SPEC, None, environment)
                .expect("settings of app-service");
        settings.auth.passwords = PasswordCost::weak_for_tests();
        settings.secrets.aws.credentials = AwsCredentials::ForTests;
        settings
    }

    /// Adds the server as a cluster, as an operator does, and waits until the world can be used.
    async fn add_cluster(&self) {
        let http = http_client();
        let superuser = self.postgres.superuser();
        let address = match &self.database_link {
            Some(link) => link.address(),
            None => SocketAddr::from((superuser.host, superuser.port)),
        };
        self.register(CLUSTER, REGION, address, superuser).await;
        let apps: Vec<String> = self.apps().iter().map(AppReplica::url).collect();
        for app in apps {
            ready(&http, &app).await;
        }
        self.stocked(CLUSTER).await;
    }

    /// A link to a server that can be broken.
    pub(crate) async fn link_to(&self, target: SocketAddr) -> FaultProxy {
        start_link(&self.links, target).await
    }

    /// Adds a server as a cluster, as an operator does.
    pub(crate) async fn register(
        &self,
        name: &str,
        region: &str,
        address: SocketAddr,
        superuser: &Superuser,
    ) {
        let platform = self.platforms().first().expect("it was started").url();
        let operator = Speaker::nobody(http_client(), platform).bearer(&self.keys.operator);
        let body = json!({
            "name": name,
            "region": region,
            "host": address.ip().to_string(),
            "port": address.port(),
            "tls": "disable",
            "connection_budget": self.options.budget,
            "admin_user": superuser.user,
            "admin_password": superuser.password.expose_secret(),
        });
        operator.post("/v1/clusters", body).await.expect(201);
    }

    /// Waits until a cluster can take tenants: it has its template and its stock, and every replica of
    /// app-service has its share.
    pub(crate) async fn stocked(&self, cluster: &str) {
        let level = self.options.stock_level;
        let replicas = self.apps().len();
        let sql = format!(
            "select (exists (select from registry.template
                             where cluster = '{cluster}' and status = 'ready')
                and (select count(*) from registry.stock
                     where cluster = '{cluster}' and status = 'ready') >= {level}
                and (select count(*) from registry.replica_share
                     where cluster = '{cluster}' and held > 0) >= {replicas})::int::bigint"
        );
        // Several worlds start at once.
        let stocked = "template and stock are made and shared";
        eventually(DEADLINE * 4, stocked, || async {
            (self.postgres.number(REGISTRY, &sql).await == 1).then_some(())
        })
        .await;
    }
}

async fn start_link(links: &Process, target: SocketAddr) -> FaultProxy {
    let started = links.runtime().spawn(FaultProxy::start(target));
    started.await.expect("a proxy starts")
}

pub(crate) async fn make_registry(postgres: &Postgres, keys: &Keys, database: &str) {
    let password = Secret::new(keys.registry_password.clone());
    let mut admin = postgres.connect("postgres").await;
    platform_service::local::ensure_registry(&mut admin, database, "platform", &password)
        .await
        .expect("a database for the registry");
}

pub(crate) async fn ready(http: &reqwest::Client, base: &str) {
    let speaker = Speaker::nobody(http.clone(), base.to_owned());
    until("app-service is ready", || async {
        speaker.get("/readyz").await.status() == 200
    })
    .await;
}

/// Settings as environment variables; later ones win.
fn environment(
    prefix: &str,
    given: &[(&str, &str)],
    options: &[(String, String)],
) -> Vec<(String, String)> {
    let variable = |key: &str| format!("{prefix}__{}", key.replace('.', "__").to_ascii_uppercase());
    let mut all: std::collections::BTreeMap<String, String> = given
        .iter()
        .map(|(key, value)| (variable(key), (*value).to_owned()))
        .collect();
    all.extend(
        options
            .iter()
            .map(|(key, value)| (variable(key), value.clone())),
    );
    all.into_iter().collect()
}

pub(crate) fn http_client() -> reqwest::Client {
    client(reqwest::Client::builder())
}

/// One that speaks HTTP/2 from its first byte.
pub(crate) fn http2_client() -> reqwest::Client {
    client(reqwest::Client::builder().http2_prior_knowledge())
}

fn client(builder: reqwest::ClientBuilder) -> reqwest::Client {
    builder
        .no_proxy()
        .tcp_nodelay(true)
        .redirect(reqwest::redirect::Policy::none())
        .timeout(std::time::Duration::from_secs(60))
        // Before the services close what is idle: a request must not meet the end of its connection.
        .pool_idle_timeout(std::time::Duration::from_secs(60))
        .build()
        .expect("an HTTP client")
}
