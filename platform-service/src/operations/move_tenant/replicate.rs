//! The steps of a move that follows the tenant's changes, so that its requests wait only while the last of
//! them are copied.
//!
//! Deliberately without an end of its own: it ends as a move by dump does. Invariant: from the slot on the
//! schemas do not change: migrations are kept out during each step, and one that slips in between two steps
//! ends the move, because neither the tables that it makes nor what is written to them comes through the
//! slot.

use std::time::Duration;

use contract::Code;
use kit::error::Problem;
use sqlx::{Connection as _, PgConnection};
use tokio::time::Instant;

use super::MovePlan;
use super::steps::{Ends, note_rows};
use crate::clusters::moving::decode::Snapshot;
use crate::clusters::moving::follow::Following;
use crate::clusters::moving::{self, contents, follower, slot};
use crate::meter;
use crate::operations::saga::Head;
use crate::platform::Platform;
use crate::stop::Stop;

/// How long a copy may try to come close to its source.
const FOLLOW_PATIENCE: Duration = Duration::from_secs(30 * 60);
/// For so long it tries to come as close as it can: what is left is done while requests wait.
const EAGER: Duration = Duration::from_secs(60);
/// Changes in a round that make it close.
const CLOSE: usize = 60;
/// The same for a tenant that is written to without a pause.
const CLOSE_ENOUGH: usize = 500;
/// Rounds in a row in which it must have been close.
const CLOSE_ROUNDS: u32 = 2;

/// Publishes the tables and makes the slot that keeps what changes from now on.
pub(super) async fn open_slot(
    platform: &Platform,
    head: &Head,
    plan: &mut MovePlan,
) -> Result<(), Stop> {
    let ends = Ends::of(platform, head, plan).await?;
    let mut owner = ends.here().locked_owner(platform).await?;
    slot::open(platform, ends.here(), &mut owner, &slot::name(head.id)).await?;
    plan.shape = contents::shape(&mut owner).await?;
    Ok(owner.close().await?)
}

/// A connection that keeps migrations out, where none has run since the slot was made.
async fn unmigrated(
    platform: &Platform,
    plan: &MovePlan,
    ends: &Ends,
) -> Result<PgConnection, Stop> {
    let mut owner = ends.here().locked_owner(platform).await?;
    if contents::shape(&mut owner).await? == plan.shape {
        return Ok(owner);
    }
    let detail = "The tenant's schemas were migrated while it was being moved: move it again.";
    Err(Stop::Fail(Problem::new(Code::Conflict).detail(detail)))
}

/// Drops slot and publication.
pub(super) async fn close_slot(
    platform: &Platform,
    head: &Head,
    plan: &MovePlan,
) -> Result<(), Stop> {
    let ends = Ends::of(platform, head, plan).await?;
    ends.let_migrations_in().await?;
    slot::close(platform, ends.here(), &slot::name(head.id)).await
}

/// Copies what one snapshot sees.
pub(super) async fn copy_snapshot(
    platform: &Platform,
    head: &Head,
    plan: &mut MovePlan,
) -> Result<(), Stop> {
    let ends = Ends::of(platform, head, plan).await?;
    ends.ensure_empty_copy(plan).await?;
    let owner = unmigrated(platform, plan, &ends).await?;
    meter::expect(plan.bytes);
    let sees = moving::copy_snapshot(platform, ends.here(), owner, ends.there()).await?;
    plan.snapshot = Some(sees);
    Ok(())
}

async fn following(
    platform: &Platform,
    head: &Head,
    plan: &MovePlan,
    ends: &Ends,
) -> Result<Following, Stop> {
    let snapshot: Option<Snapshot> = plan.snapshot.as_deref().and_then(|text| text.parse().ok());
    let missing = || Stop::Fail(Problem::internal("the copy's snapshot is not known"));
    let places = (ends.here(), ends.there());
    let slot = slot::name(head.id);
    Following::open(platform, places, slot, snapshot.ok_or_else(missing)?).await
}

/// Follows until the copy is close behind.
pub(super) async fn follow(platform: &Platform, head: &Head, plan: &MovePlan) -> Result<(), Stop> {
    let ends = Ends::of(platform, head, plan).await?;
    let owner = unmigrated(platform, plan, &ends).await?;
    let mut following = following(platform, head, plan, &ends).await?;
    let began = Instant::now();
    let mut close = 0;
    while close < CLOSE_ROUNDS {
        let read = following.batch().await?;
        let enough = if began.elapsed() < EAGER {
            CLOSE
        } else {
            CLOSE_ENOUGH
        };
        close = if read.changes() < enough {
            close + 1
        } else {
            0
        };
        if began.elapsed() > FOLLOW_PATIENCE {
            let detail = "The tenant is written to faster than its copy can follow.";
            return Err(Stop::Fail(Problem::new(Code::Overloaded).detail(detail)));
        }
    }
    following.close().await?;
    Ok(owner.close().await?)
}

/// Brings the last changes, now that nobody writes any more.
pub(super) async fn catch_up(
    platform: &Platform,
    head: &Head,
    plan: &mut MovePlan,
) -> Result<(), Stop> {
    let ends = Ends::of(platform, head, plan).await?;
    ends.let_migrations_in().await?;
    let mut owner = unmigrated(platform, plan, &ends).await?;
    let mut following = following(platform, head, plan, &ends).await?;
    following.catch_up().await?;
    following.close().await?;
    note_rows(&mut owner, plan).await?;
    Ok(owner.close().await?)
}

/// Sets the sequences ahead and makes the copy a database like any other.
pub(super) async fn end_following(
    platform: &Platform,
    head: &Head,
    plan: &MovePlan,
) -> Result<(), Stop> {
    let ends = Ends::of(platform, head, plan).await?;
    ends.let_migrations_in().await?;
    let mut source = unmigrated(platform, plan, &ends).await?;
    let mut copy = ends.there().owner(platform).await?;
    follower::end(&mut source, &mut copy).await?;
    copy.close().await?;
    ends.shut_migrations_out(source).await
}
