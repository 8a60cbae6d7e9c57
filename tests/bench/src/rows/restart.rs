//! A restart of PostgreSQL under load: how soon every tenant is served again.
//!
//! Deliberately both ways of stopping in turn: `fast` ends sessions with a word, `immediate` like a
//! crash. Invariant: what fails while the server is down is nobody's failure; what fails after the
//! last tenant was served again is.

use std::time::{Duration, Instant};

use anyhow::ensure;
use futures::future::try_join_all;
use postgres_server::StopMode;

use super::Row;
use super::reads::all_reads;
use crate::client::{Client, Prepared};
use crate::load::Load;
use crate::report::{Figure, Goal, Title};
use crate::stage::{BUDGET, Stage};

const CLIENTS: usize = 32;
const AFTERWARDS: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(60);
/// A refused request is sent again after this.
const PAUSE: Duration = Duration::from_millis(5);

pub(super) async fn measure(stage: &mut Stage) -> anyhow::Result<Figure> {
    stage.app(BUDGET, &[]).await?;
    let tenants = stage.tenants(stage.options.sized(50, 200)).await?;
    let address = stage.app_address()?;
    let load = Load {
        address,
        clients: CLIENTS,
        pause: Duration::ZERO,
        lasts: AFTERWARDS,
        requests: all_reads(&tenants)?,
    };
    let probes: Vec<Prepared> = tenants
        .iter()
        .filter_map(|tenant| tenant.reads().ok()?.into_iter().next())
        .collect();
    let (mut times, mut failures, mut notes) = (Vec::new(), 0, Vec::new());
    for mode in [StopMode::Fast, StopMode::Immediate]
        .into_iter()
        .cycle()
        .take(usize::try_from(stage.options.rounds)?)
    {
        load.run().await?;
        // Under load: its errors are those of a server that is down.
        let disturbed = tokio::spawn({
            let load = load.clone();
            async move { load.run().await }
        });
        stage.restart(mode).await?;
        let ready = Instant::now();
        try_join_all(
            probes
                .iter()
                .map(|probe| served(Client::new(address), probe)),
        )
        .await?;
        times.push(ready.elapsed().as_secs_f64() * 1e3);
        disturbed.await??;
        let after = load.run().await?;
        failures += after.errors;
        notes.extend(after.first_error);
    }
    let title = Title {
        row: Row::Restart.name(),
        measure: "PostgreSQL restarted under load: until all tenants are served",
        compared_with: "",
        unit: "ms",
        goal: Goal::OursAtMost(1000.0),
    };
    Ok(Figure::alone(title, &times, failures, notes))
}

/// Asks until it is answered.
async fn served(mut client: Client, probe: &Prepared) -> anyhow::Result<()> {
    let began = Instant::now();
    loop {
        if let Ok(answer) = client.send(probe).await
            && answer.status.is_success()
        {
            return Ok(());
        }
        ensure!(began.elapsed() < PATIENCE, "a tenant is not served again");
        tokio::time::sleep(PAUSE).await;
    }
}
