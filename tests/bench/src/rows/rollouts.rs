//! Roll-outs over many tenants: one new column, and nothing to do.
//!
//! Deliberately with the one statement that fleets run most. Invariant: both sides add a column of
//! their own to the same table of the same databases, as the same role, as many at once.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use contract::operator::fleet::Selection;
use contract::operator::operation::OperationView;
use contract::operator::rollout::{RolloutRequest, RolloutState, RolloutView};
use futures::{StreamExt, TryStreamExt, stream};
use sqlx::Connection;
use time::OffsetDateTime;

use super::{First, Row, sides};
use crate::report::{Figure, Goal, Round, Title};
use crate::stage::{BUDGET, Stage, run};

const AT_ONCE: u16 = 4;
/// Seldom: looking is work for the same two cores, and the roll-out itself says when it was over.
const POLL: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(300);

/// The settings of a service whose requests leave migrations to roll-outs.
const BY_ROLL_OUT: [(&str, &str); 1] = [("migrations.on_demand", "minimum")];

pub(super) async fn one_column(stage: &mut Stage) -> anyhow::Result<Figure> {
    let count = stage.options.sized(100, 500);
    let tenants = prepared(stage, count).await?;
    let (mut rounds, mut failures) = (Vec::new(), 0);
    for number in 0..stage.options.rounds {
        stage.release();
        stage.app(BUDGET, &BY_ROLL_OUT).await?;
        // The new template is not to be made while something is measured.
        stage.current_template().await?;
        let (mut ours, mut baseline) = (0.0, 0.0);
        for side in sides(number) {
            match side {
                First::Ours => {
                    let (view, seconds) = roll_out(stage, &tenants).await?;
                    failures += view.tally.failed;
                    ensure!(
                        view.tally.done == count as u64,
                        "{} of {count} tenants were migrated",
                        view.tally.done
                    );
                    ours = count as f64 / seconds;
                }
                First::Baseline => {
                    let seconds = bare_loop(stage, &tenants, number).await?;
                    baseline = count as f64 / seconds;
                }
            }
        }
        rounds.push(Round { ours, baseline });
    }
    let title = Title {
        row: Row::RollOut.name(),
        measure: "roll-out of one new column",
        compared_with: "connect and the same statement, as many at once",
        unit: "tenants/s",
        goal: Goal::RatioAtLeast(0.8),
    };
    let notes = vec![format!("{count} tenants, {AT_ONCE} at once")];
    Ok(Figure::compared(title, rounds, failures, notes))
}

pub(super) async fn nothing_to_do(stage: &mut Stage) -> anyhow::Result<Figure> {
    let count = stage.options.sized(100, 500);
    let tenants = prepared(stage, count).await?;
    stage.app(BUDGET, &BY_ROLL_OUT).await?;
    roll_out(stage, &tenants).await?;
    let mut times = Vec::new();
    for _ in 0..stage.options.rounds {
        let (view, seconds) = roll_out(stage, &tenants).await?;
        ensure!(view.tally.done == 0, "there was something to do");
        times.push(seconds * 1e3);
    }
    let title = Title {
        row: Row::RollOutNothing.name(),
        measure: "roll-out with nothing to do",
        compared_with: "",
        unit: "ms",
        goal: Goal::OursAtMost(1000.0),
    };
    let notes = vec![format!("{count} tenants")];
    Ok(Figure::alone(title, &times, 0, notes))
}

async fn prepared(stage: &mut Stage, count: usize) -> anyhow::Result<Vec<String>> {
    stage.app(BUDGET, &[]).await?;
    let tenants = stage.tenants(count).await?;
    Ok(tenants.into_iter().map(|tenant| tenant.id).collect())
}

/// Starts a roll-out over these tenants and waits for its end; gives the seconds that it took.
async fn roll_out(stage: &Stage, tenants: &[String]) -> anyhow::Result<(RolloutView, f64)> {
    let request = RolloutRequest {
        filter: Selection {
            ids: tenants
                .iter()
                .map(|tenant| tenant.parse())
                .collect::<Result<_, _>>()?,
            ..Selection::default()
        },
        concurrency: AT_ONCE,
        ..RolloutRequest::default()
    };
    let (began, began_at) = (Instant::now(), OffsetDateTime::now_utc());
    let body = serde_json::to_value(&request)?;
    let begun: OperationView = stage.operate("/v1/rollouts", &body).await?;
    let path = format!("/v1/rollouts/{}", begun.summary.id);
    let mut view: RolloutView = stage.look(&path).await?;
    while !view.state.is_over() {
        if view.state != RolloutState::Running || began.elapsed() > PATIENCE {
            bail!("the roll-out is {:?}: {:?}", view.state, view.tally);
        }
        tokio::time::sleep(POLL).await;
        view = stage.look(&path).await?;
    }
    let over = view.finished_at.context("a time at which it was over")?;
    Ok((view, (over - began_at).as_seconds_f64()))
}

/// What a script would do: connect, add the column, close.
async fn bare_loop(stage: &Stage, tenants: &[String], number: u32) -> anyhow::Result<f64> {
    let login = stage.schema_login().await?;
    let began = Instant::now();
    stream::iter(tenants.iter())
        .map(|tenant| async {
            let mut connection = stage.connect_as(&login, tenant).await?;
            let statement =
                format!("alter table reference.contact add column baseline_{number} text");
            run(&mut connection, statement).await?;
            connection.close().await?;
            anyhow::Ok(())
        })
        .buffer_unordered(usize::from(AT_ONCE))
        .try_collect::<()>()
        .await?;
    Ok(began.elapsed().as_secs_f64())
}
