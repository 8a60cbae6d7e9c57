//! Reads of known tenants: against a pool on one database, and with many requests open.
//!
//! Deliberately the tier without a rate limit. Invariant: the baseline has as many server
//! connections as ours holds after its warm-up.

use std::sync::Arc;
use std::time::Duration;

use super::{First, Row};
use crate::client::{Client, Prepared};
use crate::load::{Load, Measured};
use crate::report::{Figure, Goal, Round, Title};
use crate::roles::baseline::Way;
use crate::stage::{BUDGET, Stage, Tenant, add_entries};
use crate::stats::percentile;

const TENANTS: usize = 50;
const CLIENTS: usize = 64;
const MANY_CLIENTS: usize = 1000;
const WARM_UP: Duration = Duration::from_secs(2);
/// Entries are added in batches of at most this.
const BATCH: usize = 500;

/// The requests of all tenants.
pub(super) fn all_reads(tenants: &[Tenant]) -> anyhow::Result<Arc<[Prepared]>> {
    let mut requests = Vec::new();
    for tenant in tenants {
        requests.extend(tenant.reads()?);
    }
    Ok(requests.into())
}

/// Latencies and errors of one side over all rounds.
#[derive(Debug, Default)]
pub(super) struct Side {
    latencies: Vec<f64>,
    pub(super) errors: u64,
    first_error: Option<String>,
}

impl Side {
    pub(super) fn take(&mut self, measured: Measured) -> f64 {
        let rate = measured.per_second();
        self.latencies.extend(measured.latencies);
        self.errors += measured.errors;
        self.first_error = self.first_error.take().or(measured.first_error);
        rate
    }

    pub(super) fn note(&self, name: &str) -> String {
        let error = self
            .first_error
            .as_ref()
            .map(|error| format!(", first error: {error}"));
        format!(
            "{name}: p50 {:.2} ms, p99 {:.2} ms, {} errors{}",
            percentile(&self.latencies, 50),
            percentile(&self.latencies, 99),
            self.errors,
            error.unwrap_or_default()
        )
    }
}

/// Ours on 50 databases against a pool on one.
pub(super) async fn against_pool(stage: &mut Stage) -> anyhow::Result<Figure> {
    stage.app(BUDGET, &[]).await?;
    let tenants = stage.tenants(TENANTS + 1).await?;
    let (one, fifty) = tenants
        .split_last()
        .ok_or_else(|| anyhow::anyhow!("tenants"))?;
    let lasts = stage
        .options
        .sized(Duration::from_secs(4), Duration::from_secs(10));
    let ours = Load {
        address: stage.app_address()?,
        clients: CLIENTS,
        pause: Duration::ZERO,
        lasts,
        requests: all_reads(fifty)?,
    };
    warm_up(&ours).await?;
    let connections = stage.tenant_sessions().await?;
    let way = Way::Pool(u32::try_from(connections)?);
    let process = stage.baseline(&[&one.id], way).await?;
    let baseline = Load {
        address: process.address()?,
        requests: reads_of_one(stage, one, ours.requests.len()).await?,
        ..ours.clone()
    };
    warm_up(&baseline).await?;

    let (mut our_side, mut other) = (Side::default(), Side::default());
    let mut rounds = Vec::new();
    for number in 0..stage.options.rounds {
        let (ours, baseline) = match First::of(number) {
            First::Ours => {
                let ours = ours.run().await?;
                (ours, baseline.run().await?)
            }
            First::Baseline => {
                let baseline = baseline.run().await?;
                (ours.run().await?, baseline)
            }
        };
        rounds.push(Round {
            ours: our_side.take(ours),
            baseline: other.take(baseline),
        });
    }
    let notes = vec![
        our_side.note("ours"),
        other.note("baseline"),
        format!(
            "server connections: ours {} at the end, baseline {connections}",
            stage.tenant_sessions().await? - connections
        ),
    ];
    process.stop().await?;
    let title = Title {
        row: Row::RoutedRead.name(),
        measure: "routed read, 50 known tenants, 64 clients",
        compared_with: "the same statement on one pool and one database",
        unit: "requests/s",
        goal: Goal::RatioAtLeast(0.90),
    };
    Ok(Figure::compared(
        title,
        rounds,
        our_side.errors + other.errors,
        notes,
    ))
}

/// The same requests on one database: as many entries as the 50 have together.
async fn reads_of_one(
    stage: &Stage,
    one: &Tenant,
    count: usize,
) -> anyhow::Result<Arc<[Prepared]>> {
    let mut client = Client::new(stage.app_address()?);
    let mut entries = one.entries.clone();
    while entries.len() < count {
        let batch = (count - entries.len()).min(BATCH);
        entries.extend(add_entries(&mut client, &one.id, &one.token, batch).await?);
    }
    let requests = entries
        .iter()
        .map(|entry| Prepared::get(&format!("/v1/entries/{entry}")))
        .collect::<anyhow::Result<Vec<_>>>()?;
    Ok(requests.into())
}

async fn warm_up(load: &Load) -> anyhow::Result<()> {
    let load = Load {
        lasts: WARM_UP,
        ..load.clone()
    };
    load.run().await.map(drop)
}

/// Ours with 1,000 open requests against ours with 64.
pub(super) async fn many_open(stage: &mut Stage) -> anyhow::Result<Figure> {
    stage.app(BUDGET, &[]).await?;
    let tenants = stage.tenants(TENANTS).await?;
    let few = Load {
        address: stage.app_address()?,
        clients: CLIENTS,
        pause: Duration::ZERO,
        lasts: stage
            .options
            .sized(Duration::from_secs(4), Duration::from_secs(10)),
        requests: all_reads(&tenants)?,
    };
    let many = Load {
        clients: MANY_CLIENTS,
        ..few.clone()
    };
    warm_up(&few).await?;
    warm_up(&many).await?;
    let (mut many_side, mut few_side) = (Side::default(), Side::default());
    let mut rounds = Vec::new();
    for number in 0..stage.options.rounds {
        let (many, few) = match First::of(number) {
            First::Ours => {
                let many = many.run().await?;
                (many, few.run().await?)
            }
            First::Baseline => {
                let few = few.run().await?;
                (many.run().await?, few)
            }
        };
        rounds.push(Round {
            ours: many_side.take(many),
            baseline: few_side.take(few),
        });
    }
    let notes = vec![many_side.note("1,000 open"), few_side.note("64 open")];
    let title = Title {
        row: Row::OpenRequests.name(),
        measure: "the same with 1,000 open requests",
        compared_with: "the same with 64",
        unit: "requests/s",
        goal: Goal::RatioAtLeast(0.85),
    };
    Ok(Figure::compared(
        title,
        rounds,
        many_side.errors + few_side.errors,
        notes,
    ))
}
