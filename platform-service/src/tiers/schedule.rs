//! How often the tenants of a tier are backed up.
//!
//! Deliberately not what a tier grants, which reaches the replicas: a schedule concerns the platform
//! alone. Invariant: a change commits with its audit row.

use std::time::Duration;

use axum::extract::State;
use contract::operator::backup::BackupSchedule;
use kit::error::{Result, kept};
use kit::extract::{Json, Path};
use serde_json::json;
use utoipa_axum::router::OpenApiRouter;

use super::{store, unknown};
use crate::audit::{self, Action};
use crate::backups::archive;
use crate::operators::{BackupsRead, BackupsWrite, Operator};
use crate::platform::Platform;

/// Show a tier's schedule of backups.
#[utoipa::path(
    get,
    path = "/v1/tiers/{name}/backups",
    operation_id = "tiers.backups",
    tag = "backups",
    params(("name" = String, Path, example = "standard")),
    responses((status = 200, description = "The schedule.", body = BackupSchedule))
)]
pub(crate) async fn show(
    _operator: Operator<BackupsRead>,
    State(platform): State<Platform>,
    Path(name): Path<String>,
) -> Result<Json<BackupSchedule>> {
    let mut connection = platform.registry.acquire().await?;
    let schedule = store::schedule(&mut connection, &name).await?;
    schedule.map(Json).ok_or_else(unknown)
}

/// Set a tier's schedule of backups.
///
/// Its tenants are backed up so often, the longest due first and a few at once on a cluster. Backups by
/// the schedule are removed when a tenant has more than `keep`, or after `keep_days`; its newest one
/// stays. Where no objects are kept a schedule is refused with `conflict`, as a backup is.
#[utoipa::path(
    put,
    path = "/v1/tiers/{name}/backups",
    operation_id = "tiers.set_backups",
    tag = "backups",
    params(("name" = String, Path, example = "standard")),
    request_body = BackupSchedule,
    responses((status = 200, description = "The schedule after it.", body = BackupSchedule))
)]
pub(crate) async fn set(
    operator: Operator<BackupsWrite>,
    State(platform): State<Platform>,
    Path(name): Path<String>,
    Json(schedule): Json<BackupSchedule>,
) -> Result<Json<BackupSchedule>> {
    check(&schedule)?;
    let every = schedule.every_minutes;
    if every.is_some() {
        archive::objects(&platform.settings)?;
    }
    let every = every.map(|minutes| Duration::from_secs(u64::from(minutes) * 60));
    let mut transaction = platform.registry.begin().await?;
    if store::set_schedule(&mut transaction, &name, every, &schedule).await? == 0 {
        return Err(unknown());
    }
    let detail = json!({ "tier": name, "backups": schedule });
    let action = Action::TierUpdated;
    audit::record(&mut transaction, operator.actor(), action, None, detail).await?;
    transaction.commit().await?;
    Ok(Json(schedule))
}

fn check(schedule: &BackupSchedule) -> Result<()> {
    let every = schedule.every_minutes;
    kept([
        (
            "/every_minutes",
            "is 5 to 525600, or null for none",
            every.is_none_or(|minutes| (5..=525_600).contains(&minutes)),
        ),
        ("/keep", "is 1 to 1000", (1..=1000).contains(&schedule.keep)),
        (
            "/keep_days",
            "is 1 to 3650",
            (1..=3650).contains(&schedule.keep_days),
        ),
    ])
}

pub(crate) fn router() -> OpenApiRouter<Platform> {
    kit::operations!(show, set)
}
