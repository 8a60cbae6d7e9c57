//! What is kept for a replica that is not heard: it may be dead, or alive behind a broken link.
//!
//! A replica that is alive goes on serving, from its share, for as long as the platform is away. So
//! its share may be given to others only when it is sure to have let go of it by itself, and the one
//! witness that both sides can ask is the cluster's own list of sessions.
//!
//! - Both count from the replica's last *sign of life*: a heartbeat, or an open session. The replica
//!   takes the earliest moment that can be meant (when it sent the heartbeat that was answered, or the
//!   statement), the platform the latest (when it saw neither for the first time).
//! - The replica keeps its whole share for [`ShareLease::whole`], one connection of it until
//!   [`ShareLease::last`], then nothing, until a heartbeat is answered again. It sees to it that it has
//!   a session while it is not heard, so in practice it loses nothing however long the platform is away.
//! - The platform gives the same away, each by [`margin`] later, and only after looks that found no
//!   session all that time without a break. A start of ours, a registry or a server that could not be
//!   asked, is a break: whoever lives has time to be heard first.
//!
//! The margin covers a connection that was being opened, and a look's delay. One connection stays for
//! so long because a server that comes back after minutes is to find its tenants served, by every
//! replica that lives, whether the platform is back or not.
//!
//! Deliberately remembers looks in this process alone: each replica of the platform judges by what it
//! saw itself. Invariant: what a replica may still hold is reserved.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use contract::internal::ShareLease;
use contract::{ClusterName, ReplicaId};
use futures::future::join_all;
use kit::error::{Result, chain};

use super::store::{self, SilentShare};
use crate::clusters;
use crate::config::ReplicaSettings;
use crate::pace;
use crate::platform::Platform;
use crate::stop::Stop;

/// How often silent replicas are looked for at least.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Looks in the time for which a whole share counts.
const LOOKS: u32 = 5;

/// What replicas are told of how long their shares count.
pub(super) fn lease(settings: &ReplicaSettings) -> ShareLease {
    ShareLease::new(settings.silent_after.get(), settings.forgotten_after.get())
}

/// How much longer than a replica the platform waits.
fn margin(lease: ShareLease) -> Duration {
    lease.whole()
}

fn look_every(lease: ShareLease) -> Duration {
    LOOK_EVERY.min(lease.whole() / LOOKS)
}

/// What is kept for a replica of which nothing is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    /// Its share.
    Whole,
    /// One connection.
    Last,
    /// Nothing.
    Nothing,
}

/// Looks, one soon after the other, that found no session of a silent replica.
#[derive(Debug, Clone, Copy)]
struct Absence {
    first: Instant,
    latest: Instant,
}

impl Absence {
    /// After a look that found none either.
    fn go_on(before: Option<Self>, now: Instant, lease: ShareLease) -> Self {
        let gap = look_every(lease) * 3;
        let first = before
            .filter(|before| now.saturating_duration_since(before.latest) <= gap)
            .map_or(now, |before| before.first);
        Self { first, latest: now }
    }

    fn kept(self, lease: ShareLease) -> Kept {
        let lasted = self.latest.saturating_duration_since(self.first);
        if lasted < lease.whole() + margin(lease) {
            Kept::Whole
        } else if lasted < lease.last() + margin(lease) {
            Kept::Last
        } else {
            Kept::Nothing
        }
    }
}

type Absences = HashMap<(ReplicaId, ClusterName), Absence>;

/// Gives back the shares of silent replicas that hold nothing any more, until the service stops.
pub(crate) async fn reap(platform: Platform) {
    let lease = lease(&platform.settings.replicas);
    let mut absences = Absences::new();
    let mut tick = pace::every(look_every(lease));
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = platform.stopping.cancelled() => return,
        }
        if let Err(problem) = reap_once(&platform, lease, &mut absences).await {
            tracing::warn!(
                cause = chain(&problem),
                "silent replicas cannot be looked at"
            );
        }
    }
}

async fn reap_once(platform: &Platform, lease: ShareLease, absences: &mut Absences) -> Result<()> {
    let silent = {
        let mut registry = platform.registry.acquire().await?;
        store::silent_shares(&mut registry).await?
    };
    let mut clusters: BTreeMap<ClusterName, Vec<SilentShare>> = BTreeMap::new();
    for share in silent {
        clusters
            .entry(share.cluster.clone())
            .or_default()
            .push(share);
    }
    // All at once: a server that does not answer is not to make breaks in the looks at others.
    let looks = clusters.into_iter().map(|(cluster, shares)| async move {
        let look = absent(platform, &cluster, shares);
        let looked = tokio::time::timeout(look_every(lease), look).await;
        (cluster, looked)
    });
    let mut found = Absences::new();
    for (cluster, looked) in join_all(looks).await {
        match looked {
            Ok(Ok(absent)) => {
                for share in absent {
                    let key = (share.replica, share.cluster.clone());
                    let before = absences.get(&key).copied();
                    let absence = Absence::go_on(before, Instant::now(), lease);
                    free(platform, &share, absence.kept(lease)).await?;
                    found.insert(key, absence);
                }
            }
            // As long as the server cannot be asked, the shares stay reserved.
            Ok(Err(stop)) => tracing::warn!(%cluster, ?stop, "sessions not counted"),
            Err(_) => tracing::warn!(%cluster, "sessions not counted in time"),
        }
    }
    *absences = found;
    let mut registry = platform.registry.acquire().await?;
    store::delete_silent(&mut registry).await?;
    Ok(())
}

/// Those of silent replicas that have no session on the cluster.
async fn absent(
    platform: &Platform,
    cluster: &ClusterName,
    shares: Vec<SilentShare>,
) -> Result<Vec<SilentShare>, Stop> {
    let Some(server) = platform.find_server(cluster).await? else {
        return Ok(shares);
    };
    let mut connection = server.acquire().await?;
    let mut absent = Vec::new();
    for share in shares {
        let name = share.replica.application_name(&share.service);
        if !clusters::postgres::has_session(&mut connection, &name).await? {
            absent.push(share);
        }
    }
    Ok(absent)
}

/// Frees what is not kept; a replica that speaks again meanwhile keeps its share.
async fn free(platform: &Platform, share: &SilentShare, kept: Kept) -> Result<()> {
    if kept == Kept::Whole || (kept == Kept::Last && share.share.reserved() <= 1) {
        return Ok(());
    }
    let mut transaction = platform.registry.begin().await?;
    store::lock_shares(&mut transaction).await?;
    if kept == Kept::Last {
        store::keep_last(&mut transaction, share.replica, &share.cluster).await?;
    } else {
        store::delete_silent_share(&mut transaction, share.replica, &share.cluster).await?;
    }
    transaction.commit().await?;
    Ok(())
}

#[cfg(test)]
mod tests;
