//! What a server and a login on it must be for a cluster, and the platform's roles there.
//!
//! Deliberately without a rule on the server's version, settings or room: see
//! [`requirements`](super::requirements). Invariants: every check that
//! fails has a field and words; the roles are ensured, so that an attempt that broke off is taken up
//! by the next one; after it nobody but our logins may enter the maintenance databases.

use std::fmt;

use adapters::secret_store::ClusterRole;
use contract::ClusterName;
use contract::operator::upkeep::Verdict;
use contract::secret::Secret;
use contract::tenant::{MARKER_SETTING, PLATFORM_ROLE};
use sqlx::PgConnection;
use uuid::Uuid;

use super::ServerWarning;
use super::postgres::server::{self, Facts};
use super::requirements::{Demand, Failure, Rulings, ServerSettings};
use super::scram::Verifier;
use super::store::registry_database::RegistryDatabase;

/// Roles know inheritance and admin rights per grant from here on.
const GRANT_OPTIONS_VERSION: i32 = 160_000;
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

/// What a server and the administrator's login on it are.
#[derive(Debug)]
pub(super) struct Inspection {
    pub(super) settings: ServerSettings,
    facts: Facts,
}

/// Looks at a server.
pub(super) async fn inspect(admin: &mut PgConnection) -> Result<Inspection, sqlx::Error> {
    Ok(Inspection {
        settings: server::settings(&mut *admin).await?,
        facts: server::facts(admin).await?,
    })
}

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
    pub(super) fn failures(&self, demand: Demand<'_>) -> Vec<Failure> {
        let facts = &self.facts;
        let rights = [
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
        ];
        let broken = rights.into_iter().filter(|(kept, ..)| !kept);
        let rulings = Rulings::of(&self.settings, demand).into_iter();
        rulings
            .filter_map(|ruling| ruling.bars)
            .chain(broken.map(|(_, field, words)| (field, words)))
            .collect()
    }

    /// What works but should be otherwise.
    pub(super) fn warnings(&self, demand: Demand<'_>) -> Vec<ServerWarning> {
        let rulings = Rulings::of(&self.settings, demand).into_iter();
        rulings
            .filter(|ruling| ruling.verdict != Verdict::Ok)
            .map(|ruling| ServerWarning {
                about: ruling.setting,
                detail: format!(
                    "It is {}. {} To mend it: {}",
                    ruling.found, ruling.why, ruling.mend
                ),
            })
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
    let grants = if inspection.settings.version >= GRANT_OPTIONS_VERSION {
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
