//! What writers that were killed have left in the store, and uploads that nobody imports.
//!
//! Deliberately by age alone: a writer that lives has touched its part just now. Invariant: no backup
//! and no export is ever removed here.

use std::time::Duration;

use adapters::object_store::ObjectError;
use kit::error::chain;
use time::OffsetDateTime;
use tokio::time::MissedTickBehavior;

use super::archive;
use crate::platform::Platform;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(60 * 60);
/// A part of a file this old has no writer any more.
const PART_AGE: Duration = Duration::from_secs(24 * 60 * 60);
/// How long an uploaded archive stays.
const UPLOAD_AGE: Duration = Duration::from_secs(7 * 24 * 60 * 60);
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
        if let Err(error) = look(&platform).await {
            tracing::warn!(error = chain(&error), "the object store is not tidied");
        }
    }
}

async fn look(platform: &Platform) -> Result<(), ObjectError> {
    let Ok(objects) = archive::objects(&platform.settings) else {
        return Ok(());
    };
    let parts = objects.tidy(PART_AGE).await?;
    let mut uploads = 0_u64;
    if let Ok(folder) = UPLOADS.parse() {
        let limit = OffsetDateTime::now_utc() - UPLOAD_AGE;
        for object in objects.list(&folder).await? {
            if object.modified_at < limit {
                objects.delete(&object.path).await?;
                uploads += 1;
            }
        }
    }
    if parts + uploads > 0 {
        tracing::info!(parts, uploads, "the object store is tidied");
    }
    Ok(())
}
