//! What goes on beside a step while it runs: its lease is renewed, and how far it is is told.
//!
//! Deliberately ends nothing itself: whoever runs the step drops it when the lease is lost. Invariant: a
//! lease counts from before its renewal was asked for, so that nobody holds it for longer than the registry.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use contract::OperationId;
use contract::operator::operation::Progress;
use kit::error::chain;
use uuid::Uuid;

use super::super::store::{self, Hold};
use crate::meter::Meter;
use crate::platform::Platform;

/// How often it is said how far a step is that copies data.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Says each second how many bytes a step has copied, until it is dropped.
pub(super) async fn tell(
    platform: &Platform,
    held: (OperationId, Uuid),
    meter: &Meter,
) -> Infallible {
    loop {
        tokio::time::sleep(TELL_EVERY).await;
        if let Some(progress) = meter.progress() {
            note(platform, held, &progress).await;
        }
    }
}

async fn note(platform: &Platform, held: (OperationId, Uuid), progress: &Progress) {
    let noted = async {
        let mut registry = platform.registry.acquire().await?;
        store::note_progress(&mut registry, held, progress).await
    };
    // Who has lost the lease learns it elsewhere; nothing depends on what is only shown.
    if let Err(error) = noted.await {
        tracing::debug!(operation.id = %held.0, cause = chain(&error), "progress not noted");
    }
}

/// Renews the lease until it is lost.
pub(super) async fn hold(platform: &Platform, held: (OperationId, Uuid), lease: Duration) {
    let mut renewed = Instant::now();
    loop {
        tokio::time::sleep(lease / 3).await;
        let began = Instant::now();
        let kept = async {
            let mut registry = platform.registry.acquire().await?;
            store::renew(&mut registry, held, lease).await
        };
        let left = lease.saturating_sub(renewed.elapsed());
        match tokio::time::timeout(left, kept).await {
            Ok(Ok(Hold::Held)) => renewed = began,
            Ok(Ok(Hold::Lost)) => return,
            Err(_) => {
                tracing::warn!(operation.id = %held.0, "lease not renewed in time");
                return;
            }
            Ok(Err(error)) => {
                tracing::warn!(operation.id = %held.0, cause = chain(&error), "lease not renewed");
                if renewed.elapsed() >= lease {
                    return;
                }
            }
        }
    }
}
