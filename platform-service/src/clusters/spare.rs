//! Databases beside the tenants': to restore into, to try a backup in.
//!
//! Deliberately no decision on how long one lives. Invariants: the registry knows of a database before
//! the server does, so a sweep can tell whose it is; one that is loaded into is empty at first,
//! whatever an earlier try has left.

use contract::{OperationId, TenantId};
use sqlx::Connection;

use super::connections::{Database, Server};
use super::drops;
use super::postgres::{self, DatabaseState, Name, Source, Whose};
use super::store::kept;
use crate::platform::Platform;
use crate::stop::Stop;

/// The number in the marker of a database that has no copies.
const ONLY_COPY: u32 = 1;

/// The number in the marker of a database of this name.
pub(crate) fn copy_of(name: &Name) -> u32 {
    match name {
        Name::Side(_, copy) | Name::Old(_, copy) | Name::Deleted(_, copy) => *copy,
        _ => ONLY_COPY,
    }
}

/// Notes a database of an operation and makes it, with walls, marker and nothing in it; one that has
/// something in it is dropped before.
pub(crate) async fn make_empty(
    platform: &Platform,
    server: &Server,
    name: &Name,
    (tenant, operation): (&TenantId, OperationId),
) -> Result<(), Stop> {
    let place = (server.name(), name);
    kept::expect(
        &mut *platform.registry.acquire().await?,
        place,
        tenant,
        operation,
    )
    .await?;
    ensure_empty(server, name).await
}

/// Makes a database with walls, marker and nothing in it, which nobody knows of but the caller: a sweep
/// removes it where the caller does not.
pub(crate) async fn ensure_empty(server: &Server, name: &Name) -> Result<(), Stop> {
    let marker = server.database(name, copy_of(name)).marker();
    let found = drops::look_after(server, name).await?;
    if let Some(database) = found.database {
        let is_usable = database.state == DatabaseState::Open
            && database.marker.as_deref() == Some(&marker)
            && is_empty(server, name).await?;
        if is_usable {
            return Ok(());
        }
        drops::discard(server, name, Whose::Anybody).await?;
    }
    let _permit = server.copy_permit().await;
    make_bare(server, name).await?;
    let mut connection = server.acquire().await?;
    postgres::furnish_template(&mut connection, name, &marker).await?;
    Ok(())
}

/// Makes a database with nothing in it, without walls and marker. What was adopted may have tables in
/// `public`, so whoever loads it may make them there.
pub(crate) async fn make_bare(server: &Server, name: &Name) -> Result<(), Stop> {
    postgres::copy(&mut *server.acquire().await?, Source::Empty, name).await?;
    let mut inside = server.connect(Database::Ours(name)).await?;
    postgres::open_public(&mut inside).await?;
    inside.close().await?;
    Ok(())
}

async fn is_empty(server: &Server, name: &Name) -> Result<bool, Stop> {
    let mut connection = server.connect(Database::Ours(name)).await?;
    let is_empty = postgres::is_empty(&mut connection).await?;
    connection.close().await?;
    Ok(is_empty)
}

/// Drops a database with the sessions in it and forgets it; nothing there is success.
pub(crate) async fn drop_now(
    platform: &Platform,
    server: &Server,
    name: &Name,
) -> Result<(), Stop> {
    if postgres::look(&mut *server.acquire().await?, name)
        .await?
        .database
        .is_some()
    {
        drops::discard(server, name, Whose::Anybody).await?;
    }
    kept::forget(
        &mut *platform.registry.acquire().await?,
        (server.name(), name),
    )
    .await?;
    Ok(())
}
