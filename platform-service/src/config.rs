//! The settings of the service, as `config.default.toml` documents them.
//!
//! Deliberately without defaults in code. Invariant: settings that were loaded are usable; what is
//! missing or does not fit is named before anything starts.

mod fleet;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::Path;

use adapters::secret_store::{SealingSettings, SecretSettings};
use contract::Secret;
use kit::address::TrustedProxies;
use kit::config::{ConfigSpec, Period, SettingsError, is_long_enough};
use kit::http::CorsSettings;
use kit::limit::Rate;
use kit::passwords::PasswordCost;
use kit::serve::{DrainSettings, ServeLimits};
use kit::telemetry::LogSettings;
use serde::{Deserialize, Deserializer};

pub use fleet::{
    BackupSettings, DailyWindow, HoldSettings, ObjectSettings, ObjectStoreKind, PurgeSettings,
    SweepSettings, ToolSettings,
};

/// The defaults, their documentation, and the prefix of environment variables.
pub const SPEC: ConfigSpec = ConfigSpec {
    defaults: include_str!("config.default.toml"),
    env_prefix: "PLATFORM",
};

/// Everything that can be set.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The registry.
    pub registry: RegistrySettings,
    /// The listener for sign-up and operators.
    pub public: PublicSettings,
    /// The listener for services.
    pub internal: InternalSettings,
    /// Keys that seal secrets.
    pub sealing: SealingSettings,
    /// Where tenants' passwords are kept.
    pub secrets: SecretSettings,
    /// Who may sign up, and how often.
    pub signup: SignupSettings,
    /// What hashing an owner's password costs.
    pub passwords: PasswordCost,
    /// The first operator.
    pub operators: OperatorSettings,
    /// The runner of operations.
    pub operations: OperationSettings,
    /// Ready databases.
    pub stock: StockSettings,
    /// Replicas of services.
    pub replicas: ReplicaSettings,
    /// The change feed.
    pub feed: FeedSettings,
    /// Keys that sign access tokens.
    pub signing_keys: SigningKeySettings,
    /// Where backups and archives are kept.
    pub objects: ObjectSettings,
    /// The programs of PostgreSQL.
    pub tools: ToolSettings,
    /// When deleted tenants are purged.
    pub purge: PurgeSettings,
    /// How long requests of a tenant may be held.
    pub hold: HoldSettings,
    /// Backups by schedule, and exports.
    pub backups: BackupSettings,
    /// What nobody claims.
    pub sweep: SweepSettings,
    /// Limits of both listeners.
    pub serve: ServeLimits,
    /// The end.
    pub drain: DrainSettings,
    /// Logs.
    pub log: LogSettings,
}

/// The registry.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistrySettings {
    /// A PostgreSQL URL, which may hold a password.
    pub url: Secret,
    /// Connections of this process, beside the one that hears of changes.
    pub max_connections: u32,
    /// Further ones, for callers whose right to ask is not known yet.
    pub public_connections: u32,
    /// Who brings the schema up to date.
    pub migrate: MigratePolicy,
}

/// Who brings the registry's schema up to date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MigratePolicy {
    /// The service when it starts.
    OnStart,
    /// Somebody, with the command `migrate`.
    ByCommand,
}

/// The public listener.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublicSettings {
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Base URL of the tenants' API.
    pub api_url: String,
    /// The longest that a request may take.
    pub deadline: Period,
    /// The largest body.
    pub max_body_bytes: usize,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: TrustedProxies,
    /// Who may call from a browser.
    pub cors: CorsSettings,
}

/// The internal listener, and the keys between services.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InternalSettings {
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The largest body.
    pub max_body_bytes: usize,
    /// Verifies the credentials of services.
    pub app_key: Secret,
    /// Signs our own.
    pub platform_key: Secret,
}

/// Who may sign up, and how often.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignupSettings {
    /// Who may.
    pub policy: SignupPolicy,
    /// How long a request waits for its tenant.
    pub wait: Period,
    /// Per client address.
    pub per_address: Rate,
    /// Of everybody.
    pub overall: Rate,
    /// How long an idempotency key is remembered.
    pub idempotency_retention: Period,
    /// Where none is named.
    pub default_tier: String,
    /// Where none is named; empty takes the first with an active cluster.
    #[serde(deserialize_with = "optional_text")]
    pub default_region: Option<String>,
    /// Where none is named.
    pub default_time_zone: String,
}

/// Who may sign up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignupPolicy {
    /// Everybody.
    Open,
    /// Nobody: operators create tenants.
    Closed,
}

/// The first operator.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperatorSettings {
    /// The first key; empty makes none.
    pub first_key: Secret,
}

/// The runner of operations.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperationSettings {
    /// How long a replica that says nothing keeps an operation.
    pub lease: Period,
    /// How often operations that nobody runs are looked for.
    pub check_every: Period,
    /// How long a request waits for the operation that it began before it answers 202.
    pub wait: Period,
    /// How long one that is over can be read.
    pub retention: Period,
}

/// Ready databases.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StockSettings {
    /// Per active cluster.
    pub level: u32,
    /// How often the level is looked at.
    pub check_every: Period,
}

/// Replicas of services.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplicaSettings {
    /// How often they say that they live.
    pub heartbeat_every: Period,
    /// When one that says nothing counts as silent.
    pub silent_after: Period,
    /// When one of which nothing is seen either counts as gone.
    pub forgotten_after: Period,
}

/// The change feed.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeedSettings {
    /// How long changes are kept.
    pub retention: Period,
}

/// Keys that sign access tokens.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SigningKeySettings {
    /// How long a key signs.
    pub rotate_after: Period,
    /// How long it is published before.
    pub publish_before: Period,
    /// How long it verifies afterwards.
    pub verify_after: Period,
}

impl Settings {
    /// Defaults, then the file, then the environment.
    pub fn load(file: Option<&Path>) -> Result<Self, SettingsError> {
        let settings: Self = kit::config::load(&SPEC, file)?;
        settings.check()?;
        Ok(settings)
    }

    /// Names the first setting that is missing or breaks its rule.
    pub fn check(&self) -> Result<(), SettingsError> {
        const KEY_RULE: &str = "needs at least 32 characters, e.g. from `openssl rand -hex 32`";
        let rules = [
            (
                "registry.url",
                "needs the URL of the registry's database",
                !self.registry.url.expose().is_empty(),
            ),
            (
                "registry.max_connections",
                "must be at least 2; the one that listens comes on top",
                self.registry.max_connections > 1,
            ),
            (
                "registry.public_connections",
                "must be at least 1",
                self.registry.public_connections > 0,
            ),
            (
                "internal.app_key",
                KEY_RULE,
                is_long_enough(&self.internal.app_key),
            ),
            (
                "internal.platform_key",
                KEY_RULE,
                is_long_enough(&self.internal.platform_key),
            ),
            (
                "sealing.keys",
                "needs a key ring, e.g. `k1:` and the output of `openssl rand -base64 32`",
                !self.sealing.keys.expose().is_empty(),
            ),
            (
                "public.api_url",
                "needs an http or https URL without a slash at its end",
                is_base_url(&self.public.api_url),
            ),
            (
                "operations.retention",
                "must be at least signup.idempotency_retention",
                self.operations.retention.get() >= self.signup.idempotency_retention.get(),
            ),
            (
                "operations.wait",
                "must be less than public.deadline",
                self.operations.wait.get() < self.public.deadline.get(),
            ),
            (
                "signup.wait",
                "must be less than public.deadline",
                self.signup.wait.get() < self.public.deadline.get(),
            ),
            (
                "purge.at_once",
                "must be at least 1",
                self.purge.at_once > 0,
            ),
            (
                "hold.longest",
                "must be more than hold.acknowledge and hold.drain together",
                self.hold.longest.get() > self.hold.acknowledge.get() + self.hold.drain.get(),
            ),
            (
                "replicas.silent_after",
                "must be at least three heartbeats",
                self.replicas.silent_after.get() >= self.replicas.heartbeat_every.get() * 3,
            ),
            (
                "replicas.forgotten_after",
                "must be more than replicas.silent_after",
                self.replicas.forgotten_after.get() > self.replicas.silent_after.get(),
            ),
        ];
        SPEC.check(rules)
    }
}

fn is_base_url(text: &str) -> bool {
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.ends_with('/'))
}

fn optional_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(deserializer)?;
    Ok(Some(text).filter(|text| !text.is_empty()))
}
