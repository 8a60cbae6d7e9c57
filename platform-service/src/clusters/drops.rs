//! Drops on a server that operations share with sweeps: one at a time, and nothing that an operation claims.
//!
//! Deliberately an order for both sides instead of a lock that an operation keeps. Who drops what nobody claims takes
//! the lock of drops, looks whether there is something, sees that nobody claims it, and drops it. Who claims it does
//! so in the registry before it [looks](look_after) at the server, and waits for that lock where it finds something.
//! Invariant: what such an operation finds is dropped by nobody else from then on, and what it makes where there was
//! nothing was never seen by a sweep.

use sqlx::{Connection as _, PgConnection};

use super::connections::{Database, Server};
use super::postgres::{self, Look, Name, Whose};
use crate::stop::Stop;

/// A connection that is the only one on its server that drops something, until it is closed.
pub(crate) async fn alone(server: &Server) -> Result<PgConnection, Stop> {
    let mut connection = server.connect(Database::Maintenance).await?;
    postgres::drop_alone(&mut connection).await?;
    Ok(connection)
}

/// Drops a database and then its role; nothing there, or nothing of `whose`, is success.
pub(crate) async fn discard(server: &Server, name: &Name, whose: Whose<'_>) -> Result<(), Stop> {
    let mut drops = alone(server).await?;
    postgres::discard(&mut drops, name, whose).await?;
    Ok(drops.close().await?)
}

/// Looks at a name that the caller's operation claims by now, where whoever saw nobody claim it has dropped it.
///
/// # Errors
/// To be tried again where a drop takes long.
pub(crate) async fn look_after(server: &Server, name: &Name) -> Result<Look, Stop> {
    let found = postgres::look(&mut *server.acquire().await?, name).await?;
    if found.is_nothing() {
        return Ok(found);
    }
    // Of its own: those of the pool are for what is over soon.
    let mut connection = server.connect(Database::Maintenance).await?;
    postgres::after_drops(&mut connection).await?;
    let found = postgres::look(&mut connection, name).await?;
    connection.close().await?;
    Ok(found)
}
