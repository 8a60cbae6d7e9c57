//! Sign-ups: from stock, from the template, and many at once.
//!
//! Deliberately without the cost of hashing a password, which is the same whatever a tenant is.
//! Invariant: the databases of a baseline are dropped between rounds, never while something is
//! measured.

use std::time::Instant;

use anyhow::ensure;
use futures::future::join_all;
use sqlx::Connection;

use super::{First, Row, sides};
use crate::client::Client;
use crate::reference;
use crate::report::{Figure, Goal, Round, Title};
use crate::stage::{BUDGET, Stage, run};
use crate::stats::{median, percentile};

const STOCK: u32 = 2;
const AT_ONCE: usize = 32;
const CLAIMS: u32 = 16;
/// The step that takes a ready database.
const CLAIM: &str = "database";
/// Sign-ups before the first that counts: each of the platform's twenty connections prepares its statements
/// once in its life, and they take turns.
const WARM_UP: usize = 60;
/// What the databases of a baseline are called, before their number.
const BASELINE: &str = "bench:baseline";

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

/// With ready databases, against making one from nothing.
pub(super) async fn from_stock(stage: &mut Stage) -> anyhow::Result<Figure> {
    stage.app(BUDGET, &[]).await?;
    stage.platform(STOCK).await?;
    stage.tenants(1).await?;
    stage.new_tenants(WARM_UP).await?;
    let samples = stage.options.sized(10, 30);
    let (mut rounds, mut all) = (Vec::new(), Vec::new());
    for number in 0..stage.options.rounds {
        let (mut ours, mut baseline) = (Vec::new(), Vec::new());
        for sample in 0..samples {
            for side in sides(number + sample) {
                stage.stocked(STOCK).await?;
                match side {
                    First::Ours => ours.push(sign_up(stage).await?),
                    First::Baseline => baseline.push(from_nothing(stage, sample).await?),
                }
            }
        }
        drop_baselines(stage, samples).await?;
        all.extend(ours.iter().copied());
        rounds.push(round(&ours, &baseline));
    }
    let title = Title {
        row: Row::FromStock.name(),
        measure: "sign-up to active from stock, p50",
        compared_with: "an empty database and 25 tables, migration by migration",
        unit: "ms",
        goal: Goal::RatioAtMost(0.15),
    };
    let notes = vec![
        spread(&all),
        stage.step_times(i64::try_from(all.len())?).await?,
    ];
    Ok(Figure::compared(title, rounds, 0, notes))
}

/// Without ready databases, against the bare copy of the template.
pub(super) async fn from_template(stage: &mut Stage) -> anyhow::Result<Figure> {
    stage.app(BUDGET, &[]).await?;
    stage.platform(0).await?;
    stage.tenants(1).await?;
    stage.new_tenants(WARM_UP).await?;
    use_up_stock(stage).await?;
    let template = stage.template().await?;
    let samples = stage.options.sized(10, 30);
    let (mut rounds, mut all) = (Vec::new(), Vec::new());
    for number in 0..stage.options.rounds {
        let (mut ours, mut baseline) = (Vec::new(), Vec::new());
        for sample in 0..samples {
            for side in sides(number + sample) {
                match side {
                    First::Ours => ours.push(sign_up(stage).await?),
                    First::Baseline => baseline.push(copy(stage, &template, sample).await?),
                }
            }
        }
        drop_baselines(stage, samples).await?;
        all.extend(ours.iter().copied());
        rounds.push(round(&ours, &baseline));
    }
    let title = Title {
        row: Row::FromTemplate.name(),
        measure: "sign-up to active from template, p50",
        compared_with: "bare create database ... template",
        unit: "ms",
        goal: Goal::RatioAtMost(1.6),
    };
    let notes = vec![
        spread(&all),
        stage.step_times(i64::try_from(all.len())?).await?,
    ];
    Ok(Figure::compared(title, rounds, 0, notes))
}

/// Sixteen who take sixteen ready databases at once.
pub(super) async fn claims(stage: &mut Stage) -> anyhow::Result<Figure> {
    stage.app(BUDGET, &[]).await?;
    stage.platform(CLAIMS).await?;
    stage.tenants(1).await?;
    stage.new_tenants(WARM_UP).await?;
    let address = stage.platform_address()?;
    let (mut slow, mut failures, mut notes) = (Vec::new(), 0, Vec::new());
    for _ in 0..stage.options.rounds {
        stage.stocked(CLAIMS).await?;
        let signups = (0..CLAIMS)
            .map(|_| stage.signup())
            .collect::<anyhow::Result<Vec<_>>>()?;
        let ended = join_all(signups.iter().map(|signup| async move {
            let mut client = Client::new(address);
            signup.send(&mut client).await
        }))
        .await;
        failures += ended.iter().filter(|ended| ended.is_err()).count() as u64;
        let times = stage.times_of_step(CLAIM, i64::from(CLAIMS)).await?;
        ensure!(!times.is_empty(), "no database was claimed");
        notes.push(format!(
            "p50 {:.1} ms, slowest {:.1} ms of {}",
            percentile(&times, 50),
            percentile(&times, 100),
            times.len()
        ));
        slow.push(percentile(&times, 99));
    }
    stage.platform(0).await?;
    use_up_stock(stage).await?;
    let title = Title {
        row: Row::Claims.name(),
        measure: "16 claims of ready databases at once, p99",
        compared_with: "",
        unit: "ms",
        goal: Goal::OursAtMost(50.0),
    };
    Ok(Figure::alone(title, &slow, failures, notes))
}

/// 32 at once, with the stock of a small installation.
pub(super) async fn burst(stage: &mut Stage) -> anyhow::Result<Figure> {
    stage.app(BUDGET, &[]).await?;
    stage.platform(STOCK).await?;
    stage.tenants(1).await?;
    let address = stage.platform_address()?;
    let (mut rates, mut slowest, mut failures, mut notes) = (Vec::new(), Vec::new(), 0, Vec::new());
    for _ in 0..stage.options.rounds {
        stage.stocked(STOCK).await?;
        let signups = (0..AT_ONCE)
            .map(|_| stage.signup())
            .collect::<anyhow::Result<Vec<_>>>()?;
        let started = Instant::now();
        let ended = join_all(signups.iter().map(|signup| async move {
            let mut client = Client::new(address);
            signup.send(&mut client).await
        }))
        .await;
        let seconds = started.elapsed().as_secs_f64();
        let (done, failed): (Vec<_>, Vec<_>) = ended.into_iter().partition(Result::is_ok);
        failures += failed.len() as u64;
        if let Some(Err(error)) = failed.into_iter().next() {
            notes.push(format!("first failure: {error:#}"));
        }
        let times: Vec<f64> = done.into_iter().flatten().map(|(_, time)| time).collect();
        rates.push(times.len() as f64 / seconds);
        slowest.push(percentile(&times, 100));
    }
    notes.push(format!(
        "the last one is active after {:.0} ms",
        median(&slowest)
    ));
    let title = Title {
        row: Row::Burst.name(),
        measure: "32 sign-ups at once, all active",
        compared_with: "",
        unit: "tenants/s",
        goal: Goal::NoFailure,
    };
    Ok(Figure::alone(title, &rates, failures, notes))
}

fn round(ours: &[f64], baseline: &[f64]) -> Round {
    Round {
        ours: median(ours),
        baseline: median(baseline),
    }
}

fn spread(ours: &[f64]) -> String {
    format!(
        "ours: p50 {:.1} ms, p90 {:.1} ms, slowest {:.1} ms of {}",
        percentile(ours, 50),
        percentile(ours, 90),
        percentile(ours, 100),
        ours.len()
    )
}

async fn sign_up(stage: &mut Stage) -> anyhow::Result<f64> {
    let signup = stage.signup()?;
    let mut client = Client::new(stage.platform_address()?);
    client.connect().await?;
    let (_, time) = signup.send(&mut client).await?;
    Ok(time)
}

/// Makes an empty database and runs all migrations in it.
async fn from_nothing(stage: &Stage, number: u32) -> anyhow::Result<f64> {
    let mut admin = stage.connect("postgres").await?;
    let name = format!("{BASELINE}:{number}");
    let started = Instant::now();
    run(
        &mut admin,
        format!(r#"create database "{name}" template template0"#),
    )
    .await?;
    let mut connection = stage.connect(&name).await?;
    reference::migrate(&mut connection).await?;
    connection.close().await?;
    Ok(milliseconds(started))
}

/// Copies the template and nothing else.
async fn copy(stage: &Stage, template: &str, number: u32) -> anyhow::Result<f64> {
    let mut admin = stage.connect("postgres").await?;
    let name = format!("{BASELINE}:{number}");
    let started = Instant::now();
    run(
        &mut admin,
        format!(r#"create database "{name}" template "{template}""#),
    )
    .await?;
    Ok(milliseconds(started))
}

async fn drop_baselines(stage: &Stage, samples: u32) -> anyhow::Result<()> {
    let mut admin = stage.connect("postgres").await?;
    for number in 0..samples {
        run(
            &mut admin,
            format!(r#"drop database "{BASELINE}:{number}""#),
        )
        .await?;
    }
    Ok(())
}

/// Signs up until no ready database is left of an earlier row.
async fn use_up_stock(stage: &mut Stage) -> anyhow::Result<()> {
    for _ in 0..=CLAIMS * 2 {
        let left: i64 = sqlx::query_scalar("select count(*) from registry.stock")
            .fetch_one(&mut stage.registry().await?)
            .await?;
        if left == 0 {
            return Ok(());
        }
        sign_up(stage).await?;
    }
    ensure!(false, "the stock does not end");
    Ok(())
}
