//! Where things of ours can be, and what of it nobody claims.
//!
//! Deliberately looks at a place before it reads who claims what: what is made after the look is not
//! in it, and what was made before has had its row for longer. Invariant: nothing is changed.

use std::collections::HashSet;
use std::fmt;

use adapters::object_store::ObjectPath;
use adapters::secret_store::{SecretError, SecretSubject, StoredSecret};
use contract::operator::upkeep::FindingKind;
use contract::secret::SecretRef;
use contract::{ClusterName, TenantId};
use kit::error::Problem;

use super::claims::{self, By, Claimless, Claims};
use super::store::{self, Key};
use super::{Found, Removal};
use crate::backups::archive;
use crate::clusters::postgres::{Name, inventory};
use crate::platform::Platform;
use crate::stop::Stop;

/// The folder of the objects of all tenants.
const TENANTS: &str = "tenants";

/// A server or a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Cluster(ClusterName),
    /// The store of tenants' secrets.
    Secrets,
    /// The store of backups and archives.
    Objects,
}

impl Place {
    /// What can be found there.
    pub(super) const fn kinds(&self) -> &'static [FindingKind] {
        match self {
            Self::Cluster(_) => &[FindingKind::Database, FindingKind::Role, FindingKind::Slot],
            Self::Secrets => &[FindingKind::Secret],
            Self::Objects => &[FindingKind::Object],
        }
    }

    /// Where a find is; none where its id names no place of its kind.
    pub(super) fn of(key: &Key) -> Option<Self> {
        let place = match key.kind {
            FindingKind::Database | FindingKind::Role | FindingKind::Slot => {
                Self::Cluster(key.place.parse().ok()?)
            }
            FindingKind::Secret => Self::Secrets,
            FindingKind::Object => Self::Objects,
        };
        (place.as_str() == key.place).then_some(place)
    }

    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Cluster(name) => name.as_str(),
            Self::Secrets => "secrets",
            Self::Objects => "objects",
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Every place.
pub(super) async fn places(platform: &Platform) -> Result<Vec<Place>, sqlx::Error> {
    let mut registry = platform.registry.acquire().await?;
    let clusters = store::clusters(&mut registry).await?;
    Ok(clusters
        .into_iter()
        .map(Place::Cluster)
        .chain([Place::Secrets, Place::Objects])
        .collect())
}

/// What nobody claims at a place; none where it is a cluster that was removed.
pub(super) async fn at(platform: &Platform, place: &Place) -> Result<Option<Vec<Found>>, Stop> {
    match place {
        Place::Cluster(cluster) => on_cluster(platform, cluster).await,
        Place::Secrets => secrets(platform).await.map(Some),
        Place::Objects => objects(platform).await.map(Some),
    }
}

async fn on_cluster(
    platform: &Platform,
    cluster: &ClusterName,
) -> Result<Option<Vec<Found>>, Stop> {
    let Some(server) = platform.find_server(cluster).await? else {
        return Ok(None);
    };
    let (databases, roles, slots) = {
        let mut connection = server.acquire().await?;
        (
            inventory::databases(&mut connection).await?,
            inventory::roles(&mut connection).await?,
            inventory::slots(&mut connection).await?,
        )
    };
    let claims = claims::of(platform, cluster).await?;
    let databases: Vec<String> = databases.into_iter().map(|one| one.name).collect();
    let mut found = unclaimed(cluster, &claims, &databases, &roles);
    found.extend(
        slots
            .into_iter()
            .filter(|slot| !slot.active)
            .filter_map(|slot| {
                let claimless = claims.claimless_slot(&slot.name)?;
                let key = key(FindingKind::Slot, cluster, &slot.name);
                let removal = Removal::Slot(cluster.clone());
                Some(find(key, claimless, removal))
            }),
    );
    Ok(Some(found))
}

fn key(kind: FindingKind, cluster: &ClusterName, name: &str) -> Key {
    Key {
        kind,
        place: cluster.to_string(),
        name: name.to_owned(),
    }
}

fn find(key: Key, claimless: Claimless, removal: Removal) -> Found {
    Found {
        key,
        detail: claimless.detail,
        by: claimless.by,
        removal,
    }
}

/// The databases and roles that nobody claims. A role goes with the database of its name, and is a find
/// of its own only where that is gone.
pub(super) fn unclaimed(
    cluster: &ClusterName,
    claims: &Claims,
    databases: &[String],
    roles: &[String],
) -> Vec<Found> {
    let there: HashSet<&String> = databases.iter().collect();
    let lonely = roles.iter().filter(|role| !there.contains(role));
    let databases = databases.iter().map(|name| (FindingKind::Database, name));
    let roles = lonely.map(|name| (FindingKind::Role, name));
    databases
        .chain(roles)
        .filter_map(|(kind, text)| {
            let key = key(kind, cluster, text);
            let Ok(name) = text.parse::<Name>() else {
                let detail = "it is tn_platform's and has a name that the platform does not give";
                let is_ours = kind == FindingKind::Database && !claims.taken_over.contains(text);
                return is_ours.then_some(Found {
                    key,
                    detail,
                    by: By::People,
                    removal: Removal::Foreign(cluster.clone()),
                });
            };
            let claimless = claims.claimless(&name)?;
            let removal = match name {
                Name::Psql(_) => Removal::Login(cluster.clone(), name),
                _ => Removal::Named(cluster.clone(), name),
            };
            Some(find(key, claimless, removal))
        })
        .collect()
}

/// Whether nobody claims a database or role that was found.
pub(super) fn is_unclaimed(claims: &Claims, cluster: &ClusterName, key: &Key) -> bool {
    let name = std::slice::from_ref(&key.name);
    let found = match key.kind {
        FindingKind::Role => unclaimed(cluster, claims, &[], name),
        _ => unclaimed(cluster, claims, name, &[]),
    };
    found.iter().any(|one| one.key == *key)
}

async fn secrets(platform: &Platform) -> Result<Vec<Found>, Stop> {
    let stored = platform.secrets.list().await.map_err(unavailable)?;
    if stored.is_empty() {
        return Ok(Vec::new());
    }
    let mut registry = platform.registry.acquire().await?;
    let known = store::credentials(&mut registry).await?;
    let busy = store::busy(&mut registry).await?;
    Ok(unreferenced(
        stored,
        &known,
        |subject| matches!(subject, SecretSubject::Tenant(tenant) if busy.contains(tenant)),
    ))
}

fn unavailable(error: SecretError) -> Stop {
    Stop::Retry(Problem::internal(error))
}

/// The secrets that no row refers to. Those of a tenant that an operation works on may be in its plan.
pub(super) fn unreferenced(
    stored: Vec<StoredSecret>,
    known: &HashSet<SecretRef>,
    is_busy: impl Fn(&SecretSubject) -> bool,
) -> Vec<Found> {
    stored
        .into_iter()
        .filter(|secret| !known.contains(&secret.reference) && !is_busy(&secret.subject))
        .map(|secret| Found {
            key: Key {
                kind: FindingKind::Secret,
                place: Place::Secrets.to_string(),
                name: format!("{}/{}", secret.subject, secret.version),
            },
            detail: "no row of the registry refers to it",
            by: By::Sweep,
            removal: Removal::Secret(Box::new(secret)),
        })
        .collect()
}

async fn objects(platform: &Platform) -> Result<Vec<Found>, Stop> {
    // Where none are kept there is nothing to find.
    let Ok(kept) = archive::objects(&platform.settings) else {
        return Ok(Vec::new());
    };
    let folder = archive::object_path(TENANTS)?;
    let there = kept.list(&folder).await.map_err(archive::object_stop)?;
    if there.is_empty() {
        return Ok(Vec::new());
    }
    let mut registry = platform.registry.acquire().await?;
    let known = ObjectClaims {
        recorded: store::objects(&mut registry).await?,
        tenants: store::tenants(&mut registry).await?,
        busy: store::busy(&mut registry).await?,
    };
    let paths = there.into_iter().map(|object| object.path);
    Ok(unrecorded(paths, &known))
}

/// What the registry says of objects.
#[derive(Debug, Default)]
pub(super) struct ObjectClaims {
    /// Paths that have a row.
    pub(super) recorded: HashSet<String>,
    /// Every tenant that there is or was.
    pub(super) tenants: HashSet<TenantId>,
    /// Tenants that an operation works on.
    pub(super) busy: HashSet<TenantId>,
}

/// The objects of tenants that no row records. Those of a tenant that nobody knows may be all that is
/// left of it.
pub(super) fn unrecorded(
    paths: impl Iterator<Item = ObjectPath>,
    known: &ObjectClaims,
) -> Vec<Found> {
    paths
        .filter(|path| !known.recorded.contains(path.as_str()))
        .filter_map(|path| {
            let tenant = path.as_str().split('/').nth(1)?.parse::<TenantId>().ok();
            if tenant.as_ref().is_some_and(|id| known.busy.contains(id)) {
                return None;
            }
            let is_known = tenant.is_some_and(|id| known.tenants.contains(&id));
            let detail = if is_known {
                "the registry has no backup and no export of this name"
            } else {
                "the registry has no such tenant: it may be all that is left of its data"
            };
            Some(Found {
                key: Key {
                    kind: FindingKind::Object,
                    place: Place::Objects.to_string(),
                    name: path.as_str().to_owned(),
                },
                detail,
                by: if is_known { By::Sweep } else { By::People },
                removal: Removal::Object(path),
            })
        })
        .collect()
}
