//! A further cluster of a world, on a PostgreSQL server of its own.
//!
//! Deliberately made when a test asks for it: a server takes a second. Invariant: it can take tenants
//! when a test has it.

use std::net::SocketAddr;

use crate::inside::REGION;
use crate::postgres::Postgres;
use crate::world::World;

/// A further cluster; its server ends with the value.
#[derive(Debug)]
pub struct Cluster {
    name: String,
    postgres: Postgres,
}

impl Cluster {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its server.
    pub fn postgres(&self) -> &Postgres {
        &self.postgres
    }
}

impl World {
    /// The cluster named `second` in the region of the first one, made when it is asked for first; it
    /// ends with the world.
    pub async fn second_cluster(&self) -> &Cluster {
        let second = &self.inside().second;
        second
            .get_or_init(|| self.cluster_in("second", REGION))
            .await
    }

    /// A further cluster in a region.
    pub async fn cluster_in(&self, name: &str, region: &str) -> Cluster {
        let inner = self.inside();
        let postgres = Postgres::start(inner.options.max_connections).await;
        let superuser = postgres.superuser();
        let address = SocketAddr::from((superuser.host, superuser.port));
        inner.register(name, region, address, superuser).await;
        inner.stocked(name).await;
        Cluster {
            name: name.to_owned(),
            postgres,
        }
    }
}
