//! How soon a change of a tenant has reached every replica of app-service.
//!
//! Deliberately what the API says with `wait=replicas`: a replica has heard when it says so, and serves by it from then
//! on. Suspension has a row of its own. Invariant: both replicas serve the tenant while it is changed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Row;
use super::reads::all_reads;
use crate::load::Load;
use crate::report::{Figure, Goal, Title};
use crate::stage::{BUDGET, Stage};
use crate::stats::percentile;

const CLIENTS: usize = 2;

pub(super) async fn measure(stage: &mut Stage) -> anyhow::Result<Figure> {
    stage.app(BUDGET, &[]).await?;
    let tenant = stage.new_tenants(1).await?.remove(0);
    let other = stage.another_app(stage.platform_internal()?).await?;
    let samples = stage.options.sized(4, 10);
    let (mut tiers, mut names, mut passwords, mut failures) = (vec![], vec![], vec![], 0);
    for _ in 0..stage.options.rounds {
        let over = Arc::new(AtomicBool::new(false));
        let loads = [stage.app_address()?, other.address()?].map(|address| {
            let requests = all_reads(std::slice::from_ref(&tenant));
            let over = Arc::clone(&over);
            tokio::spawn(async move {
                let load = Load {
                    address,
                    clients: CLIENTS,
                    pause: Duration::from_millis(10),
                    lasts: Duration::from_millis(200),
                    requests: requests?,
                };
                let mut errors = 0;
                while !over.load(Ordering::Relaxed) {
                    errors += load.run().await?.errors;
                }
                anyhow::Ok(errors)
            })
        });
        for sample in 0..samples {
            let tier = ["premium", "enterprise"][sample % 2];
            tiers.push(stage.change(&tenant.id, &json!({ "tier": tier })).await?);
            let company = format!("Company of round {sample}");
            names.push(
                stage
                    .change(&tenant.id, &json!({ "company": company }))
                    .await?,
            );
            let began = Instant::now();
            let path = format!("/v1/tenants/{}/rotate?wait=replicas", tenant.id);
            let _: Value = stage.operation(&path, &json!({})).await?;
            passwords.push(began.elapsed().as_secs_f64() * 1e3);
        }
        over.store(true, Ordering::Relaxed);
        for load in loads {
            failures += load.await??;
        }
    }
    other.stop().await?;
    let notes =
        [("tier", &tiers), ("name", &names), ("password", &passwords)].map(|(what, times)| {
            format!(
                "{what}: p50 {:.0} ms, slowest {:.0} ms of {}",
                percentile(times, 50),
                percentile(times, 100),
                times.len()
            )
        });
    let slowest = [&tiers, &names, &passwords].map(|times| percentile(times, 100));
    let title = Title {
        row: Row::News.name(),
        measure: "a new tier, name, password under load: until 2 replicas have it, slowest",
        compared_with: "",
        unit: "ms",
        goal: Goal::EachAtMost(5000.0),
    };
    Ok(Figure::alone(title, &slowest, failures, notes.into()))
}
