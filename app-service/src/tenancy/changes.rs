//! Follows the platform's change feed, so that what this replica knows is never old for long.
//!
//! Deliberately without state of its own but the cursor. Invariant: a change counts as seen only
//! after the directory acted on it, because the platform may be waiting for that.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use contract::ReplicaId;
use contract::client::PlatformClient;
use contract::internal::Changes;
use kit::error::chain;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::directory::{Directory, FeedState};

/// How long one poll waits for news.
const POLL: Duration = Duration::from_secs(20);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// How far this replica has followed the feed; the heartbeat tells it to the platform.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen(Arc<Mutex<(Option<Uuid>, u64)>>);

impl Seen {
    /// The epoch, if the feed was ever heard, and the newest change acted on.
    pub(crate) fn get(&self) -> (Option<Uuid>, u64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, epoch: Uuid, change: u64) {
        // Together: with another's epoch a number would count for what was never heard.
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (Some(epoch), change);
    }
}

/// Follows the feed until it is told to stop.
pub(crate) async fn follow_changes(
    platform: PlatformClient,
    replica: ReplicaId,
    directory: Directory,
    seen: Seen,
    stop: CancellationToken,
) {
    let mut pause = FIRST_PAUSE;
    loop {
        let (epoch, after) = seen.get();
        let asked = Instant::now();
        let answer = tokio::select! {
            () = stop.cancelled() => return,
            answer = platform.changes(replica, epoch, after, POLL) => answer,
        };
        let rest = match answer {
            Ok(Changes::News {
                epoch,
                cursor,
                changes,
            }) => {
                for change in &changes {
                    directory.heard(change);
                }
                seen.set(epoch, cursor);
                // One that is stopping waits for nothing: the next look is for another one.
                let came_at_once = changes.is_empty() && asked.elapsed() < POLL / 2;
                came_at_once.then_some(FIRST_PAUSE)
            }
            Ok(Changes::Reset { epoch, cursor }) => {
                directory.forget_all();
                seen.set(epoch, cursor);
                None
            }
            Err(error) => {
                tracing::warn!(cause = chain(&error), "the change feed is not heard");
                directory.hears_feed(FeedState::Silent);
                paused(&stop, pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
                continue;
            }
        };
        directory.hears_feed(FeedState::Heard);
        pause = FIRST_PAUSE;
        if let Some(rest) = rest {
            paused(&stop, rest).await;
        }
    }
}

/// A pause that a stop ends.
async fn paused(stop: &CancellationToken, pause: Duration) {
    let _ = tokio::time::timeout(pause, stop.cancelled()).await;
}
