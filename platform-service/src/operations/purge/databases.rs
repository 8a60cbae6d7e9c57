//! The databases that a purge destroys: which there are, and which there are no more.
//!
//! Deliberately asked of the servers: the registry knows what should be there. Invariant: nothing is dropped here.

use std::sync::Arc;

use contract::Code;
use kit::error::Problem;

use super::Doomed;
use crate::clusters::connections::Server;
use crate::clusters::postgres::{self, Name};
use crate::operations::{Stop, mark};
use crate::platform::Platform;

/// What becomes of what is on a server that is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Away {
    Fails,
    LeftOut,
}

/// What moves have left under the tenant's own name beside their copies.
pub(super) async fn left(
    platform: &Platform,
    databases: &[Doomed],
    away: Away,
) -> Result<Vec<Doomed>, Stop> {
    let mut all = Vec::new();
    for beside in databases {
        let (server, name) = place(platform, beside).await?;
        let Name::Side(tenant, _) = name else {
            continue;
        };
        let doomed = Doomed {
            cluster: beside.cluster.clone(),
            name: tenant.to_string(),
        };
        if all.contains(&doomed) {
            continue;
        }
        let mark = match mark::under(&server, &tenant).await {
            Err(stop) if away == Away::LeftOut && stop.is_unusable() => continue,
            mark => mark?,
        };
        if let Some(mark) = mark
            && mark::is_of_undone(platform, &mark).await?
        {
            all.push(doomed);
        }
    }
    Ok(all)
}

/// The tenant's own database, where it is not there any more.
pub(super) async fn missing(
    platform: &Platform,
    databases: &[Doomed],
) -> Result<Vec<String>, Stop> {
    let mut missing = Vec::new();
    for doomed in databases {
        let (server, name) = place(platform, doomed).await?;
        // Others are only expected: an operation may have been undone before it made one.
        if !matches!(name, Name::Deleted(..)) {
            continue;
        }
        let found = postgres::look(&mut *server.acquire().await?, &name).await?;
        if found.database.is_none() {
            missing.push(doomed.name.clone());
        }
    }
    Ok(missing)
}

/// Where it is.
pub(super) async fn place(
    platform: &Platform,
    doomed: &Doomed,
) -> Result<(Arc<Server>, Name), Stop> {
    let name = doomed.name.parse();
    let name = name.map_err(|error| Stop::Fail(Problem::internal(error)))?;
    Ok((platform.server(&doomed.cluster).await?, name))
}

/// Refuses a last backup of what is not there.
pub(super) async fn is_there(server: &Server, name: &Name) -> Result<(), Stop> {
    let found = postgres::look(&mut *server.acquire().await?, name).await?;
    if found.database.is_some() {
        return Ok(());
    }
    let detail = format!(
        "The cluster {} has no database {name} any more, so there is nothing to keep a last backup of. \
         Its other backups are destroyed by a purge: fetch what is wanted of them, then purge it without \
         a last backup.",
        server.name()
    );
    Err(Stop::Fail(Problem::new(Code::Conflict).detail(detail)))
}

pub(super) async fn size_of(server: &Server, name: &Name) -> Result<u64, sqlx::Error> {
    let mut connection = server.acquire().await?;
    postgres::moving::bytes_of(&mut connection, name).await
}
