//! What a server must be to become a cluster, and the platform's roles on it.
//!
//! Deliberately judged by one pure function over what one query saw. Invariants: every check that
//! fails has a field and words; the roles are ensured, so that an attempt that broke off is taken up
//! by the next one; after it nobody but our logins may enter the maintenance databases.

use std::fmt;

use adapters::secret_store::ClusterRole;
use contract::ClusterName;
use contract::secret::Secret;
use contract::tenant::{MARKER_SETTING, PLATFORM_ROLE};
use sqlx::{PgConnection, PgPool};
use uuid::Uuid;

use super::ServerWarning;
use super::beside::Beside;
use super::postgres::server::{self, Facts};
use super::scram::Verifier;

/// The oldest server that copies databases without checkpoints and keeps PUBLIC out of `public`.
const OLDEST_VERSION: i32 = 150_000;
/// The first one that marks a database whose drop was interrupted.
const MARKS_HALF_DROPPED: i32 = 150_004;
/// Roles know inheritance and admin rights per grant from here on.
const GRANT_OPTIONS_VERSION: i32 = 160_000;
/// With thousands of databases a shorter pause keeps a core busy with idle ones.
const SHORTEST_NAPTIME_SECONDS: i32 = 300;
/// What the comment on `tn_platform` starts with; the cluster's name and the installation follow.
const CLUSTER_MARK: &str = "tenantry:cluster:";

/// New passwords of the logins that the platform makes.
pub(super) struct Passwords {
    pub(super) platform: Secret,
    pub(super) schema: Secret,
}

impl Passwords {
    pub(super) fn random() -> Self {
        Self {
            platform: Secret::random(),
            schema: Secret::random(),
        }
    }
}

/// The registry's own database, which tenants' roles must not enter where it is on the same server.
#[derive(Debug)]
pub(crate) struct RegistryDatabase {
    pub(crate) name: String,
    /// The registry's login, which must get in.
    pub(super) login: String,
    pub(crate) server: i64,
}

/// Where the registry is; none where its server does not say which one it is.
pub(crate) async fn registry_database(
    registry: &PgPool,
) -> Result<Option<RegistryDatabase>, sqlx::Error> {
    let found = sqlx::query!(
        r#"select current_database() as "name!", session_user::text as "login!",
               system_identifier as "server!"
           from pg_control_system()"#
    )
    .fetch_one(registry)
    .await;
    match found {
        Ok(row) => Ok(Some(RegistryDatabase {
            name: row.name,
            login: row.login,
            server: row.server,
        })),
        Err(error) if kit::db::Fault::of(&error) == kit::db::Fault::RightsLost => Ok(None),
        Err(error) => Err(error),
    }
}

/// What a server and the administrator's login on it are.
#[derive(Debug)]
pub(super) struct Inspection {
    pub(super) version: i32,
    facts: Facts,
}

/// Looks at a server.
pub(super) async fn inspect(admin: &mut PgConnection) -> Result<Inspection, sqlx::Error> {
    let facts = server::facts(admin).await?;
    Ok(Inspection {
        version: facts.version,
        facts,
    })
}

/// A check that failed: the field of the request that it is about, and words.
pub(super) type Failure = (&'static str, String);

/// What an earlier addition has made of a server.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) cluster: ClusterName,
    /// Whose cluster it is; empty where that was not written down.
    pub(super) installation: String,
}

impl Mark {
    pub(super) fn new(cluster: &ClusterName, installation: Uuid) -> Self {
        Self {
            cluster: cluster.clone(),
            installation: installation.to_string(),
        }
    }

    /// Whether it does not say whose cluster the server is.
    pub(super) fn names_nobody(&self) -> bool {
        self.installation.is_empty()
    }

    fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix(CLUSTER_MARK)?;
        let (cluster, installation) = rest.split_once(':').unwrap_or((rest, ""));
        Some(Self {
            cluster: cluster.parse().ok()?,
            installation: installation.to_owned(),
        })
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{CLUSTER_MARK}{}:{}", self.cluster, self.installation)
    }
}

impl Inspection {
    /// The cluster that the server was made by an earlier addition, here or elsewhere.
    pub(super) fn mark(&self) -> Option<Mark> {
        Mark::parse(self.facts.platform_mark.as_deref()?)
    }

    /// The checks that fail.
    pub(super) fn failures(&self, budget: u32) -> Vec<Failure> {
        let facts = &self.facts;
        let free = facts.free_connections();
        let checks = [
            (
                facts.version >= OLDEST_VERSION,
                "/host",
                format!(
                    "the server is PostgreSQL {}; 15 or newer is needed",
                    facts.version / 10_000
                ),
            ),
            (
                !facts.is_standby,
                "/host",
                "the server is a standby; name the primary".to_owned(),
            ),
            (
                facts.is_superuser || (facts.can_make_databases && facts.can_make_roles),
                "/admin_user",
                "needs SUPERUSER, or CREATEDB and CREATEROLE".to_owned(),
            ),
            (
                facts.encoding == "UTF8",
                "/host",
                format!(
                    "the encoding of template0 is {}; UTF8 is needed",
                    facts.encoding
                ),
            ),
            (
                !facts.platform_is_superuser,
                "/host",
                "a role of the server that starts with tn_ is a superuser; the platform's own \
                 roles must not be"
                    .to_owned(),
            ),
            (
                budget <= free,
                "/connection_budget",
                format!("the server has {free} connections for ordinary logins (max_connections)"),
            ),
        ];
        checks
            .into_iter()
            .filter(|(kept, ..)| !kept)
            .map(|(_, field, words)| (field, words))
            .collect()
    }

    /// What works but should be otherwise, where these have connections beside the budget.
    pub(super) fn warnings(&self, budget: u32, beside: Beside) -> Vec<ServerWarning> {
        let facts = &self.facts;
        let own = beside.connections();
        let checks = [
            (
                facts.version >= MARKS_HALF_DROPPED,
                "server_version",
                "It is older than 15.4, which does not mark a database whose drop was interrupted \
                 (datconnlimit = -2): upgrade it."
                    .to_owned(),
            ),
            (
                facts.recovery_init_sync_method == "syncfs",
                "recovery_init_sync_method",
                "Set it to syncfs where the system is Linux: with a thousand databases a start \
                 after a crash takes minutes otherwise."
                    .to_owned(),
            ),
            (
                facts.naptime_seconds >= SHORTEST_NAPTIME_SECONDS,
                "autovacuum_naptime",
                format!(
                    "It is {} s: set 5min or more, or idle databases keep a core busy.",
                    facts.naptime_seconds
                ),
            ),
            (
                facts.connection_check_ms > 0,
                "client_connection_check_interval",
                "It is 0: set 1s or so, or a client that went away keeps its connection until its \
                 statement ends."
                    .to_owned(),
            ),
            (
                u64::from(budget) + own <= u64::from(facts.free_connections()),
                "max_connections",
                format!(
                    "The budget leaves fewer than {own} connections to the platform and to \
                     migrations, which the replicas that run may take at once."
                ),
            ),
            (
                facts.fsync,
                "fsync",
                "It is off: a crash loses data.".to_owned(),
            ),
        ];
        checks
            .into_iter()
            .filter(|(kept, ..)| !kept)
            .map(|(_, about, detail)| ServerWarning { about, detail })
            .collect()
    }
}

/// Makes the platform's roles, or gives those that are there new passwords, and closes the
/// maintenance databases and the registry's to everybody else.
pub(super) async fn ensure(
    admin: &mut PgConnection,
    inspection: &Inspection,
    mark: &Mark,
    passwords: &Passwords,
    registry: Option<&RegistryDatabase>,
) -> Result<(), sqlx::Error> {
    let grants = if inspection.version >= GRANT_OPTIONS_VERSION {
        server::MemberGrants::PerGrant
    } else {
        server::MemberGrants::ByCreateRole
    };
    for (role, password) in [
        (ClusterRole::Platform, &passwords.platform),
        (ClusterRole::Schema, &passwords.schema),
    ] {
        server::ensure_login(admin, role, &Verifier::of(password)).await?;
    }
    server::ensure_groups(admin, grants, &mark.to_string()).await?;
    let registry = registry.filter(|registry| registry.server == inspection.facts.server);
    server::close_to_public(
        admin,
        registry.map(|registry| (registry.name.as_str(), registry.login.as_str())),
    )
    .await
}

/// Whether tenants can be followed by logical replication while they move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Replication {
    Possible,
    Missing,
}

/// Lets `tn_platform` read replication slots where the administrator may give that and the server
/// writes what they need.
pub(super) async fn replication(admin: &mut PgConnection) -> Result<Replication, sqlx::Error> {
    if server::allow_replication(admin).await? {
        Ok(Replication::Possible)
    } else {
        Ok(Replication::Missing)
    }
}

/// Lets `tn_platform` mark databases with a setting where the administrator may give that.
pub(super) async fn marking(
    admin: &mut PgConnection,
) -> Result<Option<ServerWarning>, sqlx::Error> {
    let allowed = server::allow_marking(admin).await?;
    Ok((!allowed).then(|| ServerWarning {
        about: MARKER_SETTING,
        detail: format!(
            "Only a superuser may let the platform set it, without which new connections take a round \
             trip more: grant set on parameter {MARKER_SETTING} to {PLATFORM_ROLE}"
        ),
    }))
}

/// What is still open to everybody, which tenants' roles could enter.
pub(super) async fn look_back(
    admin: &mut PgConnection,
) -> Result<Option<ServerWarning>, sqlx::Error> {
    let open = server::open_to_public(admin).await?;
    Ok((!open.is_empty()).then(|| ServerWarning {
        about: "CONNECT",
        detail: format!(
            "Everybody, tenants' roles too, may connect to {}: revoke connect on them from public.",
            open.join(", ")
        ),
    }))
}

#[cfg(test)]
mod tests;
