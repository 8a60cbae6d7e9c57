//! Holding a tenant: its requests wait while its database is moved or replaced.
//!
//! Deliberately protects no data: the lock-out in the database does that. A hold only lets requests wait
//! for the end where they would fail. Invariant: whoever sets a hold clears it, in the undo of the step
//! that set it or with what comes after.

use std::time::Duration;

use contract::TenantId;
use sqlx::PgConnection;
use tokio::time::{Instant, sleep};

use super::Stop;
use crate::clusters::postgres::{self, Name};
use crate::platform::Platform;
use crate::tenants::place::Placed;
use crate::{feed, tenants};

/// Pause between two looks at replicas and sessions.
const LOOK: Duration = Duration::from_millis(10);

/// Holds a tenant's requests for so long at most. The last write of its transaction; gives the number
/// of the change.
pub(crate) async fn set(
    connection: &mut PgConnection,
    tenant: &TenantId,
    longest: Duration,
) -> Result<u64, Stop> {
    Ok(tenants::store::hold(connection, tenant, longest).await?)
}

/// Lets them go on. The last write of its transaction; gives the number of the change.
pub(crate) async fn clear(connection: &mut PgConnection, tenant: &TenantId) -> Result<u64, Stop> {
    Ok(tenants::store::release(connection, tenant).await?)
}

/// Waits until every living replica has acted on the change with which a hold began, and until no
/// session of the tenant's role is left. Neither is waited for for ever (`hold.acknowledge`,
/// `hold.drain`): whoever is still there meets the wall.
pub(crate) async fn settled(
    platform: &Platform,
    tenant: &TenantId,
    change: u64,
) -> Result<(), Stop> {
    let settings = &platform.settings.hold;
    let deadline = Instant::now() + settings.acknowledge.get();
    loop {
        let unheard = {
            let mut registry = platform.registry.acquire().await?;
            feed::store::unheard(&mut registry, change).await?
        };
        if unheard == 0 || Instant::now() >= deadline {
            break;
        }
        sleep(LOOK).await;
    }
    let placed = Placed::find(platform, tenant).await?;
    let name = Name::Tenant(tenant.clone());
    let mut server = placed.server.acquire().await?;
    let deadline = Instant::now() + settings.drain.get();
    while postgres::has_session_of(&mut server, &name).await? && Instant::now() < deadline {
        sleep(LOOK).await;
    }
    Ok(())
}
