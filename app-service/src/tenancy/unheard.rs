//! While the platform does not hear this replica, the servers see it: an open session on each cluster of
//! which it knows a tenant says that its share is in use.
//!
//! Deliberately opens nothing for tenants that it does not know: it cannot serve them then either, and
//! needs no share for them. Invariant: it takes its turn at the gate like a request.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio_util::sync::CancellationToken;

use super::connections::ClusterConnections;
use super::directory::Directory;

/// How often it is looked whether the servers see us.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long one tenant's database may take to let us in.
const PATIENCE: Duration = Duration::from_secs(1);

/// Sees to that until it is told to stop.
pub(crate) async fn stay_seen(directory: Directory, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        let clusters = directory.on_clusters().into_iter();
        join_all(clusters.map(|cluster| stay_seen_on(&directory, cluster))).await;
    }
}

async fn stay_seen_on(directory: &Directory, cluster: Arc<ClusterConnections>) {
    if !cluster.is_missed().await {
        return;
    }
    for known in directory.some_on(&cluster) {
        let Ok(Ok(held)) = tokio::time::timeout(PATIENCE, known.acquire()).await else {
            continue;
        };
        if let Some(held) = held.pinged().await {
            held.give_back();
            return;
        }
    }
}
