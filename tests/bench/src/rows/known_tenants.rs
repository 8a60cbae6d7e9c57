//! Ten thousand tenants in the registry: how soon platform-service is ready after a start, and what it costs.
//!
//! Deliberately rows that are made by SQL and have no database: what is measured is the registry's size. Invariant:
//! they are gone afterwards, so that no other row meets them.

use std::time::Instant;

use serde_json::Value;

use super::Row;
use crate::report::{Figure, Goal, Title};
use crate::stage::{BUDGET, Stage, run};
use crate::stats::median;

const KNOWN: i32 = 10_000;
/// What a tenant may cost platform-service.
const MOST_KIB: f64 = 128.0;
/// A page of them.
const PAGE: &str = "/v1/tenants?limit=100";

pub(super) async fn measure(stage: &mut Stage) -> anyhow::Result<Figure> {
    stage.app(BUDGET, &[]).await?;
    let one = stage.tenants(1).await?.remove(0);
    stage.platform_ready_again().await?;
    let few = looked_at(stage).await?;
    let measured = with_many(stage, &one.id).await;
    let mut registry = stage.registry().await?;
    sqlx::query("delete from registry.tenant where id like 't\\_known\\_%'")
        .execute(&mut registry)
        .await?;
    // The next row is not to pay for them.
    run(&mut registry, "vacuum analyze registry.tenant".to_owned()).await?;
    let Measured {
        times,
        memory,
        pages,
    } = measured?;
    let each = (median(&memory) - few) / f64::from(KNOWN);
    let notes = vec![format!(
        "{KNOWN} tenants; memory {:.2} KiB for each, which is a failure above {MOST_KIB:.0}; a page of 100 in {:.1} ms",
        each.max(0.0),
        median(&pages)
    )];
    let title = Title {
        row: Row::KnownTenants.name(),
        measure: "10,000 tenants in the registry: platform-service started until ready",
        compared_with: "",
        unit: "ms",
        goal: Goal::EachAtMost(5000.0),
    };
    Ok(Figure::alone(
        title,
        &times,
        u64::from(each > MOST_KIB),
        notes,
    ))
}

#[derive(Default)]
struct Measured {
    times: Vec<f64>,
    memory: Vec<f64>,
    pages: Vec<f64>,
}

async fn with_many(stage: &mut Stage, like: &str) -> anyhow::Result<Measured> {
    make(stage, like).await?;
    let mut measured = Measured::default();
    for _ in 0..stage.options.rounds {
        let ready = stage.platform_ready_again().await?;
        measured.times.push(ready.as_secs_f64() * 1e3);
        let began = Instant::now();
        let _: Value = stage.look(PAGE).await?;
        measured.pages.push(began.elapsed().as_secs_f64() * 1e3);
        measured.memory.push(looked_at(stage).await?);
    }
    Ok(measured)
}

/// The memory of platform-service in KiB, after it was asked for tenants.
async fn looked_at(stage: &Stage) -> anyhow::Result<f64> {
    let _: Value = stage.look(PAGE).await?;
    Ok(stage.platform_memory_kib()? as f64)
}

/// Rows like that tenant's.
async fn make(stage: &Stage, like: &str) -> anyhow::Result<()> {
    sqlx::query(
        "insert into registry.tenant (id, slug, company, contact_email, status, tier, region,
             time_zone, cluster, copy, credentials, schema_versions, activated_at)
         select 't_known_' || number, 'known-' || number, company, contact_email, status, tier, region,
             time_zone, cluster, copy, credentials, schema_versions, now()
         from registry.tenant, generate_series(1, $2) as number
         where tenant.id = $1",
    )
    .bind(like)
    .bind(KNOWN)
    .execute(&mut stage.registry().await?)
    .await?;
    Ok(())
}
