//! Databases that were kept for a time which is over.
//!
//! Deliberately apart from finds: these have a row that says until when. Invariant: none of a tenant
//! that an operation works on is dropped, because it may be what that goes back to.

use super::store;
use crate::clusters;
use crate::clusters::postgres::Whose;
use crate::operations::Stop;
use crate::platform::Platform;

/// Databases that are dropped in one look: each drop forces a checkpoint.
const AT_ONCE: i64 = 20;

/// Drops what is due, one after the other.
pub(super) async fn drop_due(platform: &Platform) -> Result<(), sqlx::Error> {
    let due = store::due_databases(&mut *platform.registry.acquire().await?, AT_ONCE).await?;
    for kept in due {
        let dropped = async {
            let server = platform.server(&kept.cluster).await?;
            clusters::stock::discard(&server, &kept.name, Whose::Anybody).await?;
            let mut registry = platform.registry.acquire().await?;
            Ok::<_, Stop>(store::forget_due(&mut registry, &kept).await?)
        };
        match dropped.await {
            Ok(()) => {
                tracing::info!(cluster = %kept.cluster, name = %kept.name, "dropped a kept database");
            }
            Err(stop) => {
                let error = super::words(&stop);
                tracing::warn!(
                    cluster = %kept.cluster, name = %kept.name, error,
                    "a kept database could not be dropped; it is tried again"
                );
            }
        }
    }
    Ok(())
}
