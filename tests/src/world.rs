//! The world: a PostgreSQL server, platform-service, app-service, and the links between them.
//!
//! Deliberately one server per world, because the platform's roles belong to a server; tests that
//! need nothing special share one world and have tenants of their own. Invariants: each replica
//! runs on a runtime of its own; app-service reaches the platform over a link that can be broken.

use std::sync::Arc;

use contract::credential::{ServiceIdentity, ServiceSigner};
use contract::{Secret, TenantId};
use platform_service::Faults;
use serde_json::{Value, json};
use sqlx::PgConnection;
use tokio::sync::{OnceCell, Semaphore};

use crate::answer::Answer;
use crate::inside::{Inner, REGISTRY, http_client, make_registry, ready};
use crate::logs::Logs;
use crate::options::WorldOptions;
use crate::postgres::Postgres;
use crate::proxy::FaultProxy;
use crate::replica::{AppReplica, PlatformReplica};
use crate::speaker::{Credential, Speaker};
use crate::tenant::{PASSWORD, TenantHandle};

/// Worlds at once, so that a machine with many cores does not run a server per test.
const WORLDS: usize = 6;

static SHARED: OnceCell<Arc<Inner>> = OnceCell::const_new();
static PLACES: std::sync::LazyLock<Arc<Semaphore>> =
    std::sync::LazyLock::new(|| Arc::new(Semaphore::new(WORLDS)));

/// A world. The end of a world of one's own stops everything in it.
#[derive(Debug, Clone)]
pub struct World {
    inner: Arc<Inner>,
    /// Of this handle: connections belong to the runtime of a test.
    http: reqwest::Client,
}

impl World {
    /// The world that tests share which only need tenants of their own.
    pub async fn shared() -> Self {
        let inner = SHARED
            .get_or_init(|| async { Arc::new(Inner::start(WorldOptions::default(), None).await) })
            .await;
        Self::of(Arc::clone(inner))
    }

    /// A world of one's own.
    pub async fn start() -> Self {
        Self::with(WorldOptions::default()).await
    }

    /// A world of one's own, made to measure.
    pub async fn with(options: WorldOptions) -> Self {
        let places = Arc::clone(&PLACES);
        let place = places.acquire_owned().await.expect("never closed");
        Self::of(Arc::new(Inner::start(options, Some(place)).await))
    }

    fn of(inner: Arc<Inner>) -> Self {
        Self {
            inner,
            http: http_client(),
        }
    }

    pub(crate) fn inside(&self) -> &Inner {
        &self.inner
    }

    /// What this process logs.
    pub fn logs(&self) -> Logs {
        Logs::of_process()
    }

    /// The server.
    pub fn postgres(&self) -> &Postgres {
        &self.inner.postgres
    }

    /// A further server that is no cluster yet.
    pub async fn server(&self) -> Postgres {
        Postgres::further(self.inner.options.max_connections).await
    }

    /// A superuser's connection to the registry.
    pub async fn registry(&self) -> PgConnection {
        self.inner.postgres.connect(REGISTRY).await
    }

    /// A further, empty database for a registry; gives its URL.
    pub async fn empty_registry(&self, database: &str) -> String {
        make_registry(&self.inner.postgres, &self.inner.keys, database).await;
        self.inner.registry_url(database)
    }

    /// The link over which app-service reaches the platform's internal listener.
    pub fn platform_link(&self) -> &FaultProxy {
        &self.inner.platform_link
    }

    /// The link to PostgreSQL, in a world [`WorldOptions::behind_proxy`].
    pub fn database_link(&self) -> &FaultProxy {
        let link = self.inner.database_link.as_ref();
        link.expect("the options ask for a proxy before PostgreSQL")
    }

    /// The base URL of a replica of app-service.
    pub fn app_url(&self, replica: usize) -> String {
        self.inner.apps()[replica].url()
    }

    /// The base URL of the internal listener of a replica of app-service.
    pub fn app_internal_url(&self, replica: usize) -> String {
        self.inner.apps()[replica].internal_url()
    }

    /// The base URL of the public listener of the first replica of platform-service.
    pub fn platform_url(&self) -> String {
        let platforms = self.inner.platforms();
        platforms.first().expect("a platform is running").url()
    }

    /// The base URL of the internal listener of the first replica of platform-service.
    pub fn platform_internal_url(&self) -> String {
        let platforms = self.inner.platforms();
        platforms
            .first()
            .expect("a platform is running")
            .internal_url()
    }

    /// Nobody, at the first replica of app-service.
    pub fn anonymous(&self) -> Speaker {
        self.anonymous_at(0)
    }

    /// Nobody, at a replica of app-service.
    pub fn anonymous_at(&self, replica: usize) -> Speaker {
        Speaker::nobody(self.http.clone(), self.app_url(replica))
    }

    /// Nobody, at the platform: somebody who wants to sign up.
    pub fn visitor(&self) -> Speaker {
        Speaker::nobody(self.http.clone(), self.platform_url())
    }

    /// An operator with every scope, at the platform.
    pub fn operator(&self) -> Speaker {
        self.visitor().bearer(&self.inner.keys.operator)
    }

    /// A service of the data plane, at the platform's internal listener.
    pub fn service(&self) -> Speaker {
        let signer = ServiceSigner::new(
            &Secret::new(self.inner.keys.app.clone()),
            ServiceIdentity::AppService,
            ServiceIdentity::PlatformService,
        );
        Speaker::nobody(self.http.clone(), self.platform_internal_url())
            .with_credential(Credential::Service(signer))
    }

    /// The platform, at the internal listener of the first replica of app-service.
    pub fn platform(&self) -> Speaker {
        let signer = ServiceSigner::new(
            &Secret::new(self.inner.keys.platform.clone()),
            ServiceIdentity::PlatformService,
            ServiceIdentity::AppService,
        );
        Speaker::nobody(self.http.clone(), self.app_internal_url(0))
            .with_credential(Credential::Service(signer))
    }

    /// A tenant, signed up as anybody would. Its slug starts with `name` and is nobody else's.
    pub async fn tenant(&self, name: &str) -> TenantHandle {
        let slug = unique(name);
        let email = format!("owner@{slug}.example");
        let body = signup_body(&slug, &email);
        let answer = self.sign_up(body).await;
        let id: TenantId = serde_json::from_value(answer["id"].clone()).expect("an id");
        TenantHandle::of_owner(id, slug, email, self.anonymous()).await
    }

    /// Signs up and waits until the tenant is made.
    pub async fn sign_up(&self, body: Value) -> Value {
        let answer = self.visitor().post("/v1/signup", body).await;
        if answer.status() == 202 {
            let done = self.operation(&answer).await;
            assert_eq!(done["state"], "done", "{done}");
        } else {
            let answer = answer.clone().expect(201);
            assert_eq!(answer.json()["status"], "active", "{answer}");
        }
        answer.json()
    }

    /// The operation of a 202, once it is over.
    pub async fn operation(&self, accepted: &Answer) -> Value {
        let ticket = accepted.json()["operation"].clone();
        let path = ticket["path"].as_str().expect("a path").to_owned();
        let token = ticket["token"].as_str().expect("a token").to_owned();
        crate::wait::eventually(crate::wait::DEADLINE * 4, "the operation is over", || {
            let speaker = self.visitor().bearer(&token);
            let path = path.clone();
            async move {
                let operation = speaker.get(&path).await.expect(200).json();
                let state = operation["state"].as_str().expect("a state");
                matches!(state, "done" | "undone" | "stuck").then_some(operation)
            }
        })
        .await
    }

    /// Starts another replica of app-service and gives its number.
    pub async fn add_app_replica(&self) -> usize {
        let app = self.inner.start_app().await;
        self.add(app).await
    }

    /// The same with one that reaches the platform over a link of its own; let that lead to
    /// [`World::platform_link`].
    pub async fn add_app_replica_over(&self, link: &FaultProxy) -> usize {
        let app = self.inner.start_app_over(link.address()).await;
        self.add(app).await
    }

    /// The same with settings of its own, by their names.
    pub async fn add_app_replica_with(&self, settings: &[(&str, &str)]) -> usize {
        let app = self.inner.start_app_with(settings).await;
        self.add(app).await
    }

    async fn add(&self, app: AppReplica) -> usize {
        let number = {
            let mut apps = self.inner.apps();
            apps.push(app);
            apps.len() - 1
        };
        self.ready(number).await;
        number
    }

    /// Waits until a replica of app-service says that it is ready.
    pub async fn ready(&self, replica: usize) {
        ready(&self.http, &self.app_url(replica)).await;
    }

    /// Takes a replica of app-service out: kills it unless it is stopped. Later ones move down.
    pub fn take_app_replica(&self, replica: usize) -> AppReplica {
        self.inner.apps().remove(replica)
    }

    /// Stops every replica of platform-service as a signal would.
    pub async fn stop_platform(&self) {
        let platforms = std::mem::take(&mut *self.inner.platforms());
        for platform in platforms {
            platform.stop().await;
        }
    }

    /// Kills every replica of platform-service.
    pub fn kill_platform(&self) {
        self.inner.platforms().clear();
    }

    /// Starts a replica of platform-service and directs app-service to it.
    pub async fn start_platform(&self) {
        self.start_platform_with(Faults::none()).await;
    }

    /// The same with faults in its operations.
    pub async fn start_platform_with(&self, faults: Faults) {
        let platform = self.inner.start_platform(faults).await;
        self.inner.platform_link.retarget(platform.internal);
        self.inner.platforms().insert(0, platform);
    }

    /// A further replica of platform-service that app-service does not know, which ends with the
    /// value: killed, unless it is stopped.
    pub async fn platform_replica(&self, faults: Faults) -> PlatformReplica {
        self.inner.start_platform(faults).await
    }

    /// The same with a link to the registry that can be broken.
    pub async fn platform_replica_over_link(&self) -> (PlatformReplica, FaultProxy) {
        let link = self.inner.link_to(self.inner.postgres.address()).await;
        (self.inner.start_platform_over(&link).await, link)
    }

    /// Changes a tenant's status as a later operation of the platform will: the row, its generation
    /// and the change feed in one transaction.
    pub async fn set_status(&self, tenant: &TenantId, status: &str) {
        let sql = format!(
            "begin;
             update registry.tenant
                 set status = '{status}', generation = generation + 1,
                     wall = case when '{status}' = 'suspended' then 'blocked' end
                 where id = '{tenant}';
             with feed as (
                 update registry.feed set last_number = last_number + 1 returning last_number
             )
             insert into registry.change (number, tenant_id, generation)
                 select feed.last_number, tenant.id, tenant.generation
                 from feed, registry.tenant where tenant.id = '{tenant}';
             notify registry_change;
             commit"
        );
        self.inner.postgres.run(REGISTRY, &sql).await;
    }

    /// Texts that must not be seen anywhere: the keys of this world.
    pub fn secrets(&self) -> Vec<String> {
        let keys = &self.inner.keys;
        let ring = keys.ring.split_once(':').expect("an id and a key").1;
        [
            &keys.app,
            &keys.platform,
            &keys.operator,
            &keys.registry_password,
        ]
        .into_iter()
        .cloned()
        .chain([ring.to_owned()])
        .collect()
    }

    /// The key of an operator with every scope.
    pub fn operator_key(&self) -> &str {
        &self.inner.keys.operator
    }

    /// The key with which services of the data plane sign their credentials.
    pub fn service_key(&self) -> &str {
        &self.inner.keys.app
    }

    /// The key with which the platform signs its credentials.
    pub fn platform_key(&self) -> &str {
        &self.inner.keys.platform
    }

    /// The key ring with which the services seal.
    pub fn key_ring(&self) -> &str {
        &self.inner.keys.ring
    }

    /// The settings of a replica of app-service, to start one by hand.
    pub fn app_settings(&self) -> app_service::config::Settings {
        self.inner.app_settings()
    }
}

/// The body of a sign-up.
pub(crate) fn signup_body(slug: &str, email: &str) -> Value {
    json!({
        "company": format!("{slug} Incorporated"),
        "slug": slug,
        "email": email,
        "password": PASSWORD,
    })
}

/// A slug that nobody else has.
pub(crate) fn unique(name: &str) -> String {
    format!("{name}-{:08x}", rand::random::<u32>())
}
