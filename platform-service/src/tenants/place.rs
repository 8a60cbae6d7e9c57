//! Where a tenant's database is: its row, its server, its address.
//!
//! Deliberately of one moment: whoever works for long looks again. Invariant: the address carries the
//! copy of the row, so a database that took its place is refused.

use std::sync::Arc;

use contract::{DatabaseRef, TenantId};
use kit::error::Problem;

use super::{TenantRow, store};
use crate::clusters::connections::Server;
use crate::clusters::postgres::{self, Look, Name};
use crate::platform::Platform;
use crate::stop::Stop;

/// A tenant that has a place.
#[derive(Debug)]
pub(crate) struct Placed {
    pub(crate) row: TenantRow,
    pub(crate) server: Arc<Server>,
    /// Under the tenant's own name.
    pub(crate) database: DatabaseRef,
}

impl Placed {
    /// The place of a tenant.
    ///
    /// # Errors
    /// It has none, or its cluster cannot be looked up.
    pub(crate) async fn find(platform: &Platform, tenant: &TenantId) -> Result<Self, Stop> {
        let row = {
            let mut registry = platform.registry.acquire().await?;
            store::find(&mut registry, tenant).await?
        };
        let none = || Stop::Fail(Problem::internal("the tenant is not placed"));
        let row = row.ok_or_else(none)?;
        let server = platform
            .server(row.cluster.as_ref().ok_or_else(none)?)
            .await?;
        let database = server.database(&Name::Tenant(tenant.clone()), row.copy);
        Ok(Self {
            row,
            server,
            database,
        })
    }

    /// What its server has under its name.
    pub(crate) async fn look(&self) -> Result<Look, Stop> {
        let name = Name::Tenant(self.row.id.clone());
        Ok(postgres::look(&mut *self.server.acquire().await?, &name).await?)
    }
}
