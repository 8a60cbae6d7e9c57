//! A big tenant goes back to a backup: how long that takes, and what its neighbours notice.
//!
//! Deliberately without requests of the tenant itself; those have a row of their own. Invariant: the backup and the
//! restore run at the platform's own settings.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::json;

use super::{Row, moves, neighbours};
use crate::load::Load;
use crate::report::{Figure, Goal, Title};
use crate::stage::{CLUSTER, Stage};
use crate::stats::percentile;

/// Until the neighbours are asked whether the restore is over.
const LAPS: Duration = Duration::from_secs(2);

pub(super) async fn measure(stage: &mut Stage) -> anyhow::Result<Figure> {
    let neighbours = neighbours::others(stage).await?;
    stage.only_placed_on(CLUSTER).await?;
    let tenant = moves::newest(stage).await?;
    stage.placed_anywhere().await?;
    let (words, rows) = stage
        .options
        .sized(("100 MB", moves::BIG_ROWS), ("1 GB", moves::BIG_ROWS * 10));
    moves::fill(stage, &tenant, rows).await?;
    let id = &tenant.id;
    let began = Instant::now();
    stage
        .operation(&format!("/v1/tenants/{id}/backups"), &json!({}))
        .await?;
    let mut notes = vec![format!(
        "{words}; the backup took {:.1} s",
        began.elapsed().as_secs_f64()
    )];
    let backup = stage.backup_of(id).await?;
    let body = json!({ "from": backup, "confirm": id, "keep_old_hours": 0 });
    let path = format!("/v1/tenants/{id}/restore-backup");
    let (mut times, mut failures) = (Vec::new(), 0);
    for _ in 0..stage.options.sized(2, 1) {
        let quiet = neighbours.run().await?;
        let lap = Load {
            lasts: LAPS,
            ..neighbours.clone()
        };
        let began = Instant::now();
        let restored = async {
            stage.operation(&path, &body).await?;
            anyhow::Ok(began.elapsed().as_secs_f64())
        };
        let mut restored = std::pin::pin!(restored);
        let (mut meanwhile, mut time) = (Vec::new(), None);
        while time.is_none() {
            let lapped = tokio::time::timeout(LAPS, &mut restored);
            let (ended, measured) = tokio::join!(lapped, lap.run());
            let measured = measured?;
            failures += measured.errors;
            meanwhile.extend(measured.latencies);
            time = ended.ok().transpose()?;
        }
        times.push(time.context("a time")?);
        failures += quiet.errors;
        notes.push(format!(
            "neighbours' p99: {:.1} ms meanwhile, {:.1} ms without",
            percentile(&meanwhile, 99),
            percentile(&quiet.latencies, 99)
        ));
    }
    let title = Title {
        row: Row::BigRestore.name(),
        measure: "restore of a big tenant",
        compared_with: "",
        unit: "s",
        goal: Goal::EachAtMost(600.0),
    };
    Ok(Figure::alone(title, &times, failures, notes))
}
