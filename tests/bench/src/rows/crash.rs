//! A crash of PostgreSQL with many databases: how soon it accepts logins again.
//!
//! Deliberately a crash of the server and not of the machine, whose caches stay. Right after all tenants were made,
//! what is replayed is mostly the making of them: that crash is a note, those after a checkpoint are the figure.
//! Invariant: each round has something to recover, the files of databases among it.

use super::Row;
use crate::report::{Figure, Goal, Title};
use crate::stage::{BUDGET, Stage, run};

/// Databases that are made before each crash.
const MADE: u32 = 10;

pub(super) async fn measure(stage: &mut Stage) -> anyhow::Result<Figure> {
    stage.app(BUDGET, &[]).await?;
    let count = stage.options.sized(100, 1000);
    stage.tenants(count).await?;
    let template = stage.template().await?;
    let signed_up = stage.options.sized(100, 200);
    stage.new_tenants(signed_up).await?;
    let after_all = stage.crash().await?.as_secs_f64();
    run(
        &mut stage.connect("postgres").await?,
        "checkpoint".to_owned(),
    )
    .await?;
    let mut times = Vec::new();
    for _ in 0..stage.options.rounds {
        // By hand: the platform has just lost all its connections, and says so to whoever signs up first.
        let mut admin = stage.connect("postgres").await?;
        for number in 0..MADE {
            let made = format!(r#"create database "bench:crash:{number}" template "{template}""#);
            run(&mut admin, made).await?;
        }
        times.push(stage.crash().await?.as_secs_f64() * 1e3);
        let mut admin = stage.connect("postgres").await?;
        for number in 0..MADE {
            run(
                &mut admin,
                format!(r#"drop database "bench:crash:{number}""#),
            )
            .await?;
        }
    }
    let title = Title {
        row: Row::Crash.name(),
        measure: "PostgreSQL crashed with many databases: until it accepts logins",
        compared_with: "",
        unit: "ms",
        goal: Goal::EachAtMost(10_000.0),
    };
    let notes = vec![format!(
        "{} tenants; {after_all:.1} s when it crashed right after {signed_up} sign-ups, with those to replay",
        count + signed_up
    )];
    Ok(Figure::alone(title, &times, 0, notes))
}
