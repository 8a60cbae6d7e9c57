//! Which wall a tenant is to stand behind, and how it gets there.
//!
//! Deliberately one pure function for the answer. Invariants: whoever lets a tenant in again asks here,
//! and never opens by itself: what was suspended stays so through a move or a restore; sessions are
//! ended after the wall is set, never before.

use std::time::Duration;

use contract::TenantStatus;
use contract::tenant::SuspensionWall;

use super::TenantRow;
use crate::clusters::connections::Server;
use crate::clusters::postgres::Name;
use crate::clusters::postgres::wall::{self, Wall, Who};
use crate::stop::Stop;

/// How long sessions may take to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// The wall of a tenant that nothing is being done to; a hold stands in front of it.
pub(crate) fn wanted(row: &TenantRow) -> Wall {
    match (row.status, row.wall) {
        (TenantStatus::Provisioning | TenantStatus::Active, _) => Wall::Open,
        (TenantStatus::Suspended, Some(SuspensionWall::ReadOnly)) => Wall::ReadOnly,
        (TenantStatus::Suspended | TenantStatus::Deleted, _) => Wall::Blocked,
    }
}

/// The wall of a deleted tenant once it is back: that which it had before.
pub(crate) fn before_deletion(row: &TenantRow) -> Wall {
    match row.wall {
        None => Wall::Open,
        Some(SuspensionWall::ReadOnly) => Wall::ReadOnly,
        Some(SuspensionWall::Blocked) => Wall::Blocked,
    }
}

/// Ends the sessions in a tenant's database.
pub(crate) async fn end_sessions(server: &Server, name: &Name, who: Who) -> Result<(), Stop> {
    wall::empty(server, name, who, PATIENCE).await?;
    Ok(())
}
