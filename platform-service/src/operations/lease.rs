//! What a step asks for before it does something that only the holder of its operation may do.
//!
//! Deliberately not for keeping the lease: the runner renews it by itself while a step runs. Invariant: a
//! runner that has lost its operation is told so before it acts, and what it has sent to a server by then
//! changes no names and no walls there once its lease is over.

use contract::{Code, TenantId};
use kit::error::Problem;

use super::store::{self, Hold};
use super::{Head, Stop};
use crate::clusters::connections::Server;
use crate::clusters::postgres::wall::{self, Wall};
use crate::clusters::postgres::{Fence, Name};
use crate::platform::Platform;

/// Renews the lease, or stops where another runner has taken the operation.
pub(super) async fn still_ours(platform: &Platform, head: &Head) -> Result<(), Stop> {
    let mut registry = platform.registry.acquire().await?;
    let held = (head.id, head.lease);
    let lease = platform.settings.operations.lease.get();
    match store::renew(&mut registry, held, lease).await? {
        Hold::Held => Ok(()),
        // Nothing is written of it: that takes the lease as well.
        Hold::Lost => {
            let detail = "Another runner has taken the operation.";
            Err(Stop::Retry(Problem::new(Code::NotReady).detail(detail)))
        }
    }
}

/// Renews the lease, and gives what keeps a change of names or of a wall on a server from ending after it.
///
/// Whoever takes the operation over looks once which names there are, and sets the wall once.
pub(super) async fn fence(
    platform: &Platform,
    head: &Head,
    server: &Server,
) -> Result<Fence, Stop> {
    // A commit takes a moment after the last statement.
    let longest = platform.settings.operations.lease.get() * 9 / 10;
    // The time is taken before the lease is renewed, which so lasts longer than that.
    let fence = Fence::after(&mut *server.acquire().await?, longest).await?;
    still_ours(platform, head).await?;
    Ok(fence)
}

/// Sets the wall of a tenant while the operation is ours; sessions that knew an older one go on.
pub(super) async fn set_wall(
    (platform, head): (&Platform, &Head),
    server: &Server,
    tenant: &TenantId,
    wall: Wall,
) -> Result<(), Stop> {
    let fence = fence(platform, head, server).await?;
    let mut connection = server.acquire().await?;
    let name = Name::Tenant(tenant.clone());
    Ok(wall::set(&mut connection, fence, &name, wall).await?)
}
