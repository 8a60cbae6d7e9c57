//! What is expected on a cluster: for each set of versions, what a database that was migrated to exactly
//! these has.
//!
//! Deliberately one database after the other, under one name, on the server that the tenants are on.
//! Invariants: a set's database is made at most once in a look at a cluster; what has other versions
//! than were asked for says nothing about what is expected.

use std::collections::BTreeMap;

use contract::operator::rollout::Incomparable;
use contract::{SchemaOwner, SchemaVersions, TenantId};
use sqlx::Connection as _;

use super::diff::Catalog;
use super::store;
use crate::clusters::connections::{ClusterRole, Server};
use crate::clusters::postgres::Name;
use crate::clusters::{services, spare};
use crate::operations::Head;
use crate::platform::Platform;
use crate::replicas::{self, LiveService};
use crate::stop::Stop;

/// Sets of versions on a cluster that a database is made for.
const MOST_SETS: usize = 16;

/// The database that shows what is expected.
pub(crate) fn name(head: &Head) -> Name {
    Name::Scratch(head.id.uuid())
}

/// What a database of a set of versions has.
pub(super) struct Expected {
    /// Whose schemas are compared.
    pub(super) owners: Vec<String>,
    pub(super) catalog: Catalog,
    /// Whose histories tell whether a tenant has these versions: those of owners that the set is
    /// without, too.
    pub(super) histories: Vec<SchemaOwner>,
}

/// Why there is nothing that tenants of a set of versions are held against.
#[derive(Debug)]
pub(super) enum Without {
    /// Nothing says what is expected.
    Incomparable(Incomparable),
    /// It could not be made this time.
    Stop(Stop),
}

impl<E: Into<Stop>> From<E> for Without {
    fn from(stop: E) -> Self {
        Self::Stop(stop.into())
    }
}

/// What is expected on a cluster, as far as somebody asked.
pub(super) struct References<'a> {
    platform: &'a Platform,
    head: &'a Head,
    server: &'a Server,
    services: Vec<LiveService>,
    newest: SchemaVersions,
    /// By versions; nothing where the services did not make these.
    made: BTreeMap<SchemaVersions, Option<Expected>>,
}

impl<'a> References<'a> {
    /// None yet.
    pub(super) async fn new(
        platform: &'a Platform,
        head: &'a Head,
        server: &'a Server,
    ) -> Result<Self, Stop> {
        let services = services::living(platform).await?;
        Ok(Self {
            platform,
            head,
            server,
            newest: replicas::newest_versions(&services),
            services,
            made: BTreeMap::new(),
        })
    }

    /// What is expected of these versions; made, in the name of a tenant that has them, where nobody
    /// asked before.
    pub(super) async fn of(
        &mut self,
        versions: &SchemaVersions,
        tenant: &TenantId,
    ) -> Result<&Expected, Without> {
        if !self.made.contains_key(versions) {
            if let Some(reason) = obstacle(versions, &self.newest, self.made.len()) {
                return Err(Without::Incomparable(reason));
            }
            let expected = self.make(versions, tenant).await?;
            self.made.insert(versions.clone(), expected);
        }
        let made = self.made.get(versions).and_then(Option::as_ref);
        made.ok_or(Without::Incomparable(Incomparable::NotMade))
    }

    /// Makes a database with the schemas of these versions, looks at it and throws it away.
    async fn make(
        &self,
        versions: &SchemaVersions,
        tenant: &TenantId,
    ) -> Result<Option<Expected>, Stop> {
        let Self {
            platform, server, ..
        } = *self;
        let name = name(self.head);
        spare::make_empty(platform, server, &name, (tenant, self.head.id)).await?;
        let database = server.database(&name, spare::copy_of(&name));
        let made = services::make_at(platform, &self.services, &database, versions).await?;
        let expected = if made == *versions {
            let owners: Vec<String> = versions.keys().map(ToString::to_string).collect();
            let mut connection = server
                .connect_as(platform, ClusterRole::Schema, &database)
                .await?;
            let catalog = store::catalog(&mut connection, &owners).await?;
            connection.close().await?;
            Some(Expected {
                owners,
                catalog,
                histories: self.newest.keys().cloned().collect(),
            })
        } else {
            tracing::warn!(asked = ?versions, ?made, "schemas of other versions than asked were made");
            None
        };
        spare::drop_now(platform, server, &name).await?;
        Ok(expected)
    }
}

/// What stands in the way of a database of these versions, where `made` are there already.
fn obstacle(
    versions: &SchemaVersions,
    newest: &SchemaVersions,
    made: usize,
) -> Option<Incomparable> {
    if versions.keys().any(|owner| !newest.contains_key(owner)) {
        return Some(Incomparable::Unowned);
    }
    let is_ahead = |(owner, version)| newest.get(owner).is_some_and(|newest| version > newest);
    if versions.iter().any(is_ahead) {
        return Some(Incomparable::Ahead);
    }
    (made >= MOST_SETS).then_some(Incomparable::TooManyVersions)
}

#[cfg(test)]
mod tests;
