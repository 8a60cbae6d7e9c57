//! Who claims what on a cluster: rows of tenants, copies, kept databases, operations, logins.
//!
//! Deliberately one pure rule over what was read in one go. Invariant: what could be somebody's only
//! data is claimless only for people to look at, never for a sweep to remove.

use std::collections::HashSet;

use contract::{ClusterName, TenantId};
use uuid::Uuid;

use super::store;
use crate::clusters::postgres::Name;
use crate::clusters::store::derived;
use crate::platform::Platform;
use crate::psql;
use crate::stop::Stop;

/// What starts the name of a replication slot of ours; its operation's id follows.
const SLOT_PREFIX: &str = "tn_";

/// What the registry says of a cluster's names.
#[derive(Debug, Default)]
pub(super) struct Claims {
    /// Tenants whose database is there under their own name.
    pub(super) tenants: HashSet<TenantId>,
    /// Tenants of whom nothing but the tombstone should be left.
    pub(super) purged: HashSet<TenantId>,
    /// Tenants that an operation works on, wherever they are.
    pub(super) busy: HashSet<TenantId>,
    /// Operations that are not over.
    pub(super) operations: HashSet<Uuid>,
    /// Copies, templates, deleted tenants' and kept databases.
    pub(super) names: HashSet<Name>,
    /// Logins of operators that are not over.
    pub(super) logins: HashSet<Uuid>,
    /// Databases with names of their own that become tenants.
    pub(super) taken_over: HashSet<String>,
}

/// Why nobody claims something, and who may remove it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Claimless {
    pub(super) detail: &'static str,
    pub(super) by: By,
}

/// Who removes a find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    Sweep,
    /// Somebody who has looked.
    People,
}

impl Claims {
    /// Why nobody claims a database or role of this name; none where somebody does.
    pub(super) fn claimless(&self, name: &Name) -> Option<Claimless> {
        let (claimed, detail, by) = match name {
            Name::Tenant(tenant) => (
                self.tenants.contains(tenant) || self.busy.contains(tenant),
                "the registry has no tenant of this name here: it may be the only copy of its data",
                By::People,
            ),
            Name::Deleted(tenant, _) if self.purged.contains(tenant) => (
                self.busy.contains(tenant),
                "the tenant is purged",
                By::Sweep,
            ),
            Name::Deleted(tenant, _) => (
                self.names.contains(name) || self.busy.contains(tenant),
                "the registry does not keep it for a deleted tenant: it may be the only copy of its \
                 data",
                By::People,
            ),
            Name::Side(tenant, _) | Name::Old(tenant, _) => (
                self.names.contains(name) || self.busy.contains(tenant),
                "no operation and no tenant keeps it",
                By::Sweep,
            ),
            Name::Scratch(operation) => (
                self.names.contains(name) || self.operations.contains(operation),
                "its operation is over",
                By::Sweep,
            ),
            Name::Psql(login) => (
                self.logins.contains(login),
                "the login is over, or was never recorded",
                By::Sweep,
            ),
            Name::Stock(_) | Name::Template(_) => (
                self.names.contains(name),
                "the registry has no copy of this number",
                By::Sweep,
            ),
        };
        (!claimed).then_some(Claimless { detail, by })
    }

    /// The same of a replication slot; slots of others are not ours to see.
    pub(super) fn claimless_slot(&self, name: &str) -> Option<Claimless> {
        let rest = name.strip_prefix(SLOT_PREFIX)?;
        match rest.parse::<Uuid>() {
            Ok(operation) if self.operations.contains(&operation) => None,
            Ok(_) => Some(Claimless {
                detail: "its operation is over, and the server keeps back what it would have read",
                by: By::Sweep,
            }),
            Err(_) => Some(Claimless {
                detail: "it is named like ours and names no operation",
                by: By::People,
            }),
        }
    }
}

/// Reads who claims what on a cluster.
pub(super) async fn of(platform: &Platform, cluster: &ClusterName) -> Result<Claims, Stop> {
    let mut registry = platform.registry.acquire().await?;
    let mut claims = store::claims(&mut registry, cluster).await?;
    let copies = derived::derived_names(&mut registry, cluster).await?;
    claims.names.extend(copies);
    let logins = psql::store::on_cluster(&mut registry, cluster).await?;
    claims.logins.extend(logins);
    Ok(claims)
}
