//! Swapping a tenant's database for the one that was loaded, and back.
//!
//! Deliberately by names alone: both databases stay as they are. Invariant: nobody is connected while names change,
//! and whoever took the operation over changes none after another one's look.

use contract::TenantId;

use super::{Replaced, RestorePlan};
use crate::clusters::connections::Server;
use crate::clusters::postgres::wall::{Wall, Who};
use crate::clusters::postgres::{self, Fence, Marked, Name};
use crate::clusters::spare;
use crate::clusters::store::kept;
use crate::operations::{Head, Stop, lease};
use crate::platform::Platform;
use crate::tenants;
use crate::tenants::place::Placed;

impl RestorePlan {
    pub(super) async fn swap(&self, platform: &Platform, head: &Head) -> Result<(), Stop> {
        let placed = Placed::find(platform, head.tenant()?).await?;
        let server = &placed.server;
        if self.is_swapped(server, &placed.row.id).await? {
            return Ok(());
        }
        let tenant = &placed.row.id;
        let (coming, away) = (self.coming(tenant), self.away(tenant));
        let wall = tenants::wall::wanted(&placed.row);
        match self.replaced {
            Replaced::Kept => {
                // Known before the database has the name.
                let place = (server.name(), &away);
                let mut registry = platform.registry.acquire().await?;
                kept::expect(&mut registry, place, tenant, head.id).await?;
                drop(registry);
                let fence = lease::fence(platform, head, server).await?;
                let away = (&away, self.to_copy);
                self.rename((server, fence), tenant, &coming, away, wall)
                    .await
            }
            Replaced::Missing => {
                let name = Name::Tenant(tenant.clone());
                let marker = server.database(&name, self.to_copy).marker();
                let fence = lease::fence(platform, head, server).await?;
                let mut connection = server.acquire().await?;
                let named = (&name, marker.as_str());
                Ok(postgres::moving::switch(&mut connection, fence, &coming, named, wall).await?)
            }
        }
    }

    /// Gives the tenant's name to `coming`, which is its copy `copy` then; what had it becomes `away`.
    async fn rename(
        &self,
        (server, fence): (&Server, Fence),
        tenant: &TenantId,
        coming: &Name,
        (away, copy): (&Name, u32),
        wall: Wall,
    ) -> Result<(), Stop> {
        let name = Name::Tenant(tenant.clone());
        let marker = server.database(&name, copy).marker();
        let away_marker = server.database(away, spare::copy_of(away)).marker();
        let tenant = Marked {
            name: &name,
            marker: &marker,
        };
        let away = Marked {
            name: away,
            marker: &away_marker,
        };
        let mut connection = server.acquire().await?;
        Ok(postgres::swap(&mut connection, fence, tenant, coming, away, wall).await?)
    }

    async fn is_swapped(&self, server: &Server, tenant: &TenantId) -> Result<bool, Stop> {
        let name = Name::Tenant(tenant.clone());
        let marker = server.database(&name, self.to_copy).marker();
        let found = postgres::look(&mut *server.acquire().await?, &name).await?;
        Ok(found.database.and_then(|found| found.marker).as_deref() == Some(&marker))
    }

    /// No route names the new copy yet, so nothing was written to it.
    pub(super) async fn swap_back(&self, platform: &Platform, head: &Head) -> Result<(), Stop> {
        let tenant = head.tenant()?;
        let server = platform.server(&self.cluster).await?;
        let (coming, away) = (self.coming(tenant), self.away(tenant));
        if self.is_swapped(&server, tenant).await? {
            self.lock_out_for_return((platform, head), &server, &away)
                .await?;
            let fence = lease::fence(platform, head, &server).await?;
            match self.replaced {
                Replaced::Kept => {
                    let back = (&coming, self.from_copy);
                    self.rename((&server, fence), tenant, &away, back, Wall::Blocked)
                        .await?;
                }
                Replaced::Missing => {
                    let name = Name::Tenant(tenant.clone());
                    let marker = server.database(&coming, spare::copy_of(&coming)).marker();
                    let named = (&coming, marker.as_str());
                    let mut connection = server.acquire().await?;
                    postgres::moving::switch_back(&mut connection, fence, &name, named).await?;
                }
            }
        }
        let place = (server.name(), &away);
        kept::forget(&mut *platform.registry.acquire().await?, place).await?;
        Ok(())
    }

    async fn lock_out_for_return(
        &self,
        (platform, head): (&Platform, &Head),
        server: &Server,
        away: &Name,
    ) -> Result<(), Stop> {
        let tenant = head.tenant()?;
        let name = Name::Tenant(tenant.clone());
        lease::set_wall((platform, head), server, tenant, Wall::Blocked).await?;
        tenants::wall::end_sessions(server, &name, Who::Everybody).await?;
        tenants::wall::end_sessions(server, away, Who::Everybody).await
    }
}
