//! Stock: copies of the template that are ready to become a tenant's database. They are made, claimed and
//! thrown away here.
//!
//! Deliberately remembers nothing of an earlier try: each statement may run twice, so whoever finds a copy
//! half-made finishes it. Invariant: a copy carries its marker exactly when it has its walls, its rights
//! and its role.

use super::connections::{Database, Server};
use super::drops;
use super::postgres::{self, Claim, DatabaseState, Look, Name, Source, Whose};
use super::template;
use crate::stop::Stop;
use contract::Code;
use kit::db::Fault;
use kit::error::Problem;
use sqlx::{Connection, PgConnection};

/// Copies of the stock are first copies.
const STOCK_COPY: u32 = 1;

/// Whether the copy of this number is there and complete.
pub(crate) fn is_complete(server: &Server, number: i64, found: &Look) -> bool {
    let marker = server.database(&Name::Stock(number), STOCK_COPY).marker();
    found.database.as_ref().is_some_and(|database| {
        database.marker.as_ref() == Some(&marker) && database.state == DatabaseState::Open
    })
}

/// Ensures that the copy of this number is there and complete.
pub(crate) async fn ensure(server: &Server, number: i64, template: i64) -> Result<(), Stop> {
    let name = Name::Stock(number);
    let mut connection = server.acquire().await?;
    let mut found = postgres::look(&mut connection, &name).await?;
    if is_complete(server, number, &found) {
        return Ok(());
    }
    if let Some(database) = &found.database
        && database.state != DatabaseState::Open
    {
        drop(connection);
        drops::discard(server, &name, Whose::Anybody).await?;
        connection = server.acquire().await?;
        found = postgres::look(&mut connection, &name).await?;
    }
    if found.database.is_none() {
        // A connection is not held while others copy.
        drop(connection);
        let _permit = server.copy_permit().await;
        connection = server.acquire().await?;
        copy(&mut connection, server, template, &name).await?;
    }
    let marker = server.database(&name, STOCK_COPY).marker();
    postgres::furnish_stock(&mut connection, &name, &marker, found.role.as_ref()).await?;
    Ok(())
}

/// Copies a template that is as it was left. Who sits in it all the same is thrown out.
async fn copy(
    connection: &mut PgConnection,
    server: &Server,
    number: i64,
    name: &Name,
) -> Result<(), Stop> {
    if !template::is_there(connection, server, number).await? {
        let changed = "The template is not as it was left, and is made anew.";
        return Err(Stop::Retry(Problem::new(Code::NotReady).detail(changed)));
    }
    let template = Name::Template(number);
    let mut copied = postgres::copy(connection, Source::Template(&template), name).await;
    if copied.as_ref().is_err_and(postgres::is_in_use) {
        postgres::end_sessions(connection, &template).await?;
        copied = postgres::copy(connection, Source::Template(&template), name).await;
    }
    Ok(copied?)
}

/// Opens a ready copy once. The server builds a database's catalog cache file for its first session,
/// which is not to be the one that a sign-up waits for; and a copy that opens is a copy that works.
pub(crate) async fn try_out(server: &Server, number: i64) -> Result<(), Stop> {
    let connection = server.connect(Database::Ours(&Name::Stock(number))).await?;
    Ok(connection.close().await?)
}

/// Turns a ready copy into a tenant's database. Who sits in the copy is thrown out; a copy that is
/// not there any more is a reason to look again.
pub(crate) async fn claim(server: &Server, number: i64, claim: &Claim<'_>) -> Result<(), Stop> {
    let stock = Name::Stock(number);
    let mut connection = server.acquire().await?;
    let mut claimed = postgres::claim(&mut connection, &stock, claim).await;
    if claimed.as_ref().is_err_and(postgres::is_in_use) {
        postgres::end_sessions(&mut connection, &stock).await?;
        claimed = postgres::claim(&mut connection, &stock, claim).await;
    }
    claimed.map_err(|error| match Fault::of(&error) {
        Fault::DatabaseGone => {
            let gone = Problem::new(Code::NotReady).detail("The ready copy is not there any more.");
            Stop::Retry(gone.caused_by(error))
        }
        _ => error.into(),
    })
}
