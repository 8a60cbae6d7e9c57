//! What a world is made of.
//!
//! Deliberately the services' own settings for everything that they can set. Invariant: what is not
//! asked for is as in production, but for what would make tests slow.

use std::sync::Arc;

use app_service::App;
use platform_service::Faults;

/// What a world is made of; each value has a default.
#[derive(Clone)]
pub struct WorldOptions {
    pub(crate) app_replicas: usize,
    pub(crate) stock_level: u32,
    pub(crate) budget: u32,
    pub(crate) max_connections: u16,
    pub(crate) faults: Faults,
    pub(crate) database_link: DatabaseLink,
    pub(crate) app: Arc<dyn Fn() -> App + Send + Sync>,
    pub(crate) platform_settings: Vec<(String, String)>,
    pub(crate) app_settings: Vec<(String, String)>,
}

/// How the services reach PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DatabaseLink {
    Direct,
    Proxied,
}

impl Default for WorldOptions {
    fn default() -> Self {
        Self {
            app_replicas: 1,
            stock_level: 2,
            budget: 40,
            max_connections: 120,
            faults: Faults::none(),
            database_link: DatabaseLink::Direct,
            app: Arc::new(app_service::app),
            platform_settings: Vec::new(),
            app_settings: Vec::new(),
        }
    }
}

impl WorldOptions {
    /// So many replicas of app-service.
    #[must_use]
    pub fn app_replicas(mut self, count: usize) -> Self {
        self.app_replicas = count;
        self
    }

    /// So many ready databases; 0 makes every sign-up copy the template.
    #[must_use]
    pub fn stock_level(mut self, level: u32) -> Self {
        self.stock_level = level;
        self
    }

    /// Server connections that all replicas together may hold for tenants.
    #[must_use]
    pub fn budget(mut self, connections: u32) -> Self {
        self.budget = connections;
        self
    }

    /// Connections that each server of the world takes.
    #[must_use]
    pub fn max_connections(mut self, connections: u16) -> Self {
        self.max_connections = connections;
        self
    }

    /// What goes wrong in the operations of the first platform replica.
    #[must_use]
    pub fn faults(mut self, faults: Faults) -> Self {
        self.faults = faults;
        self
    }

    /// Puts a [`crate::FaultProxy`] between the services and PostgreSQL.
    #[must_use]
    pub fn behind_proxy(mut self) -> Self {
        self.database_link = DatabaseLink::Proxied;
        self
    }

    /// The app that its replicas run, e.g. with a module of your own:
    ///
    /// ```no_run
    /// # use app_service::{App, auth};
    /// # async fn example(notes: fn() -> app_service::Module) {
    /// let options = world::WorldOptions::default()
    ///     .app(move || App::new().module(auth::module()).module(notes()));
    /// let world = world::World::with(options).await;
    /// # }
    /// ```
    #[must_use]
    pub fn app(mut self, build: impl Fn() -> App + Send + Sync + 'static) -> Self {
        self.app = Arc::new(build);
        self
    }

    /// Keeps the passwords of tenants' roles in AWS Secrets Manager at this address, under this prefix, with
    /// credentials that a local AWS API server takes. Needs services that are built with their feature `aws`.
    #[must_use]
    pub fn aws_secrets(self, endpoint_url: &str, name_prefix: &str) -> Self {
        let settings = [
            ("secrets.store", "aws"),
            ("secrets.aws.endpoint_url", endpoint_url),
            ("secrets.aws.region", "eu-west-1"),
            ("secrets.aws.name_prefix", name_prefix),
        ];
        settings.into_iter().fold(self, |options, (key, value)| {
            options.platform_setting(key, value).app_setting(key, value)
        })
    }

    /// A setting of platform-service by its name, e.g. `signup.policy`.
    #[must_use]
    pub fn platform_setting(mut self, key: &str, value: &str) -> Self {
        self.platform_settings.push(pair(key, value));
        self
    }

    /// A setting of app-service by its name, e.g. `tenants.fresh`.
    #[must_use]
    pub fn app_setting(mut self, key: &str, value: &str) -> Self {
        self.app_settings.push(pair(key, value));
        self
    }
}

fn pair(key: &str, value: &str) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

impl std::fmt::Debug for WorldOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorldOptions")
            .field("app_replicas", &self.app_replicas)
            .field("stock_level", &self.stock_level)
            .field("budget", &self.budget)
            .finish_non_exhaustive()
    }
}
