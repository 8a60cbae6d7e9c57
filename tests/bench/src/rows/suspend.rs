//! Suspension: how long after it was asked for the last request is still accepted, on two replicas.
//!
//! Deliberately also with the change feed cut, so that only the wall in the database stops a replica
//! that knows nothing. Invariant: requests come without a pause from before the suspension until
//! after its operation is done.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use futures::future::try_join_all;
use serde_json::json;

use super::Row;
use crate::client::{Client, Prepared};
use crate::link::{self, Feed};
use crate::report::{Figure, Goal, Title};
use crate::stage::{BUDGET, Stage};
use crate::stats::percentile;

/// Clients of each replica.
const CLIENTS: usize = 2;
/// How long requests go on after the operation is done.
const AFTERWARDS: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(5);

pub(super) async fn measure(stage: &mut Stage) -> anyhow::Result<Figure> {
    let samples = stage.options.sized(10, 50);
    let (mut worst, mut notes) = (Vec::new(), Vec::new());
    for feed in [Feed::Passes, Feed::Cut] {
        let platform = stage.platform_internal()?;
        let behind = link::start(platform, "", feed).await?;
        stage.app_behind(behind, BUDGET, &[]).await?;
        let other = stage.another_app(behind).await?;
        let replicas = [stage.app_address()?, other.address()?];
        let mut times = Vec::new();
        for _ in 0..samples {
            times.push(last_accepted(stage, replicas).await?);
        }
        notes.push(format!(
            "feed {}: p50 {:.0} ms, p99 {:.0} ms of {samples}",
            feed.word(),
            percentile(&times, 50),
            percentile(&times, 99)
        ));
        worst.push(percentile(&times, 99));
        other.stop().await?;
    }
    stage.app(BUDGET, &[]).await?;
    let title = Title {
        row: Row::Suspend.name(),
        measure: "suspend to last accepted request, 2 replicas, p99, feed there and cut",
        compared_with: "",
        unit: "ms",
        goal: Goal::EachAtMost(1000.0),
    };
    Ok(Figure::alone(title, &worst, 0, notes))
}

/// Suspends a tenant under load, resumes it, and gives the milliseconds to the last answer that was
/// no refusal.
async fn last_accepted(stage: &mut Stage, replicas: [SocketAddr; 2]) -> anyhow::Result<f64> {
    let tenants = stage.tenants(1).await?;
    let tenant = tenants.first().ok_or_else(|| anyhow::anyhow!("a tenant"))?;
    let reads = tenant.reads()?;
    let request = reads.first().ok_or_else(|| anyhow::anyhow!("an entry"))?;
    for replica in replicas {
        accepted(replica, request).await?;
    }
    let over = Arc::new(AtomicBool::new(false));
    let clients = replicas.into_iter().flat_map(|replica| [replica; CLIENTS]);
    let asking: Vec<_> = clients
        .map(|replica| tokio::spawn(keep_asking(replica, request.clone(), Arc::clone(&over))))
        .collect();
    tokio::time::sleep(AFTERWARDS).await;
    let asked = Instant::now();
    let body = json!({ "wall": "blocked", "reason": "A measurement." });
    stage
        .operation(&format!("/v1/tenants/{}/suspend", tenant.id), &body)
        .await?;
    tokio::time::sleep(AFTERWARDS).await;
    over.store(true, Ordering::Relaxed);
    let last = try_join_all(asking).await?.into_iter().flatten().max();
    ensure!(last.is_some(), "no request was accepted before");
    let time = last.map_or(0.0, |last| {
        last.saturating_duration_since(asked).as_secs_f64() * 1e3
    });
    stage
        .operation(&format!("/v1/tenants/{}/resume", tenant.id), &json!({}))
        .await?;
    Ok(time)
}

/// When the last accepted request was sent.
async fn keep_asking(
    replica: SocketAddr,
    request: Prepared,
    over: Arc<AtomicBool>,
) -> Option<Instant> {
    let mut client = Client::new(replica);
    let mut last = None;
    while !over.load(Ordering::Relaxed) {
        let sent = Instant::now();
        match client.send(&request).await {
            Ok(answer) if answer.status.is_success() => last = Some(sent),
            _ => tokio::time::sleep(PAUSE).await,
        }
    }
    last
}

/// Waits until a replica serves it.
async fn accepted(replica: SocketAddr, request: &Prepared) -> anyhow::Result<()> {
    let mut client = Client::new(replica);
    let began = Instant::now();
    while !client.send(request).await?.status.is_success() {
        ensure!(began.elapsed() < PATIENCE, "the tenant is not served");
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}
