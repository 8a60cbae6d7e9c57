//! The sign-ins of people that come with a tenant's rows from another time or place, where some of them were
//! ended since.
//!
//! Deliberately ends them all: which ones were ended is not in what comes. Invariant: who signs in afterwards is
//! not touched, because nobody is served from the database yet.

use sqlx::{Connection, PgConnection};

use super::Name;
use crate::clusters::connections::{ClusterRole, Server};
use crate::clusters::spare;
use crate::platform::Platform;
use crate::stop::Stop;

/// The tables of what a sign-in leaves behind, and what empties each; an order in which the rows can go.
const TABLES: [(&str, &str); 2] = [
    ("auth.refresh_token", "delete from auth.refresh_token"),
    ("auth.session", "delete from auth.session"),
];

/// Ends every sign-in. Needs a connection to that database as the owner of its schemas.
pub(super) async fn end(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    for (table, emptied) in TABLES {
        let is_there: bool = sqlx::query_scalar("select to_regclass($1) is not null")
            .bind(table)
            .fetch_one(&mut *connection)
            .await?;
        if is_there {
            sqlx::raw_sql(emptied).execute(&mut *connection).await?;
        }
    }
    Ok(())
}

/// Ends every sign-in in a database that nobody is served from.
pub(crate) async fn end_in(platform: &Platform, server: &Server, name: &Name) -> Result<(), Stop> {
    let database = server.database(name, spare::copy_of(name));
    let mut session = server
        .connect_as(platform, ClusterRole::Schema, &database)
        .await?;
    end(&mut session).await?;
    Ok(session.close().await?)
}
