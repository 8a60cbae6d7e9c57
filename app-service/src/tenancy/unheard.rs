//! What this replica does while the platform does not hear it: it keeps a session open on each cluster of
//! which it knows a tenant, so that the server's list of sessions shows the platform that its share is in
//! use.
//!
//! Deliberately opens nothing on clusters of which it knows no tenant: it could serve none there, and needs
//! no share of them. Invariants: a session for a tenant is asked for at the gate, like a request's; a
//! cluster that does not answer does not keep the others from being seen to.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use contract::ClusterName;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::connections::{ClusterConnections, Look};
use super::directory::Directory;

/// How often it is looked whether the servers see us.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long one tenant's database may take to let us in.
const PATIENCE: Duration = Duration::from_secs(1);

/// Sees to that until it is told to stop.
pub(crate) async fn stay_seen(directory: Directory, stop: CancellationToken) {
    let mut tick = tokio::time::interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut looks, mut under_way) = (FuturesUnordered::new(), BTreeSet::new());
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            Some(name) = looks.next(), if !looks.is_empty() => {
                under_way.remove(&name);
            }
            _ = tick.tick() => {
                for (name, cluster) in directory.on_clusters() {
                    if under_way.insert(name.clone()) {
                        looks.push(looked_at(&directory, name, cluster));
                    }
                }
            }
        }
    }
}

async fn looked_at(
    directory: &Directory,
    name: ClusterName,
    cluster: Arc<ClusterConnections>,
) -> ClusterName {
    match cluster.look().await {
        Look::Seen => {}
        Look::NoSession => open_one(directory, &cluster).await,
        Look::AllBusy => {
            for known in directory.some_on(&cluster) {
                if cluster.show_up(&known.opener).await {
                    break;
                }
            }
        }
    }
    name
}

async fn open_one(directory: &Directory, cluster: &Arc<ClusterConnections>) {
    for known in directory.some_on(cluster) {
        let Ok(Ok(held)) = tokio::time::timeout(PATIENCE, known.acquire()).await else {
            continue;
        };
        if let Some(held) = held.pinged().await {
            held.give_back();
            return;
        }
    }
}
