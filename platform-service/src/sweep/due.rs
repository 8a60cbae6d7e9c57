//! Databases that were kept for a time which is over.
//!
//! Deliberately apart from finds: these have a row that says until when. Invariants: none of a tenant
//! that an operation works on is dropped, because it may be what that goes back to; a cluster that cannot
//! be reached keeps no other one's from being dropped.

use sqlx::Connection as _;

use super::store::{self, DueDatabase};
use crate::clusters::away::Away;
use crate::clusters::drops;
use crate::clusters::postgres::{self, Name, Whose};
use crate::operations::mark;
use crate::platform::Platform;
use crate::stop::Stop;

/// Databases of a cluster that are dropped in one look: each drop forces a checkpoint.
const PER_CLUSTER: i64 = 20;

/// Drops what is due, one after the other.
pub(super) async fn drop_due(platform: &Platform) -> Result<(), sqlx::Error> {
    let due = store::due_databases(&mut *platform.registry.acquire().await?, PER_CLUSTER).await?;
    let mut away = Away::default();
    for kept in due {
        let dropped = away.unless(&kept.cluster, drop_one(platform, &kept)).await;
        if let Err(stop) = dropped {
            let cause = stop.words();
            tracing::warn!(
                cluster = %kept.cluster, name = %kept.name, cause,
                "a kept database could not be dropped; it is tried again"
            );
        }
    }
    Ok(())
}

async fn drop_one(platform: &Platform, kept: &DueDatabase) -> Result<(), Stop> {
    let Some(server) = platform.find_server(&kept.cluster).await? else {
        return Ok(());
    };
    // Gives up in seconds where the server does not answer.
    drop(server.acquire().await?);
    let mut drops = drops::alone(&server).await?;
    // The order is that of `clusters::drops`.
    let found = postgres::look(&mut drops, &kept.name).await?;
    if store::is_due(&mut *platform.registry.acquire().await?, kept).await? {
        if !found.is_nothing() {
            postgres::discard(&mut drops, &kept.name, Whose::Anybody).await?;
        }
        if let Name::Side(tenant, _) = &kept.name {
            mark::drop_left(platform, &mut drops, tenant).await?;
        }
        store::forget_due(&mut *platform.registry.acquire().await?, kept).await?;
        tracing::info!(cluster = %kept.cluster, name = %kept.name, "dropped a kept database");
    }
    Ok(drops.close().await?)
}
