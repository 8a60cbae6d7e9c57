//! Backups by their tenants' tiers, and the end of what is kept for a time: those, exports, last backups.
//!
//! Deliberately only begins operations: what fails is seen there and tried at the next look.
//! Invariants: one process looks at a time; the newest backup of a tenant that can be restored is
//! never removed by a schedule.

use std::time::Duration;

use contract::operator::backup::{BackupId, BackupKind};
use kit::error::{Problem, chain};
use sqlx::PgConnection;

use super::store::{self, due};
use super::{archive, found};
use crate::audit::Actor;
use crate::operations::begin::{Started, spawn};
use crate::operations::{BackupPlan, ForgetBackupPlan, OperationKind, Subject};
use crate::pace;
use crate::platform::Platform;

/// Backups by schedule that are made at once on a cluster.
const PER_CLUSTER: i64 = 2;
/// The most of each that one look begins.
const PER_LOOK: i64 = 100;
pub(super) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Looks for what is due until the service stops.
pub(crate) async fn keep(platform: Platform) {
    let mut tick = pace::every(platform.settings.backups.check_every.get());
    let mut warned = false;
    loop {
        tokio::select! {
            biased;
            () = platform.stopping.cancelled() => return,
            _ = tick.tick() => {}
        }
        if archive::objects(&platform.settings).is_err() {
            warned = warned || warn_of_schedules(&platform).await;
            continue;
        }
        if let Err(problem) = look(&platform).await {
            let cause = problem
                .cause()
                .map_or_else(String::new, |cause| chain(cause));
            tracing::warn!(
                code = problem.code().as_str(),
                cause,
                "due backups were not begun"
            );
        }
    }
}

/// Warns where tiers have schedules that nothing can be made by; whether it did.
async fn warn_of_schedules(platform: &Platform) -> bool {
    let tiers = async { due::scheduled_tiers(&mut *platform.registry.acquire().await?).await };
    match tiers.await {
        Ok(tiers) if !tiers.is_empty() => {
            tracing::warn!(
                tiers = tiers.join(", "),
                "no backups are made by schedule: objects.folder is not set"
            );
            true
        }
        // Who cannot be asked now is asked at the next look.
        Ok(_) | Err(_) => false,
    }
}

/// Whether nobody uses a backup, nor begins to until the transaction ends.
async fn is_left_alone(connection: &mut PgConnection, id: BackupId) -> Result<bool, sqlx::Error> {
    // Asked again: a copy of it may have begun since it was found to be over.
    Ok(store::hold_if_free(connection, id).await?
        && store::used_by(connection, id, OperationKind::Clone)
            .await?
            .is_none())
}

/// Begins what is due now.
async fn look(platform: &Platform) -> Result<(), Problem> {
    // A transaction each: what the one holds of tenants is not to wait for what the other looks through.
    let begun = begin_backups(platform).await? + begin_removals(platform).await?;
    if begun > 0 {
        platform.runner.nudge();
    }
    Ok(())
}

/// Begins the backups that are due; gives how many.
async fn begin_backups(platform: &Platform) -> Result<u64, Problem> {
    let mut transaction = platform.registry.begin().await?;
    if !due::lock(&mut transaction).await? {
        return Ok(0);
    }
    let mut begun = 0;
    let mut tenants = due::tenants(&mut transaction, PER_CLUSTER, PER_LOOK).await?;
    // In the order in which others lock several tenants.
    tenants.sort_unstable_by(|one, other| one.tenant.cmp(&other.tenant));
    for due in tenants {
        let kind = BackupKind::Scheduled;
        let keep_for = Some(DAY * due.keep_days);
        let encryption = due.encryption;
        let tenant = &due.tenant;
        let plan = BackupPlan::record(&mut transaction, tenant, kind, encryption, keep_for).await?;
        let subject = Subject::Tenant(due.tenant);
        let id = plan.id();
        let actor = Actor::Platform;
        match spawn(&mut transaction, actor, None, subject, plan.into()).await? {
            Started::New(_) => begun += 1,
            Started::Busy => store::delete(&mut transaction, id).await?,
        }
    }
    transaction.commit().await?;
    Ok(begun)
}

/// Begins the removals of what is over; gives how many.
async fn begin_removals(platform: &Platform) -> Result<u64, Problem> {
    let mut transaction = platform.registry.begin().await?;
    if !due::lock(&mut transaction).await? {
        return Ok(0);
    }
    let mut begun = 0;
    for id in due::over(&mut transaction, PER_LOOK).await? {
        if !is_left_alone(&mut transaction, id).await? {
            continue;
        }
        let row = found(&mut transaction, id).await?;
        let subject = Subject::Tenant(row.tenant.clone());
        let plan = ForgetBackupPlan::of(&row);
        spawn(
            &mut transaction,
            Actor::Platform,
            None,
            subject,
            plan.into(),
        )
        .await?;
        begun += 1;
    }
    transaction.commit().await?;
    Ok(begun)
}
