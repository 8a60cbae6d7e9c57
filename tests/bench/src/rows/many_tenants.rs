//! Many more tenants than connections, picked at random.
//!
//! Deliberately without favourites: every request most likely finds no connection of its tenant.
//! Invariant: the sampler looks on both sides, so that it costs both the same; a sample of ours over
//! the budget is a failure.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use tokio::task::JoinHandle;

use super::reads::{Side, all_reads};
use super::{First, Row};
use crate::client::Client;
use crate::load::Load;
use crate::report::{Figure, Goal, Round, Title};
use crate::roles::baseline::Way;
use crate::stage::{Stage, Tenant};

const CLIENTS: usize = 64;
const CONNECTIONS: u32 = 60;
const FEW: usize = 2;
const SAMPLE_EVERY: Duration = Duration::from_millis(20);

pub(super) async fn measure(stage: &mut Stage) -> anyhow::Result<Figure> {
    let count = stage.options.sized(200, 1000);
    let tenants = stage.tenants(count).await?;
    stage.app(CONNECTIONS, &[]).await?;
    let names: Vec<&str> = tenants.iter().map(|tenant| tenant.id.as_str()).collect();
    let few = stage.baseline(&names, Way::Connect(FEW)).await?;
    let many = stage
        .baseline(&names, Way::Connect(CONNECTIONS as usize))
        .await?;
    let ours = Load {
        address: stage.app_address()?,
        clients: CLIENTS,
        pause: Duration::ZERO,
        lasts: stage
            .options
            .sized(Duration::from_secs(5), Duration::from_secs(15)),
        requests: all_reads(&tenants)?,
    };
    let by_few = Load {
        address: few.address()?,
        ..ours.clone()
    };
    let by_many = Load {
        address: many.address()?,
        ..ours.clone()
    };
    become_known(stage, &tenants).await?;

    let sampler = Sampler::start(stage).await?;
    let mut sides = [Side::default(), Side::default(), Side::default()];
    let [our_side, few_side, many_side] = &mut sides;
    let mut rounds = Vec::new();
    for number in 0..stage.options.rounds {
        let (mut our_rate, mut other_rate) = (0.0, 0.0);
        let order = match First::of(number) {
            First::Ours => [First::Ours, First::Baseline],
            First::Baseline => [First::Baseline, First::Ours],
        };
        for side in order {
            match side {
                First::Ours => {
                    sampler.record(Whose::Ours);
                    let measured = ours.run().await?;
                    sampler.record(Whose::Baselines);
                    our_rate = our_side.take(measured);
                }
                First::Baseline => {
                    let few = few_side.take(by_few.run().await?);
                    other_rate = f64::max(few, many_side.take(by_many.run().await?));
                }
            }
        }
        rounds.push(Round {
            ours: our_rate,
            baseline: other_rate,
        });
    }
    let most = sampler.stop().await?;
    let over = u64::from(most > i64::from(CONNECTIONS));
    let failures = sides.iter().map(|side| side.errors).sum::<u64>() + over;
    let [our_side, few_side, many_side] = &sides;
    let notes = vec![
        our_side.note("ours"),
        few_side.note("baseline with 2"),
        many_side.note("baseline with 60"),
        format!("most server connections of ours in any sample: {most}; {count} tenants"),
    ];
    few.stop().await?;
    many.stop().await?;
    let title = Title {
        row: Row::ManyTenants.name(),
        measure: "tenants at random, budget of 60 connections, 64 clients",
        compared_with: "connect, query and close under a semaphore, the better of 2 and 60",
        unit: "requests/s",
        goal: Goal::RatioAtLeast(0.7),
    };
    Ok(Figure::compared(title, rounds, failures, notes))
}

/// Every tenant is asked for once, so that all are known and their tokens verified.
async fn become_known(stage: &Stage, tenants: &[Tenant]) -> anyhow::Result<()> {
    let address = stage.app_address()?;
    stream::iter(tenants)
        .map(|tenant| async move {
            let mut client = Client::new(address);
            if let Some(request) = tenant.reads()?.first() {
                let answer = client.send(request).await?;
                anyhow::ensure!(answer.status.is_success(), "{}", answer.words());
            }
            anyhow::Ok(())
        })
        .buffer_unordered(4)
        .try_collect()
        .await
}

/// Counts the server's sessions of tenants' roles, and those that have not said yet whose they are.
const SESSIONS: &str = r"select count(*) from pg_stat_activity
    where usename like 't\_%' or (usename is null and backend_type = 'client backend')";

/// Who has sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    Ours,
    Baselines,
}

/// Looks at the server's sessions of tenants.
struct Sampler {
    over: Arc<AtomicBool>,
    counts: Arc<AtomicBool>,
    most: Arc<AtomicI64>,
    task: JoinHandle<Result<(), sqlx::Error>>,
}

impl Sampler {
    async fn start(stage: &Stage) -> anyhow::Result<Self> {
        let mut admin = stage.connect("postgres").await?;
        let (over, counts) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicBool::new(false)),
        );
        let most = Arc::new(AtomicI64::new(0));
        let (told, counting, seen) = (Arc::clone(&over), Arc::clone(&counts), Arc::clone(&most));
        let task = tokio::spawn(async move {
            while !told.load(Ordering::Relaxed) {
                let sessions: i64 = sqlx::query_scalar(SESSIONS).fetch_one(&mut admin).await?;
                if counting.load(Ordering::Relaxed) {
                    seen.fetch_max(sessions, Ordering::Relaxed);
                }
                tokio::time::sleep(SAMPLE_EVERY).await;
            }
            Ok(())
        });
        Ok(Self {
            over,
            counts,
            most,
            task,
        })
    }

    /// Whose sessions it sees from now on; only ours count.
    fn record(&self, whose: Whose) {
        self.counts.store(whose == Whose::Ours, Ordering::Relaxed);
    }

    async fn stop(self) -> anyhow::Result<i64> {
        self.over.store(true, Ordering::Relaxed);
        self.task.await??;
        Ok(self.most.load(Ordering::Relaxed))
    }
}
