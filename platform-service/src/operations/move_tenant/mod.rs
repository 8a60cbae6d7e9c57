//! Moving a tenant to another cluster of its region: its data is copied under a hold, the registry is
//! switched, and what is left behind is put away.
//!
//! Deliberately ends in the same steps whichever way the data was copied. Invariants: nobody, not even a
//! replica that missed the news, can write to the source any more before the last of it is copied; until
//! the switch is recorded no route names the target, so everything can be undone without loss.

mod begin;
mod replicate;
mod steps;

use std::time::Duration;

use contract::operator::cluster::MoveVariant;
use contract::{ClusterName, Code, TenantId};
use kit::error::Problem;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::saga::{Head, Saga, Traits};
use super::{Step, Stop, hold};
use crate::clusters::moving::contents::Rows;
use crate::clusters::postgres::Name;
use crate::clusters::store::{self as clusters, kept};
use crate::platform::Platform;
use crate::tenants;

pub(crate) use begin::{Measured, Wanted, chosen, plan_move, preview, router, way};

/// How long what is left behind is kept.
const KEEP_OLD: Duration = Duration::from_secs(24 * 60 * 60);
/// Of a tenant that is moved by replication, up to so many bytes the rows of both copies are counted.
const COUNTED_BYTES: u64 = 512 * 1024 * 1024;
/// Tries of a step while requests wait; more would only let them wait longer.
const TRIES_WHILE_HELD: i32 = 2;

/// The steps of a move by dump and restore.
const BY_DUMP: &[Step] = &[
    Step::Target,
    Step::Hold,
    Step::Wall,
    Step::Copy,
    Step::Compare,
    Step::Switch,
    Step::Leave,
];
/// The steps of a move by replication.
const BY_REPLICATION: &[Step] = &[
    Step::Target,
    Step::Slot,
    Step::Snapshot,
    Step::Follow,
    Step::Hold,
    Step::Wall,
    Step::CatchUp,
    Step::Sequences,
    Step::Compare,
    Step::Switch,
    Step::Leave,
];

/// What a move needs for its steps.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct MovePlan {
    from: ClusterName,
    to: ClusterName,
    /// Of the copy that is left.
    old_copy: u32,
    /// Of the copy that is made.
    copy: u32,
    variant: MoveVariant,
    /// Of its database, when the move was begun.
    bytes: u64,
    /// How long its requests may be held at most.
    hold_for: Duration,
    /// What was copied.
    #[serde(default)]
    rows: Rows,
    /// What its tables look like, from the first step on that copies them.
    #[serde(default)]
    shape: String,
    /// What the copy was made of, where it follows.
    #[serde(default)]
    snapshot: Option<String>,
    #[serde(default, with = "time::serde::rfc3339::option")]
    held_at: Option<OffsetDateTime>,
    #[serde(default, with = "time::serde::rfc3339::option")]
    switched_at: Option<OffsetDateTime>,
    /// What is known of the copy by whoever has just made it; nobody else takes over with that.
    #[serde(skip)]
    found: CopyFound,
    /// Of what was made on the target, when the move is undone.
    #[serde(default)]
    remains: Remains,
}

/// Whether the copy on the target has something in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum CopyFound {
    /// It may have: an earlier try may have come so far.
    #[default]
    Unknown,
    /// It was looked at, or made, and nothing has been loaded since.
    Empty,
}

/// What an undone move leaves on its target.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Remains {
    #[default]
    Nothing,
    /// Whatever there is, on a server that is away: the sweep drops it.
    ForTheSweep,
}

impl MovePlan {
    fn side(&self, tenant: &TenantId) -> Name {
        Name::Side(tenant.clone(), self.copy)
    }

    fn old(&self, tenant: &TenantId) -> Name {
        Name::Old(tenant.clone(), self.old_copy)
    }

    /// Whether its rows are counted for the comparison.
    fn counts_rows(&self) -> bool {
        self.variant == MoveVariant::Dump || self.bytes <= COUNTED_BYTES
    }

    /// Whether requests wait during a step.
    fn is_held(step: Step) -> bool {
        matches!(
            step,
            Step::Wall
                | Step::Copy
                | Step::CatchUp
                | Step::Sequences
                | Step::Compare
                | Step::Switch
        )
    }
}

impl Saga for MovePlan {
    const STEPS: &'static [Step] = &[
        Step::Target,
        Step::Slot,
        Step::Snapshot,
        Step::Follow,
        Step::Hold,
        Step::Wall,
        Step::Copy,
        Step::CatchUp,
        Step::Sequences,
        Step::Compare,
        Step::Switch,
        Step::Leave,
    ];

    fn steps(&self) -> &'static [Step] {
        match self.variant {
            MoveVariant::Dump => BY_DUMP,
            MoveVariant::Replicate => BY_REPLICATION,
        }
    }

    fn point_of_no_return(&self) -> Step {
        Step::Switch
    }

    /// Nobody's long work stands before requests that wait.
    fn traits(&self) -> Traits {
        match self.held_at {
            Some(_) => Traits::QUICK,
            None => Traits::LONG,
        }
    }

    fn concerns_keepers(&self) -> bool {
        false
    }

    async fn act(&mut self, platform: &Platform, head: &Head) -> Result<(), Stop> {
        let done = match head.step {
            Step::Target => steps::make_target(platform, head, self).await,
            Step::Hold => steps::look_before_hold(platform, head, self).await,
            Step::Wall => steps::shut(platform, head, self).await,
            Step::Slot => replicate::open_slot(platform, head, self).await,
            Step::Snapshot => replicate::copy_snapshot(platform, head, self).await,
            Step::Follow => replicate::follow(platform, head, self).await,
            Step::CatchUp => replicate::catch_up(platform, head, self).await,
            Step::Sequences => replicate::end_following(platform, head, self).await,
            Step::Copy => steps::copy(platform, head, self).await,
            Step::Compare => steps::compare(platform, head, self).await,
            Step::Switch => steps::switch(platform, head, self).await,
            Step::Leave => steps::leave(platform, head, self).await,
            other => Err(other.unexpected()),
        };
        match done {
            Err(Stop::Retry(problem))
                if Self::is_held(head.step) && head.attempts >= TRIES_WHILE_HELD =>
            {
                Err(Stop::Fail(problem))
            }
            // What is waited for is not worth more than a few tries, either.
            Err(Stop::Later { reason, .. }) if Self::is_held(head.step) => Err(Stop::Retry(
                Problem::new(Code::NotReady).detail(reason.into_owned()),
            )),
            other => other,
        }
    }

    async fn record(
        &self,
        connection: &mut PgConnection,
        head: &Head,
        step: Step,
    ) -> Result<(), Stop> {
        let tenant = head.tenant()?;
        match step {
            Step::Hold => {
                hold::set(connection, tenant, self.hold_for).await?;
            }
            Step::Switch => {
                // A cluster before its tenants, as everywhere. What followed was there to be measured.
                if self.variant == MoveVariant::Dump {
                    clusters::add_bytes(&mut *connection, &self.to, self.bytes).await?;
                }
                kept::forget(&mut *connection, (&self.to, &self.side(tenant))).await?;
                let old = self.old(tenant);
                let place = (&self.from, &old);
                kept::keep(&mut *connection, place, tenant, head.id, KEEP_OLD).await?;
                let news =
                    tenants::store::moved(&mut *connection, tenant, &self.to, self.copy).await?;
                news.announce(connection).await?;
            }
            _ => {}
        }
        Ok(())
    }

    async fn undo(&mut self, platform: &Platform, head: &Head) -> Result<(), Stop> {
        match head.step {
            Step::Switch => steps::switch_back(platform, head, self).await,
            Step::Wall => steps::open_again(platform, head, self).await,
            Step::Slot => replicate::close_slot(platform, head, self).await,
            Step::Target => match steps::drop_target(platform, head, self).await {
                // No route names the copy.
                Err(stop) if stop.is_unusable() => {
                    self.remains = Remains::ForTheSweep;
                    Ok(())
                }
                dropped => dropped,
            },
            _ => Ok(()),
        }
    }

    async fn forget(&self, connection: &mut PgConnection, head: &Head) -> Result<(), Stop> {
        let tenant = head.tenant()?;
        match head.step {
            Step::Hold => {
                hold::clear(connection, tenant).await?;
            }
            Step::Target => {
                let side = self.side(tenant);
                match self.remains {
                    Remains::Nothing => kept::forget(connection, (&self.to, &side)).await?,
                    Remains::ForTheSweep => kept::release(connection, (&self.to, &side)).await?,
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn result(&self) -> Option<Value> {
        let held = self.held_at.zip(self.switched_at);
        let held_ms = held.map(|(from, to)| (to - from).whole_milliseconds());
        let held_ms = held_ms.and_then(|held| u64::try_from(held).ok());
        Some(json!({
            "from": self.from,
            "to": self.to,
            "variant": self.variant,
            "bytes": self.bytes,
            "tables": self.rows.len(),
            "rows": self.rows.values().sum::<i64>(),
            "held_ms": held_ms,
        }))
    }
}
