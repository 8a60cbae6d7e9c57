//! Measures each cluster: the bytes of its databases, its server's connections and how many are used, its
//! PostgreSQL version, and whether a move can follow its tenants; placement, the choice of PostgreSQL's
//! programs and operators read the result. On the way it sets how many connections the roles of its tenants
//! may have, where that is not what the budget says.
//!
//! Deliberately seldom and never in a request: with a thousand databases a look touches half a million
//! files. Invariant: one process measures a cluster at a time.

use std::time::Duration;

use contract::ClusterName;
use sqlx::PgConnection;
use tokio::time::{Instant, sleep};

use super::connections::Server;
use super::postgres::limits::set_limits;
use super::{postgres, store};
use crate::platform::Platform;
use crate::stop::Stop;

/// How often at most.
const EVERY: Duration = Duration::from_secs(60);
/// A measuring that took long is followed by a pause of so many times that.
const PAUSE_FACTOR: u32 = 20;

/// Measures until the service stops.
pub(crate) async fn keep_measured(platform: Platform) {
    loop {
        let began = Instant::now();
        if let Err(error) = round(&platform).await {
            tracing::warn!(
                cause = kit::error::chain(&error),
                "clusters cannot be measured"
            );
        }
        let pause = EVERY.max(began.elapsed() * PAUSE_FACTOR);
        tokio::select! {
            () = platform.stopping.cancelled() => return,
            () = sleep(pause) => {}
        }
    }
}

async fn round(platform: &Platform) -> Result<(), sqlx::Error> {
    let due = {
        let mut registry = platform.registry.acquire().await?;
        store::claim_measuring(&mut registry, EVERY / 2).await?
    };
    for cluster in due {
        match measure(platform, &cluster).await {
            Ok(()) => {}
            Err(Stop::Fail(problem) | Stop::Retry(problem)) => {
                let cause = kit::error::chain(&problem);
                tracing::warn!(cluster = %cluster, cause, "a cluster cannot be measured");
            }
            Err(Stop::Later { reason, .. }) => {
                tracing::debug!(cluster = %cluster, reason = reason.as_ref());
            }
        }
    }
    Ok(())
}

/// Lets the roles of the tenants on a server have as many connections as its budget: they were made with the
/// one of then.
pub(super) async fn follow_budget(
    server: &Server,
    connection: &mut PgConnection,
) -> Result<(), Stop> {
    let changed = set_limits(connection, server.connection_budget()).await?;
    if changed > 0 {
        tracing::info!(cluster = %server.name(), changed, "the roles of tenants follow the budget");
    }
    Ok(())
}

async fn measure(platform: &Platform, cluster: &ClusterName) -> Result<(), Stop> {
    let Some(server) = platform.find_server(cluster).await? else {
        return Ok(());
    };
    let (measured, connections) = {
        let mut connection = server.acquire().await?;
        // What a change of the budget could not do.
        follow_budget(&server, &mut connection).await?;
        let measured = store::Measured {
            bytes: postgres::used_bytes(&mut connection).await?,
            can_replicate: postgres::can_replicate(&mut connection).await?,
            server_version: postgres::version(&mut connection).await?,
        };
        (measured, postgres::connections(&mut connection).await?)
    };
    let mut registry = platform.registry.acquire().await?;
    store::set_measured(&mut registry, cluster, &measured).await?;
    Ok(store::set_connections(&mut registry, cluster, connections).await?)
}
