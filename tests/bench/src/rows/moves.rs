//! Moves between clusters, and a restore: what the tenant's people notice of them.
//!
//! Deliberately under a steady load of writes. Invariant: every request counts, also those that were
//! held; one that fails is a failure of the row.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures::future::try_join_all;
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};
use tokio::process::Command;

use super::{First, Row, sides};
use crate::client::{Client, Prepared};
use crate::report::{Figure, Goal, Round, Title};
use crate::stage::{BUDGET, CLUSTER, SECOND, Stage, Tenant, run};
use crate::stats::percentile;

const CLIENTS: usize = 8;
/// Between two writes of a client: a steady load, and not all that two cores can do.
const PACE: Duration = Duration::from_millis(20);
/// The load goes on for so long before and after.
const AROUND: Duration = Duration::from_millis(500);
/// Rows that make a tenant of 100 MB, each with about 8 kB that do not compress.
pub(super) const BIG_ROWS: u32 = 12_500;
const SMALL_TENANTS: usize = 50;
const AT_ONCE: usize = 4;

/// A tenant of 100 MB moves to and fro.
pub(super) async fn one_big(stage: &mut Stage) -> anyhow::Result<Figure> {
    stage.app(BUDGET, &[]).await?;
    stage.second_cluster().await?;
    stage.only_placed_on(CLUSTER).await?;
    let tenant = newest(stage).await?;
    stage.placed_anywhere().await?;
    fill(stage, &tenant, BIG_ROWS).await?;
    let (mut held, mut failures, mut notes) = (Vec::new(), 0, Vec::new());
    for to in [SECOND, CLUSTER]
        .into_iter()
        .cycle()
        .take(usize::try_from(stage.options.rounds)?)
    {
        let path = format!("/v1/tenants/{}/move", tenant.id);
        let seen = under_load(stage, &tenant, &path, &json!({ "to": to })).await?;
        // Each client had one request that waited.
        held.extend(seen.slowest);
        failures += seen.failures;
        notes.extend(seen.first_failure);
    }
    notes.push(format!(
        "held requests: p50 {:.0} ms, p99 {:.0} ms of {}",
        percentile(&held, 50),
        percentile(&held, 99),
        held.len()
    ));
    let title = Title {
        row: Row::Move.name(),
        measure: "write pause of a tenant of 100 MB that moves, p99 of held requests",
        compared_with: "",
        unit: "ms",
        goal: Goal::OursAtMost(1000.0),
    };
    Ok(Figure::alone(
        title,
        &[percentile(&held, 99)],
        failures,
        notes,
    ))
}

/// A tenant goes back to a backup.
pub(super) async fn restore(stage: &mut Stage) -> anyhow::Result<Figure> {
    stage.app(BUDGET, &[]).await?;
    let tenant = newest(stage).await?;
    let id = &tenant.id;
    let backup = stage
        .operation(&format!("/v1/tenants/{id}/backups"), &json!({}))
        .await?;
    let backup = stage
        .backup_of(id)
        .await
        .with_context(|| backup.to_string())?;
    let body = json!({ "from": backup, "confirm": id, "keep_old_hours": 0 });
    let (mut gaps, mut notes, mut refused) = (Vec::new(), Vec::new(), 0);
    for _ in 0..stage.options.rounds {
        let path = format!("/v1/tenants/{id}/restore-backup");
        let seen = under_load(stage, &tenant, &path, &body).await?;
        gaps.push(seen.gap);
        refused += seen.failures;
        notes.extend(seen.first_failure);
    }
    notes.push(format!("{refused} requests were refused meanwhile"));
    let title = Title {
        row: Row::Restore.name(),
        measure: "restore by swap: time without service",
        compared_with: "",
        unit: "ms",
        goal: Goal::OursAtMost(1000.0),
    };
    Ok(Figure::alone(title, &gaps, 0, notes))
}

/// Fifty small tenants leave a cluster.
pub(super) async fn drain(stage: &mut Stage) -> anyhow::Result<Figure> {
    stage.app(BUDGET, &[]).await?;
    stage.second_cluster().await?;
    let mut rounds = Vec::new();
    for number in 0..stage.options.sized(2, 4) {
        stage.only_placed_on(SECOND).await?;
        let tenants = stage.new_tenants(SMALL_TENANTS).await?;
        stage.placed_anywhere().await?;
        let (mut ours, mut baseline) = (0.0, 0.0);
        for side in sides(number) {
            let began = Instant::now();
            match side {
                First::Ours => {
                    let body = json!({ "at_once": AT_ONCE });
                    let path = format!("/v1/clusters/{SECOND}/drain");
                    stage.operation(&path, &body).await?;
                    ours = began.elapsed().as_secs_f64();
                }
                First::Baseline => {
                    copy_all(stage, &tenants).await?;
                    baseline = began.elapsed().as_secs_f64();
                    drop_copies(stage, &tenants).await?;
                }
            }
        }
        rounds.push(Round { ours, baseline });
    }
    let title = Title {
        row: Row::Drain.name(),
        measure: "drain of 50 small tenants to another cluster",
        compared_with: "bare pg_dump | pg_restore of the same, as many at once",
        unit: "s",
        goal: Goal::RatioAtMost(1.5),
    };
    let notes = vec![format!("{AT_ONCE} at once")];
    Ok(Figure::compared(title, rounds, 0, notes))
}

pub(super) async fn newest(stage: &mut Stage) -> anyhow::Result<Tenant> {
    let mut made = stage.new_tenants(1).await?;
    made.pop().context("a tenant")
}

/// Gives a tenant so many rows of about 8 kB.
pub(super) async fn fill(stage: &Stage, tenant: &Tenant, rows: u32) -> anyhow::Result<()> {
    let mut admin = stage.connect(&tenant.id).await?;
    let statement = format!(
        "insert into entries.entry (id, title, body, created_by)
         select gen_random_uuid(), 'Big ' || number, jsonb_build_object('text', (
             select string_agg(md5(random()::text || number || part), '') from generate_series(1, 250) part
         )), 'usr_bench'
         from generate_series(1, {rows}) number"
    );
    run(&mut admin, statement).await
}

/// What clients saw while an operation ran.
struct Seen {
    /// The slowest request of each client, in milliseconds.
    slowest: Vec<f64>,
    /// The longest time in which no request was answered well, in milliseconds.
    gap: f64,
    failures: u64,
    first_failure: Option<String>,
}

async fn under_load(
    stage: &Stage,
    tenant: &Tenant,
    path: &str,
    body: &Value,
) -> anyhow::Result<Seen> {
    let over = Arc::new(AtomicBool::new(false));
    let entry = json!({ "title": "While it moves", "body": {} });
    let request = Prepared::post("/v1/entries", &entry)?
        .tenant(&tenant.id)?
        .bearer(&tenant.token)?;
    let address = stage.app_address()?;
    let writing: Vec<_> = (0..CLIENTS)
        .map(|_| tokio::spawn(keep_writing(address, request.clone(), Arc::clone(&over))))
        .collect();
    tokio::time::sleep(AROUND).await;
    let done = stage.operation(path, body).await;
    tokio::time::sleep(AROUND).await;
    over.store(true, Ordering::Relaxed);
    let written = try_join_all(writing).await?;
    done?;
    let mut answered: Vec<Instant> = written
        .iter()
        .flat_map(|one| one.answered.clone())
        .collect();
    answered.sort_unstable();
    ensure!(answered.len() > CLIENTS, "nothing was written");
    let gaps = answered.iter().zip(answered.iter().skip(1));
    let gap = gaps
        .map(|(before, after)| after.duration_since(*before))
        .max()
        .unwrap_or_default();
    Ok(Seen {
        slowest: written.iter().map(|one| one.slowest).collect(),
        gap: gap.as_secs_f64() * 1e3,
        failures: written.iter().map(|one| one.failures).sum(),
        first_failure: written.into_iter().find_map(|one| one.first_failure),
    })
}

#[derive(Default)]
struct Written {
    answered: Vec<Instant>,
    slowest: f64,
    failures: u64,
    first_failure: Option<String>,
}

async fn keep_writing(address: SocketAddr, request: Prepared, over: Arc<AtomicBool>) -> Written {
    let mut client = Client::new(address);
    let mut written = Written::default();
    while !over.load(Ordering::Relaxed) {
        let sent = Instant::now();
        let failure = match client.send(&request).await {
            Ok(answer) if answer.status.is_success() => {
                written.answered.push(Instant::now());
                written.slowest = written.slowest.max(sent.elapsed().as_secs_f64() * 1e3);
                tokio::time::sleep(PACE).await;
                continue;
            }
            Ok(answer) => answer.words(),
            Err(error) => format!("{error:#}"),
        };
        written.failures += 1;
        written.first_failure.get_or_insert(failure);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    written
}

/// What a script would do: make each database and pipe the old one into it.
async fn copy_all(stage: &Stage, tenants: &[Tenant]) -> anyhow::Result<()> {
    let bin = stage.programs();
    stream::iter(tenants)
        .map(|tenant| copy(stage, bin, &tenant.id))
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
}

async fn drop_copies(stage: &Stage, tenants: &[Tenant]) -> anyhow::Result<()> {
    let mut admin = stage.connect("postgres").await?;
    for tenant in tenants {
        run(
            &mut admin,
            format!(r#"drop database "bench:{}""#, tenant.id),
        )
        .await?;
    }
    Ok(())
}

async fn copy(stage: &Stage, bin: &Path, tenant: &str) -> anyhow::Result<()> {
    let copy = format!("bench:{tenant}");
    let mut admin = stage.connect("postgres").await?;
    run(
        &mut admin,
        format!(r#"create database "{copy}" template template0"#),
    )
    .await?;
    let (from, to) = stage.where_is(tenant).await?;
    let mut dump = Command::new(bin.join("pg_dump"))
        .args(["-Fc", "-Z0", "-d", tenant])
        .envs(from)
        .stdout(Stdio::piped())
        .spawn()?;
    let dumped: Stdio = dump.stdout.take().context("a pipe")?.try_into()?;
    let restored = Command::new(bin.join("pg_restore"))
        .args(["--no-owner", "--exit-on-error", "-d", &copy])
        .envs(to)
        .stdin(dumped)
        .status()
        .await?;
    let dumped = dump.wait().await?;
    ensure!(
        restored.success() && dumped.success(),
        "{tenant} was not copied"
    );
    Ok(())
}
