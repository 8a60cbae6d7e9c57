//! Operations that are made of operations: a drain of moves, a rotation of every tenant.
//!
//! Deliberately without a list of children in the plan: the registry knows them by their parent.
//! Invariant: a parent that dies goes on with the children that it has; a cancelled one begins no
//! more and waits for those that run.

use std::time::Duration;

use futures::future::BoxFuture;
use sqlx::PgConnection;

use super::saga::{Head, Wish};
use super::{Stop, store};
use crate::platform::Platform;

/// How often a parent looks at its children; where one of them ends in its own process, it looks at once.
const LOOK: Duration = Duration::from_millis(500);

/// How far the children of an operation are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Tally {
    pub(crate) done: u64,
    /// Undone or stuck.
    pub(crate) failed: u64,
    /// Running or unwinding.
    pub(crate) live: u64,
    /// Of those, the ones that do not wait for a server that has been away for long: others go on beside
    /// them.
    pub(crate) busy: u64,
}

/// One look of a parent at its children, as its act: waits as long as one is live or wanted, then gives
/// how they ended.
///
/// `spawn` begins up to so many children with [`super::begin::spawn`] (it is asked with 0, too), and
/// gives how many it began or would still have to begin; 0 says that no more are wanted.
pub(crate) async fn advance<F>(
    platform: &Platform,
    head: &Head,
    at_once: u64,
    spawn: F,
) -> Result<Tally, Stop>
where
    F: for<'c> FnOnce(&'c mut PgConnection, u64) -> BoxFuture<'c, Result<u64, Stop>> + Send,
{
    let mut transaction = platform.registry.begin().await?;
    let tally = store::tally(&mut transaction, head.id).await?;
    let wanted = match head.wish {
        Wish::GoOn => spawn(&mut transaction, at_once.saturating_sub(tally.busy)).await?,
        Wish::End => 0,
    };
    transaction.commit().await?;
    if wanted > 0 {
        platform.runner.nudge();
    }
    if wanted + tally.live == 0 {
        return Ok(tally);
    }
    Err(Stop::Later {
        wait: LOOK,
        reason: "Its parts are under way.".into(),
    })
}
