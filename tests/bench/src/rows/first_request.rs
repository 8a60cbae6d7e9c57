//! The first request of a tenant that the replica does not know.
//!
//! Deliberately a new app-service process in every round: nothing of a tenant is left in it, neither
//! its route nor its token nor a connection. Invariant: each database was used before, so neither
//! side pays for the caches that the server makes at the first connection to a new database.

use std::time::Instant;

use anyhow::ensure;

use super::reads::all_reads;
use super::{First, Row};
use crate::client::{Client, Prepared};
use crate::report::{Figure, Goal, Round, Title};
use crate::roles::baseline::Way;
use crate::stage::{BUDGET, Stage, Tenant};
use crate::stats::{median, percentile};

const TENANTS: usize = 50;
/// Far more than are ever used.
const PERMITS: usize = 60;

pub(super) async fn measure(stage: &mut Stage) -> anyhow::Result<Figure> {
    stage.app(BUDGET, &[]).await?;
    let tenants = stage.tenants(TENANTS).await?;
    let names: Vec<&str> = tenants.iter().map(|tenant| tenant.id.as_str()).collect();
    let process = stage.baseline(&names, Way::Connect(PERMITS)).await?;
    let mut baseline = Client::new(process.address()?);
    let (mut rounds, mut all) = (Vec::new(), Vec::new());
    for number in 0..stage.options.rounds {
        stage.app(BUDGET, &[]).await?;
        let mut ours = Client::new(stage.app_address()?);
        warm_up(&mut ours, &mut baseline, &tenants).await?;
        let (mut our_times, mut other_times) = (Vec::new(), Vec::new());
        // The last tenant was used to warm up.
        for (tenant, sample) in tenants.iter().zip(0..).take(TENANTS - 1) {
            let reads = tenant.reads()?;
            let request = reads.first().ok_or_else(|| anyhow::anyhow!("an entry"))?;
            let order = match First::of(number + sample) {
                First::Ours => [First::Ours, First::Baseline],
                First::Baseline => [First::Baseline, First::Ours],
            };
            for side in order {
                match side {
                    First::Ours => our_times.push(timed(&mut ours, request).await?),
                    First::Baseline => other_times.push(timed(&mut baseline, request).await?),
                }
            }
        }
        all.extend(our_times.iter().copied());
        rounds.push(Round {
            ours: median(&our_times),
            baseline: median(&other_times),
        });
    }
    process.stop().await?;
    let notes = vec![format!(
        "ours: p50 {:.2} ms, p90 {:.2} ms, slowest {:.2} ms of {}; a new process in each round",
        percentile(&all, 50),
        percentile(&all, 90),
        percentile(&all, 100),
        all.len()
    )];
    let title = Title {
        row: Row::FirstRequest.name(),
        measure: "first request of a tenant unknown to the replica, p50",
        compared_with: "bare connect and one query on that database",
        unit: "ms",
        goal: Goal::RatioAtMost(2.5),
    };
    Ok(Figure::compared(title, rounds, 0, notes))
}

/// Both sides serve the last tenant once: connections of the client, the platform's keep-alive.
async fn warm_up(
    ours: &mut Client,
    baseline: &mut Client,
    tenants: &[Tenant],
) -> anyhow::Result<()> {
    let Some(last) = tenants.last() else {
        return Ok(());
    };
    for request in all_reads(std::slice::from_ref(last))?.iter() {
        timed(ours, request).await?;
        timed(baseline, request).await?;
    }
    Ok(())
}

async fn timed(client: &mut Client, request: &Prepared) -> anyhow::Result<f64> {
    let sent = Instant::now();
    let answer = client.send(request).await?;
    let time = sent.elapsed().as_secs_f64() * 1e3;
    ensure!(
        answer.status.is_success(),
        "a first request: {}",
        answer.words()
    );
    Ok(time)
}
