//! What the registry forgets in time (old changes, idempotency keys, operations, roll-outs), what it counts, and which
//! sealing keys it has seen.
//!
//! Deliberately by every replica: each statement is idempotent and small. Invariant: nothing that a
//! live operation or a service within its retention needs is removed.

pub(crate) mod store;

use std::collections::BTreeSet;
use std::time::Duration;

use crate::feed;
use crate::keys;
use crate::made_once;
use crate::pace;
use crate::platform::Platform;
use crate::rollouts;
use crate::sweep;

/// How often what is old is forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(60);
/// How often is counted: a stuck operation should be seen soon.
const COUNT_EVERY: Duration = Duration::from_secs(10);

/// Operations that are deleted in one statement: more than a minute finishes, and still short.
const PRUNED_AT_ONCE: i64 = 5_000;
/// Roll-outs that are deleted in one statement: each has a row for every tenant that it was about.
const ROLLOUTS_AT_ONCE: i64 = 5;

/// Forgets what is old and counts what there is, until the service stops.
pub(crate) async fn keep(platform: Platform) {
    let mut forget_tick = pace::every(FORGET_EVERY);
    let mut count_tick = pace::every(COUNT_EVERY);
    let mut clusters = BTreeSet::new();
    loop {
        let done = tokio::select! {
            _ = forget_tick.tick() => forget(&platform).await,
            _ = count_tick.tick() => count(&platform, &mut clusters).await,
            () = platform.stopping.cancelled() => return,
        };
        if let Err(error) = done {
            tracing::warn!(cause = %error, "the registry could not be kept");
        }
    }
}

/// Sets the gauges that an operator's alarms look at; those of clusters that were removed since say nothing
/// any more.
async fn count(platform: &Platform, clusters: &mut BTreeSet<String>) -> Result<(), sqlx::Error> {
    let mut connection = platform.registry.acquire().await?;
    for (state, number) in store::live_operations(&mut connection).await? {
        metrics::gauge!("operations_live", "state" => state.as_str()).set(number as f64);
    }
    for (status, number) in store::tenants(&mut connection).await? {
        metrics::gauge!("tenants", "status" => status.as_str()).set(number as f64);
    }
    for (kind, number) in sweep::store::counts(&mut connection).await? {
        metrics::gauge!("findings", "kind" => kind.as_str()).set(number as f64);
    }
    let mut removed = std::mem::take(clusters);
    for (cluster, number) in store::ready_stock(&mut connection).await? {
        metrics::gauge!("stock_ready", "cluster" => cluster.clone()).set(number as f64);
        removed.remove(&cluster);
        clusters.insert(cluster);
    }
    for cluster in removed {
        metrics::gauge!("stock_ready", "cluster" => cluster).set(f64::NAN);
    }
    let behind = store::tenants_behind(&mut connection).await?;
    metrics::gauge!("tenants_behind").set(behind as f64);
    Ok(())
}

async fn forget(platform: &Platform) -> Result<(), sqlx::Error> {
    let mut connection = platform.registry.acquire().await?;
    keys::note_ring(platform, &mut connection).await?;
    feed::store::prune(&mut connection, platform.settings.feed.retention.get()).await?;
    let retention = platform.settings.signup.idempotency_retention.get();
    store::forget_idempotency_keys(&mut connection, retention).await?;
    made_once::store::forget(&mut connection, retention).await?;
    let retention = platform.settings.operations.retention.get();
    store::prune_operations(&mut connection, retention, PRUNED_AT_ONCE).await?;
    rollouts::store::prune(&mut connection, retention, ROLLOUTS_AT_ONCE).await
}
