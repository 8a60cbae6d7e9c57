//! The settings of the service, as `config.default.toml` documents them.
//!
//! Deliberately without defaults in code. Invariant: settings that were loaded are usable; what is
//! missing or does not fit is named before anything starts.

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::path::Path;

use adapters::secret_store::{SealingSettings, SecretSettings};
use contract::Secret;
use kit::address::TrustedProxies;
use kit::config::{ConfigSpec, Period, SettingsError, is_long_enough};
use kit::http::CorsSettings;
use kit::serve::{DrainSettings, ServeLimits};
use kit::telemetry::LogSettings;
use serde::Deserialize;

use crate::auth::AuthSettings;
use crate::tenancy::{ConnectionLimits, DirectorySettings, OnDemand};

/// A request waits for the end of a hold for this share of its whole deadline: mostly it is then told so, and
/// who is let go on late has some time left. What it spent before is not taken off.
const HELD_SHARE: f64 = 0.9;

/// The defaults, their documentation, and the prefix of environment variables.
pub const SPEC: ConfigSpec = ConfigSpec {
    defaults: include_str!("config.default.toml"),
    env_prefix: "APP",
};

/// Everything that can be set.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The listener for tenants' apps.
    pub public: PublicSettings,
    /// The listener for the platform.
    pub internal: InternalSettings,
    /// Where the platform is.
    pub platform: PlatformSettings,
    /// Keys that open what the platform sealed.
    pub sealing: SealingSettings,
    /// Where tenants' passwords are kept.
    pub secrets: SecretSettings,
    /// Tokens and log-ins.
    pub auth: AuthSettings,
    /// What is known of tenants.
    pub tenants: TenantSettings,
    /// Connections to their databases.
    pub connections: ConnectionSettings,
    /// Migrations of their databases.
    pub migrations: MigrationSettings,
    /// Limits of both listeners.
    pub serve: ServeLimits,
    /// How a stop goes.
    pub drain: DrainSettings,
    /// Logs.
    pub log: LogSettings,
}

/// The public listener.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublicSettings {
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
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
    /// How the platform reaches it; empty takes the address.
    pub url: String,
    /// The largest body.
    pub max_body_bytes: usize,
    /// Signs our credentials.
    pub app_key: Secret,
    /// Verifies the platform's.
    pub platform_key: Secret,
}

/// Where the platform is.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlatformSettings {
    /// Base URL of its internal listener.
    pub url: String,
}

/// What is known of tenants.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TenantSettings {
    /// Tenants that are kept known.
    pub capacity: u64,
    /// A tenant without a request for so long is forgotten.
    pub idle: Period,
    /// What is known is looked at again after this.
    pub fresh: Period,
    /// The same while the change feed is not heard.
    pub fresh_without_feed: Period,
    /// How long a refusal is remembered.
    pub refusal: Period,
    /// The longest that a request waits for its tenant to become known.
    pub wait: Period,
}

/// Connections to tenants' databases.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConnectionSettings {
    /// The longest that a request waits for one.
    pub queue_wait: Period,
    /// An idle one is closed after this.
    pub idle: Period,
    /// The longest that opening one may take.
    pub open: Period,
}

/// Migrations of tenants' databases.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MigrationSettings {
    /// Which tenants are migrated by their own requests.
    pub on_demand: OnDemand,
    /// Runs at once on a cluster, per replica; each holds a connection outside of the budget.
    pub at_once: NonZeroU16,
    /// A call for several databases begins no further one after this.
    pub call_budget: Period,
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
        const KEY_RULE: &str = "needs the key that the platform has, at least 32 characters";
        let rules = [
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
                "needs the platform's key ring",
                !self.sealing.keys.expose().is_empty(),
            ),
            (
                "platform.url",
                "needs an http or https URL",
                self.platform.url.starts_with("http://")
                    || self.platform.url.starts_with("https://"),
            ),
            (
                "internal.url",
                "needs the address by which the platform reaches this replica: internal.listen takes every \
                 address",
                !self.internal.url.is_empty() || !self.internal.listen.ip().is_unspecified(),
            ),
        ];
        SPEC.check(rules)
    }

    pub(crate) fn directory(&self) -> DirectorySettings {
        DirectorySettings {
            capacity: self.tenants.capacity,
            idle: self.tenants.idle.get(),
            fresh: self.tenants.fresh.get(),
            fresh_without_feed: self.tenants.fresh_without_feed.get(),
            refusal: self.tenants.refusal.get(),
            wait: self.tenants.wait.get(),
            held: self.public.deadline.get().mul_f64(HELD_SHARE),
            connections: ConnectionLimits {
                queue_wait: self.connections.queue_wait.get(),
                idle: self.connections.idle.get(),
                open: self.connections.open.get(),
            },
        }
    }
}
