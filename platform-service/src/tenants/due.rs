//! What becomes due in a tenant's life by itself: a suspension ends, a retention is over.
//!
//! Deliberately only begins operations. Invariants: replicas may look at once: a tenant has one live
//! operation; that something is due is true of the locked row, not only of what was read before.

use std::time::Duration;

use contract::TenantId;
use kit::error::{Result, chain};
use sqlx::{Postgres, Transaction};
use time::OffsetDateTime;

use super::store;
use crate::audit::Actor;
use crate::operations::begin::{Started, spawn};
use crate::operations::purge::PurgePlan;
use crate::operations::resume::ResumePlan;
use crate::operations::{Plan, Subject};
use crate::pace;
use crate::platform::Platform;
use crate::registry::Held;

/// How often it is looked.
const LOOK: Duration = Duration::from_secs(1);
/// How long a tenant whose purge was undone is left alone at least: the cause of it seldom passes in less.
const REST: Duration = Duration::from_secs(60 * 60);
/// Suspensions that are ended at one look.
const RESUMED_AT_ONCE: i64 = 100;

/// Begins what is due, until the service stops.
pub(crate) async fn keep(platform: Platform) {
    let mut tick = pace::every(LOOK);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = platform.stopping.cancelled() => return,
        }
        if let Err(error) = end_suspensions(&platform).await {
            tracing::warn!(cause = chain(&error), "suspensions could not be ended");
        }
        if let Err(error) = purge(&platform).await {
            tracing::warn!(cause = chain(&error), "deleted tenants could not be purged");
        }
    }
}

async fn end_suspensions(platform: &Platform) -> Result<()> {
    let over = {
        let mut connection = platform.registry.acquire().await?;
        store::life::suspensions_over(&mut connection, RESUMED_AT_ONCE).await?
    };
    for tenant in over {
        let resumed = resume(platform, &tenant).await;
        report(&tenant, resumed, "a suspension could not be ended");
    }
    Ok(())
}

/// Purges are a drop each, which makes the whole server write: a few at once, when it is quiet.
async fn purge(platform: &Platform) -> Result<()> {
    let settings = &platform.settings.purge;
    if !settings.window.contains(OffsetDateTime::now_utc().time()) {
        return Ok(());
    }
    let due = {
        let mut connection = platform.registry.acquire().await?;
        store::purge::due(&mut connection, settings.at_once, REST).await?
    };
    for tenant in due {
        let purged = purge_one(platform, &tenant).await;
        report(&tenant, purged, "a deleted tenant could not be purged");
    }
    Ok(())
}

async fn resume(platform: &Platform, tenant: &TenantId) -> Result<()> {
    let mut transaction = platform.registry.begin().await?;
    // Somebody may have held it back anew, or deleted it, since it was looked.
    if store::life::lock_where_over(&mut transaction, tenant).await? {
        start(platform, transaction, tenant, ResumePlan {}).await?;
    }
    Ok(())
}

async fn purge_one(platform: &Platform, tenant: &TenantId) -> Result<()> {
    let mut transaction = platform.registry.begin().await?;
    // Somebody may have brought it back since it was looked.
    if let Some(wish) = store::purge::lock_where_due(&mut transaction, tenant).await? {
        let plan = PurgePlan::new(wish);
        start(platform, transaction, tenant, plan).await?;
    }
    Ok(())
}

/// One tenant's trouble is not that of those who come after it.
fn report(tenant: &TenantId, outcome: Result<()>, what: &str) {
    if let Err(error) = outcome {
        tracing::warn!(tenant.id = %tenant, cause = chain(&error), "{what}");
    }
}

/// The last of a transaction that holds the tenant's row.
async fn start(
    platform: &Platform,
    mut transaction: Held<Transaction<'static, Postgres>>,
    tenant: &TenantId,
    plan: impl Into<Plan>,
) -> Result<()> {
    let subject = Subject::Tenant(tenant.clone());
    let started = spawn(
        &mut transaction,
        Actor::Platform,
        None,
        subject,
        plan.into(),
    )
    .await?;
    transaction.commit().await?;
    if started != Started::Busy {
        platform.runner.nudge();
    }
    Ok(())
}
