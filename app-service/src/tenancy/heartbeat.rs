//! Tells the platform that this replica lives, and takes its share of each cluster's budget.
//!
//! Deliberately takes no share away while the platform is silent: what is left of one then,
//! [`super::connections`] decides. Invariant: a share that shrinks is confirmed only when no more
//! connections than that are held.

use std::time::{Duration, Instant};

use contract::client::{ClientError, PlatformClient};
use contract::internal::{Heartbeat, HeartbeatAnswer, ReplicaPhase};
use contract::{ReplicaId, ServiceName};
use kit::error::chain;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::changes::Seen;
use super::directory::Directory;
use super::migrations::Migrator;

const FIRST_INTERVAL: Duration = Duration::from_millis(200);
const SHORTEST_INTERVAL: Duration = Duration::from_millis(50);

/// This replica, as it presents itself.
#[derive(Clone)]
pub(crate) struct Heart {
    pub(crate) replica: ReplicaId,
    pub(crate) service: ServiceName,
    pub(crate) internal_url: String,
    pub(crate) platform: PlatformClient,
    pub(crate) directory: Directory,
    pub(crate) migrator: Migrator,
    pub(crate) seen: Seen,
}

/// Whether the platform has taken this replica in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Registration {
    /// Not yet, or it was refused.
    Missing,
    /// It has, and gave shares.
    Accepted,
}

impl Heart {
    /// One heartbeat; gives the time until the next.
    async fn beat(&self, phase: ReplicaPhase) -> Result<Duration, ClientError> {
        let (epoch, seen_change) = self.seen.get();
        for (_, cluster) in self.directory.on_clusters() {
            // What is said to be held was not given away meanwhile.
            cluster.keep_to_lease();
        }
        let shares = self
            .directory
            .usage()
            .into_iter()
            .map(|(cluster, usage)| {
                let held = usage.share.max(usage.taken);
                (cluster, u32::try_from(held).unwrap_or(u32::MAX))
            })
            .collect();
        let heartbeat = Heartbeat {
            replica: self.replica,
            service: self.service.clone(),
            internal_url: self.internal_url.clone(),
            owns: self.migrator.owns(),
            shares,
            epoch,
            seen_change,
            phase,
        };
        let sent = Instant::now();
        let answer = self.platform.heartbeat(&heartbeat).await?;
        if phase == ReplicaPhase::Serving {
            self.take_shares(&answer, sent);
        }
        Ok(Duration::from_millis(answer.interval_ms).max(SHORTEST_INTERVAL))
    }

    fn take_shares(&self, answer: &HeartbeatAnswer, sent: Instant) {
        for (name, share) in &answer.shares {
            let share = usize::try_from(*share).unwrap_or(usize::MAX);
            let cluster = self.directory.cluster(name);
            cluster.take_share(share, answer.lease, sent);
        }
    }

    /// Says goodbye: nothing is held any more.
    pub(crate) async fn stop(&self) {
        if let Err(error) = self.beat(ReplicaPhase::Gone).await {
            tracing::warn!(
                cause = chain(&error),
                "the platform was not told that this replica is gone"
            );
        }
    }
}

/// Beats until it is told to stop; `registration` tells others whether the platform answered.
pub(crate) async fn keep_beating(
    heart: Heart,
    registration: watch::Sender<Registration>,
    stop: CancellationToken,
) {
    let mut interval = FIRST_INTERVAL;
    loop {
        match heart.beat(ReplicaPhase::Serving).await {
            Ok(next) => {
                interval = next;
                registration.send_replace(Registration::Accepted);
            }
            // Once taken in, a replica goes on: the data plane outlives the control plane.
            Err(ClientError::Refused(problem)) if !problem.code.is_retryable() => {
                tracing::error!(
                    code = problem.code.as_str(),
                    detail = problem.detail,
                    "the platform refuses this replica"
                );
            }
            Err(error) => tracing::warn!(cause = chain(&error), "the platform does not answer"),
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(interval) => {}
        }
    }
}
