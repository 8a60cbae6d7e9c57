//! The route of a tenant: what a service needs to reach and to serve it.
//!
//! Deliberately carries no password: only references that a secret store opens. Invariant:
//! `generation` grows with every change of anything in a route.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::ids::{ClusterName, SchemaOwner, Slug, TenantId};
use crate::secret::SecretRef;
use crate::tenant_status::TenantStatus;

/// The schema version of each owner in one database.
pub type SchemaVersions = BTreeMap<SchemaOwner, i32>;

/// What a service needs to reach a tenant and to hold it to its limits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(example = json!({
    "tenant": "t_acme", "slug": "acme", "company": "Acme Corp", "status": "active",
    "generation": 3, "region": "eu-central-1", "time_zone": "Europe/Berlin",
    "tier": {"name": "standard", "weight": 1, "limits": {"users": 50}, "features": ["entries"]},
    "database": {
        "cluster": {
            "name": "main", "host": "10.0.0.7", "port": 5432, "tls": "verify-full",
            "schema_credential": "sealed:v1:k1:...",
        },
        "name": "t_acme", "copy": 1,
    },
    "credentials": ["sealed:v1:k1:..."], "schema_versions": {"auth": 1, "entries": 2},
}))]
pub struct TenantRoute {
    /// The tenant.
    pub tenant: TenantId,
    /// What people type for it; may change.
    pub slug: Slug,
    /// The customer's name.
    pub company: String,
    /// Whether it is served.
    pub status: TenantStatus,
    /// Grows with every change; an older route never replaces a newer one.
    pub generation: u64,
    /// Where its data must stay.
    pub region: String,
    /// IANA time zone name.
    pub time_zone: String,
    /// Its tier with the tenant's own overrides applied.
    pub tier: Arc<TierGrant>,
    /// Its database.
    pub database: DatabaseRef,
    /// Passwords of its role, newest first; more than one while a rotation is under way.
    pub credentials: Vec<SecretRef>,
    /// Schema versions as last reported.
    pub schema_versions: SchemaVersions,
    /// How a suspended tenant is held back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspension: Option<Suspension>,
    /// Its database is about to change: requests wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
    /// Whether its schemas may be brought up to date on demand.
    #[serde(default)]
    pub rollout: RolloutGate,
}

/// How a suspended tenant is held back, and until when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Suspension {
    /// What is still allowed.
    pub wall: SuspensionWall,
    /// Why, in an operator's words, for the tenant's people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it ends by itself.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "time::serde::rfc3339::option"
    )]
    pub until: Option<OffsetDateTime>,
}

/// What a suspended tenant may still do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SuspensionWall {
    /// Its people sign in and read.
    ReadOnly,
    /// Nothing.
    Blocked,
}

impl SuspensionWall {
    /// The word for it in the registry and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ReadOnly => "read_only",
            Self::Blocked => "blocked",
        }
    }
}

impl std::str::FromStr for SuspensionWall {
    type Err = UnknownWall;

    fn from_str(text: &str) -> Result<Self, UnknownWall> {
        [Self::ReadOnly, Self::Blocked]
            .into_iter()
            .find(|wall| wall.as_str() == text)
            .ok_or(UnknownWall)
    }
}

/// A word that names no wall.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a wall is one of read_only, blocked")]
pub struct UnknownWall;

/// Requests of a tenant wait while its database is moved or replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Hold {
    /// Past it nobody waits any more; the platform is asked again.
    #[serde(with = "time::serde::rfc3339")]
    pub until: OffsetDateTime,
}

/// Whether a roll-out lets schemas be brought up to date on demand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RolloutGate {
    /// They may.
    #[default]
    Open,
    /// A roll-out stopped because migrations fail: nobody tries them.
    Halted,
}

/// What a tier grants: limits and features are data, not code.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct TierGrant {
    /// The tier's name.
    pub name: String,
    /// Share of a contended resource relative to other tiers; at least 1.
    pub weight: u32,
    /// Limit by name; `null` means unlimited, one that is not named is not granted.
    pub limits: BTreeMap<String, Option<i64>>,
    /// Names of what is switched on.
    pub features: BTreeSet<String>,
}

/// A limit as it is granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// At most this many.
    AtMost(i64),
    /// No limit.
    Unlimited,
}

impl Limit {
    /// Whether not even one is granted.
    pub fn is_none(self) -> bool {
        matches!(self, Self::AtMost(..=0))
    }
}

impl TierGrant {
    /// The limit of this name; a limit that the tier does not name is not granted at all (0).
    pub fn limit(&self, name: &str) -> Limit {
        match self.limits.get(name) {
            Some(Some(number)) => Limit::AtMost(*number),
            Some(None) => Limit::Unlimited,
            None => Limit::AtMost(0),
        }
    }
}

/// A database of ours on a cluster: a tenant's, a ready copy or a template.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DatabaseRef {
    /// The server.
    pub cluster: ClusterEndpoint,
    /// The database's name: a tenant id, or a derived name with a `:`.
    pub name: String,
    /// Counts the databases that this tenant has had (moves, restores).
    pub copy: u32,
}

impl DatabaseRef {
    /// The marker that the database must carry: as its [setting](MARKER_SETTING), which a new session has
    /// at once, or as its comment (`COMMENT ON DATABASE`).
    ///
    /// It is neither copied with a template nor part of a single-database dump, so a database that
    /// carries it is the one that the platform meant.
    pub fn marker(&self) -> String {
        marker(&self.name, self.copy)
    }
}

/// The [marker](DatabaseRef::marker) of the database of this name that is this copy.
pub fn marker(name: &str, copy: u32) -> String {
    format!("tenantry:{name}:{copy}")
}

/// How a cluster is reached.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ClusterEndpoint {
    /// The cluster.
    pub name: ClusterName,
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// How the connection is protected.
    pub tls: TlsMode,
    /// The password of `tn_schema`, the migration runner's login, on this cluster.
    pub schema_credential: SecretRef,
}

/// How a connection to a cluster is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TlsMode {
    /// Plain TCP: loopback and trusted networks only.
    Disable,
    /// Encrypted, any certificate.
    Require,
    /// Encrypted, certificate and host name verified against the usual public authorities, and those in the
    /// file that `PGSSLROOTCERT` names in the environment of both services.
    VerifyFull,
}

impl TlsMode {
    /// The word for it in the registry and in settings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Disable => "disable",
            Self::Require => "require",
            Self::VerifyFull => "verify-full",
        }
    }

    /// The file of trusted certificates for a program of PostgreSQL: what `PGSSLROOTCERT` names, or the
    /// system's, which libpq before version 16 does not look for by itself; none where they do not matter, or
    /// where none is found.
    pub fn roots(self) -> Option<OsString> {
        if self != Self::VerifyFull {
            return None;
        }
        let named = ["PGSSLROOTCERT", "SSL_CERT_FILE"].into_iter();
        let mut named = named.filter_map(std::env::var_os);
        named.find(|file| !file.is_empty()).or_else(|| {
            let found = ROOTS.iter().find(|path| Path::new(path).is_file());
            found.map(Into::into)
        })
    }
}

/// Where systems keep them.
const ROOTS: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

impl std::str::FromStr for TlsMode {
    type Err = UnknownTlsMode;

    fn from_str(text: &str) -> Result<Self, UnknownTlsMode> {
        [Self::Disable, Self::Require, Self::VerifyFull]
            .into_iter()
            .find(|mode| mode.as_str() == text)
            .ok_or(UnknownTlsMode)
    }
}

/// A word that names no TLS mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a TLS mode is one of disable, require, verify-full")]
pub struct UnknownTlsMode;

/// The setting of a database that says the same as its comment: [`DatabaseRef::marker`]. Where the platform
/// was not given the right to set it, there is none.
pub const MARKER_SETTING: &str = "tenantry.database";
/// The login that runs migrations and owns every tenant schema, one per cluster.
pub const SCHEMA_ROLE: &str = "tn_schema";
/// The group role with data rights; tenant roles are members.
pub const DATA_ROLE: &str = "tn_data";
/// The group role with read rights.
pub const READ_ROLE: &str = "tn_read";
/// The group role with the rights to sign in and out where data may only be read.
pub const SIGN_IN_ROLE: &str = "tn_sign_in";
/// The login of operators' questions to the fleet, which reads alone; one per cluster.
pub const QUERY_ROLE: &str = "tn_query";
/// The role that makes and owns the databases, one per cluster.
pub const PLATFORM_ROLE: &str = "tn_platform";
