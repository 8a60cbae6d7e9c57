//! A further cluster of a world, on a PostgreSQL server of its own.
//!
//! Deliberately made when a test asks for it: a server takes a second. Invariant: it can take tenants
//! when a test has it.

use std::net::SocketAddr;

use crate::inside::REGION;
use crate::postgres::Postgres;
use crate::proxy::FaultProxy;
use crate::world::World;

/// A further cluster; its server ends with the value.
#[derive(Debug)]
pub struct Cluster {
    name: String,
    postgres: Postgres,
    link: Option<FaultProxy>,
}

impl Cluster {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The link to its server, of one made with [`World::cluster_behind_proxy`].
    pub fn link(&self) -> &FaultProxy {
        self.link.as_ref().expect("a proxy stands before it")
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
        let postgres = Postgres::further(inner.options.max_connections).await;
        let superuser = postgres.superuser();
        let address = SocketAddr::from((superuser.host, superuser.port));
        inner.register(name, region, address, superuser).await;
        inner.stocked(name).await;
        Cluster {
            name: name.to_owned(),
            postgres,
            link: None,
        }
    }

    /// A further cluster in the region of the first one, which the services reach over a link that can
    /// be broken.
    pub async fn cluster_behind_proxy(&self, name: &str) -> Cluster {
        let inner = self.inside();
        let postgres = Postgres::further(inner.options.max_connections).await;
        let superuser = postgres.superuser();
        let link = inner
            .link_to(SocketAddr::from((superuser.host, superuser.port)))
            .await;
        inner
            .register(name, REGION, link.address(), superuser)
            .await;
        inner.stocked(name).await;
        Cluster {
            name: name.to_owned(),
            postgres,
            link: Some(link),
        }
    }
}
