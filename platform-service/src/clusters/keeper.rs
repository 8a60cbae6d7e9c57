//! Keeps every active cluster's template current and its stock full, and clears away what was left
//! half-made.
//!
//! Deliberately makes no tenant: it only prepares what tenants are made of. One process works on a cluster
//! at a time, by a session lock in the registry; where that fails and two meet, the rows that each must
//! claim keep them apart. Invariant: what is dropped has a derived name that no row claims, or is a
//! database of ours whose drop was begun already.

mod turn;

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use contract::ClusterName;
use futures::StreamExt as _;
use futures::stream;
use kit::db::Pool;
use tokio::task::JoinSet;

use self::turn::Turn;
use super::connections::Server;
use super::postgres::{self, Name, Whose};
use super::store::{self, derived};
use super::{drops, owner, query_login, stock, template};
use crate::pace;
use crate::platform::Platform;
use crate::stop::Stop;

/// Copies that the keeper makes at once, fewer than a server bears: sign-ups come first.
const COPIES_BEHIND: usize = 2;
/// Clusters that one process keeps at the same time; others wait, or are kept by its next round.
const KEPT_AT_ONCE: u32 = 16;

/// Keeps all clusters until the service stops.
pub(crate) async fn keep(platform: Platform) {
    let mut tick = pace::every(platform.settings.stock.check_every.get());
    let registry = platform.registry.connect_options();
    let mut rounds = Rounds {
        running: JoinSet::new(),
        busy: HashMap::new(),
        sessions: Pool::new(registry.as_ref().clone(), KEPT_AT_ONCE),
    };
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = platform.clusters.nudged() => {}
            Some(ended) = rounds.running.join_next() => {
                rounds.ended(&platform, ended.ok());
                continue;
            }
            // Rounds are dropped where they stand; the next process goes on from there.
            () = platform.stopping.cancelled() => return,
        }
        let active = async {
            let mut registry = platform.registry.acquire().await?;
            store::active(&mut registry).await
        };
        match active.await {
            Ok(clusters) => {
                for cluster in clusters {
                    rounds.begin(&platform, cluster);
                }
            }
            Err(error) => tracing::warn!(cause = %error, "clusters cannot be listed"),
        }
    }
}

/// One round per cluster at a time.
struct Rounds {
    running: JoinSet<ClusterName>,
    /// Each with whether another round was wanted meanwhile, which may have come after it had looked.
    busy: HashMap<ClusterName, Again>,
    /// Those that have turns.
    sessions: Pool,
}

/// Whether a round is followed by another one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Again {
    Wanted,
    No,
}

impl Rounds {
    fn begin(&mut self, platform: &Platform, cluster: ClusterName) {
        match self.busy.entry(cluster) {
            Entry::Occupied(mut busy) => {
                busy.insert(Again::Wanted);
            }
            Entry::Vacant(idle) => {
                let cluster = idle.key().clone();
                idle.insert(Again::No);
                let sessions = self.sessions.clone();
                self.running
                    .spawn(round(platform.clone(), sessions, cluster));
            }
        }
    }

    /// One that panicked names no cluster; then all may begin anew.
    fn ended(&mut self, platform: &Platform, cluster: Option<ClusterName>) {
        match cluster {
            Some(cluster) => {
                if self.busy.remove(&cluster) == Some(Again::Wanted) {
                    self.begin(platform, cluster);
                }
            }
            None => self.busy.clear(),
        }
    }
}

async fn round(platform: Platform, sessions: Pool, cluster: ClusterName) -> ClusterName {
    match keep_in_turn(&platform, &sessions, &cluster).await {
        Ok(()) => {}
        Err(Stop::Retry(problem) | Stop::Fail(problem)) => {
            let cause = kit::error::chain(&problem);
            tracing::warn!(cluster = %cluster, cause, "the cluster's stock cannot be kept");
        }
        Err(Stop::Later { reason, .. }) => {
            tracing::debug!(cluster = %cluster, reason = reason.as_ref())
        }
    }
    cluster
}

async fn keep_in_turn(
    platform: &Platform,
    sessions: &Pool,
    cluster: &ClusterName,
) -> Result<(), Stop> {
    let Some(turn) = Turn::take(sessions, cluster).await? else {
        return Ok(());
    };
    let kept = keep_one(platform, cluster).await;
    let given_back = turn.give_back(cluster).await;
    kept?;
    Ok(given_back?)
}

async fn keep_one(platform: &Platform, cluster: &ClusterName) -> Result<(), Stop> {
    let Some(server) = platform.find_server(cluster).await? else {
        return Ok(());
    };
    // First, so that what an earlier installation left on a server has gone before a number of ours
    // could meet it.
    sweep(platform, &server).await?;
    query_login::ensure(platform, &server).await?;
    // Before a template is made, for which services log in with it.
    owner::keep(platform, &server).await;
    let Some(current) = template::ensure(platform, &server).await? else {
        return Ok(());
    };
    fill(platform, &server, current.number).await?;
    let replaced = {
        let mut registry = platform.registry.acquire().await?;
        derived::delete_replaced(&mut registry, cluster, current.number).await?
    };
    if replaced > 0 {
        sweep(platform, &server).await?;
    }
    Ok(())
}

/// Makes copies until the level is reached.
async fn fill(platform: &Platform, server: &Arc<Server>, template: i64) -> Result<(), Stop> {
    loop {
        let wanted = {
            let mut registry = platform.registry.acquire().await?;
            let level = platform.settings.stock.level;
            derived::stock_to_make(&mut registry, server.name(), template, level).await?
        };
        if wanted.is_empty() {
            return Ok(());
        }
        let mut made = stream::iter(wanted)
            .map(|number| make(platform, server, number, template))
            .buffer_unordered(COPIES_BEHIND);
        while let Some(done) = made.next().await {
            done?;
        }
    }
}

async fn make(
    platform: &Platform,
    server: &Server,
    number: i64,
    template: i64,
) -> Result<(), Stop> {
    stock::ensure(server, number, template).await?;
    stock::try_out(server, number).await?;
    let mut registry = platform.registry.acquire().await?;
    Ok(derived::stock_made(&mut registry, number).await?)
}

/// Drops what nobody will use any more, one after the other: each drop forces a checkpoint.
async fn sweep(platform: &Platform, server: &Server) -> Result<(), Stop> {
    // The server first: a copy that is recorded after this look is not in it.
    let leftovers = postgres::leftovers(&mut *server.acquire().await?).await?;
    let known: HashSet<Name> = {
        let mut registry = platform.registry.acquire().await?;
        derived::derived_names(&mut registry, server.name())
            .await?
            .into_iter()
            .collect()
    };
    let orphans = leftovers
        .derived
        .into_iter()
        .filter(|name| !known.contains(name))
        .map(|name| (name, Whose::Anybody));
    let half_dropped = leftovers.half_dropped.into_iter();
    // One that is being dropped just now looks the same; its name may be in use again afterwards.
    let half_dropped = half_dropped.map(|name| (name, Whose::HalfDropped));
    for (name, whose) in orphans.chain(half_dropped) {
        match drops::discard(server, &name, whose).await {
            Ok(()) => tracing::info!(cluster = %server.name(), name = %name, "dropped a leftover"),
            // The next round tries again; the stock must not wait for it.
            Err(stop) => {
                tracing::warn!(cluster = %server.name(), name = %name, ?stop, "a leftover stays");
            }
        }
    }
    Ok(())
}
