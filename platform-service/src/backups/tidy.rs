//! What writers that were killed have left in the store, uploads that nobody imports, and password files
//! of processes that are no more.
//!
//! Deliberately parts and uploads by age alone: a writer that lives has touched its part just now.
//! Invariants: no backup and no export is ever removed here, and no upload that is being imported.

use std::time::Duration;

use kit::error::{Problem, chain};
use time::OffsetDateTime;
use tokio::time::MissedTickBehavior;

use super::archive;
use crate::archives::store::is_needed;
use crate::platform::Platform;
use crate::tools;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(60 * 60);
/// A part of a file this old has no writer any more.
const PART_AGE: Duration = Duration::from_secs(24 * 60 * 60);
/// How long an uploaded archive waits for its import.
const UPLOAD_AGE: Duration = Duration::from_secs(24 * 60 * 60);
/// Where uploads are.
pub(crate) const UPLOADS: &str = "imports";

/// Looks now and then until the service stops.
pub(crate) async fn keep(platform: Platform) {
    let mut tick = tokio::time::interval(LOOK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = platform.stopping.cancelled() => return,
            _ = tick.tick() => {}
        }
        tools::sweep(&archive::work_dir(&platform.settings));
        if let Err(problem) = look(&platform).await {
            tracing::warn!(cause = chain(&problem), "the object store is not tidied");
        }
    }
}

async fn look(platform: &Platform) -> Result<(), Problem> {
    let Ok(objects) = archive::objects(&platform.settings) else {
        return Ok(());
    };
    let failed = |error| archive::object_stop(error).into_problem();
    let parts = objects.tidy(PART_AGE).await.map_err(failed)?;
    let mut uploads = 0_u64;
    if let Ok(folder) = UPLOADS.parse() {
        let limit = OffsetDateTime::now_utc() - UPLOAD_AGE;
        for object in objects.list(&folder).await.map_err(failed)? {
            if object.modified_at >= limit {
                continue;
            }
            let mut registry = platform.registry.acquire().await?;
            if is_needed(&mut registry, object.path.as_str(), None).await? {
                continue;
            }
            drop(registry);
            objects.delete(&object.path).await.map_err(failed)?;
            uploads += 1;
        }
    }
    if parts + uploads > 0 {
        tracing::info!(parts, uploads, "the object store is tidied");
    }
    Ok(())
}
