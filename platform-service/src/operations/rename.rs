//! Giving a tenant's database and role another name, as an act that may run twice.
//!
//! Deliberately sets no wall: whoever renames has set one before. Invariant: where both names are taken
//! nothing is renamed, because one of the two databases is somebody else's.

use contract::Code;
use kit::error::Problem;
use serde::{Deserialize, Serialize};

use super::{Head, Stop, lease};
use crate::clusters::connections::Server;
use crate::clusters::postgres::wall::Who;
use crate::clusters::postgres::{self, Name};
use crate::platform::Platform;
use crate::tenants::wall;

/// What there was to rename.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Database {
    #[default]
    There,
    /// Somebody has dropped it behind our back.
    Missing,
}

/// Renames what there is of both: where somebody has dropped the database, the role alone, or nothing.
pub(super) async fn what_is_there(
    (platform, head): (&Platform, &Head),
    server: &Server,
    (from, to): (&Name, &Name),
    copy: u32,
) -> Result<Database, Stop> {
    let [old, new] = {
        let mut connection = server.acquire().await?;
        postgres::look_at(&mut connection, [from, to]).await?
    };
    if old.database.is_some() || new.database.is_some() {
        both((platform, head), server, (from, to), copy).await?;
        return Ok(Database::There);
    }
    if old.role.is_some() && new.role.is_none() {
        let fence = lease::fence(platform, head, server).await?;
        let mut connection = server.acquire().await?;
        postgres::rename_role(&mut connection, fence, from, to).await?;
    }
    Ok(Database::Missing)
}

/// Renames both, with the marker of the new name and this copy; sessions that are left are ended
/// before. Already done is success.
pub(super) async fn both(
    (platform, head): (&Platform, &Head),
    server: &Server,
    (from, to): (&Name, &Name),
    copy: u32,
) -> Result<(), Stop> {
    let (old, new) = {
        let mut connection = server.acquire().await?;
        let old = postgres::look(&mut connection, from).await?;
        (old, postgres::look(&mut connection, to).await?)
    };
    match (old.database.is_some(), new.database.is_some()) {
        (false, true) => Ok(()),
        (true, false) => {
            wall::end_sessions(server, from, Who::Everybody).await?;
            let marker = server.database(to, copy).marker();
            let fence = lease::fence(platform, head, server).await?;
            let mut connection = server.acquire().await?;
            postgres::rename(&mut connection, fence, from, to, &marker).await?;
            Ok(())
        }
        (true, true) => Err(conflict(format!(
            "The cluster {} has a database {from} and a database {to}.",
            server.name()
        ))),
        (false, false) => Err(conflict(format!(
            "The cluster {} has neither a database {from} nor a database {to}: somebody has dropped \
             it, and nothing is left to rename. What is left of its data is in its backups.",
            server.name()
        ))),
    }
}

fn conflict(detail: String) -> Stop {
    Stop::Fail(Problem::new(Code::Conflict).detail(detail))
}
