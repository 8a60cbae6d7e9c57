//! Holding a tenant: its requests wait while its database is moved or replaced.
//!
//! Deliberately protects no data: the lock-out in the database does that. A hold only lets requests wait
//! for the end where they would fail. Invariant: whoever sets a hold clears it, in the undo of the step
//! that set it or with what comes after.

use std::collections::HashSet;
use std::time::Duration;

use contract::TenantId;
use sqlx::PgConnection;
use tokio::time::{Instant, sleep};

use super::Stop;
use crate::clusters::connections::Server;
use crate::clusters::postgres::{self, Name};
use crate::config::HoldSettings;
use crate::feed::{self, Announced};
use crate::platform::Platform;
use crate::tenants;
use crate::tenants::place::Placed;

/// Pause between two looks at sessions.
const LOOK: Duration = Duration::from_millis(10);
/// The same once only slow transactions are left.
const LATER_LOOK: Duration = Duration::from_millis(50);
/// What is begun for so long is under way as well. A read of several statements is in no transaction between two
/// of them.
const SETTLING: Duration = Duration::from_millis(300);

/// Holds a tenant's requests for so long at most, and announces it: the last write of its transaction.
pub(crate) async fn set(
    connection: &mut PgConnection,
    tenant: &TenantId,
    longest: Duration,
) -> Result<Announced, Stop> {
    let news = tenants::store::hold(&mut *connection, tenant, longest).await?;
    Ok(news.announce(connection).await?)
}

/// Lets them go on, and announces it: the last write of its transaction.
pub(crate) async fn clear(
    connection: &mut PgConnection,
    tenant: &TenantId,
) -> Result<Announced, Stop> {
    let news = tenants::store::release(&mut *connection, tenant).await?;
    Ok(news.announce(connection).await?)
}

/// Waits until every living replica has acted on the change with which a hold began, and until nothing of
/// the tenant is under way. Neither is waited for for ever (`hold.acknowledge`, `hold.drain`): whoever is
/// still there meets the wall.
pub(crate) async fn settled(
    platform: &Platform,
    tenant: &TenantId,
    change: Announced,
) -> Result<(), Stop> {
    let settings = &platform.settings.hold;
    feed::wait_until_change_is_heard(platform, change, settings.acknowledge.get()).await?;
    let placed = Placed::find(platform, tenant).await?;
    drained(&placed.server, &Name::Tenant(tenant.clone()), settings).await
}

/// Waits until no session of the tenant's role is left, or until nothing is left of what was under way. What a
/// replica that has not heard of the hold goes on to begin is not waited for.
async fn drained(server: &Server, name: &Name, settings: &HoldSettings) -> Result<(), Stop> {
    let begun = Instant::now();
    let mut under_way = HashSet::new();
    while begun.elapsed() < settings.drain.get() {
        // Given back between two looks: others wait for a connection as well.
        let presence = postgres::presence_of(&mut *server.acquire().await?, name).await?;
        if presence.sessions == 0 {
            return Ok(());
        }
        let running: HashSet<String> = presence.transactions.into_iter().collect();
        if begun.elapsed() < SETTLING {
            under_way.extend(running);
            sleep(LOOK).await;
            continue;
        }
        under_way.retain(|transaction| running.contains(transaction));
        if under_way.is_empty() {
            return Ok(());
        }
        sleep(LATER_LOOK).await;
    }
    Ok(())
}
