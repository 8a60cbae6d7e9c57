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
use crate::clusters::postgres::{self, Name, Presence};
use crate::config::HoldSettings;
use crate::platform::Platform;
use crate::tenants::place::Placed;
use crate::{feed, tenants};

/// Pause between two looks at replicas and sessions.
const LOOK: Duration = Duration::from_millis(10);
/// Sessions that did nothing for so long do not hold a move up. A read of several statements is in no
/// transaction between two of them.
const QUIET: Duration = Duration::from_millis(300);

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

/// Waits until every living replica has acted on the change with which a hold began, and until nothing of
/// the tenant is under way. Neither is waited for for ever (`hold.acknowledge`, `hold.drain`): whoever is
/// still there meets the wall.
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
    drained(&mut *placed.server.acquire().await?, &name, settings).await
}

/// Waits until no session of the tenant's role is left, or until those that are left have done nothing for a
/// while: they are of a replica that has not heard of the hold.
async fn drained(
    server: &mut PgConnection,
    name: &Name,
    settings: &HoldSettings,
) -> Result<(), Stop> {
    let begun = Instant::now();
    let mut last_busy = begun;
    loop {
        match postgres::presence_of(server, name).await? {
            Presence::Gone => return Ok(()),
            Presence::Busy => last_busy = Instant::now(),
            Presence::Idle if last_busy.elapsed() >= QUIET => return Ok(()),
            Presence::Idle => {}
        }
        if begun.elapsed() >= settings.drain.get() {
            return Ok(());
        }
        sleep(LOOK).await;
    }
}
