//! Dropping databases and roles, and what is left to be dropped.
//!
//! Deliberately one drop at a time on a server: each forces a checkpoint. Invariant: a drop has no timeout, because
//! one that is interrupted leaves a database that can only be dropped.

use contract::tenant::PLATFORM_ROLE;
use sqlx::PgConnection;

use super::{DatabaseState, Look, Name, ident, look, run};

/// The lock under which databases are dropped, in the maintenance database of each server.
const DROP_LOCK: i64 = 0x7465_6e61_6e74_6472;

/// What [`discard`] may drop.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Whose<'a> {
    /// Whatever has the name, which whoever drops it has for itself.
    Anybody,
    /// Only what belongs to a role with this comment. A tenant's name is free again once its database
    /// is dropped, so somebody who is late may find another's under it.
    Marked(&'a str),
    /// Only a database whose drop was interrupted, and its role.
    HalfDropped,
}

impl Whose<'_> {
    fn covers(self, found: &Look) -> bool {
        match self {
            Self::Anybody => true,
            Self::Marked(wanted) => {
                let mark = found.role_mark();
                mark == Some(wanted)
            }
            Self::HalfDropped => {
                let state = found.database.as_ref().map(|database| database.state);
                state == Some(DatabaseState::HalfDropped)
            }
        }
    }
}

/// Makes a connection, which is to be closed afterwards, the one on its server that drops something, for as
/// long as that takes.
pub(crate) async fn drop_alone(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query(
        "select set_config(name, '0', false) from pg_settings where name in
             ('statement_timeout', 'lock_timeout', 'transaction_timeout',
              'client_connection_check_interval')",
    )
    .execute(&mut *connection)
    .await?;
    // Who stands still between two statements, but for a drop, holds nobody up for long.
    sqlx::query("select set_config('idle_session_timeout', '30s', false), pg_advisory_lock($1)")
        .bind(DROP_LOCK)
        .execute(connection)
        .await?;
    Ok(())
}

/// Waits until nothing is being dropped by who began before, as long as a session waits for a lock.
pub(crate) async fn after_drops(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query("select pg_advisory_xact_lock($1)")
        .bind(DROP_LOCK)
        .execute(connection)
        .await?;
    Ok(())
}

/// Drops a database with the sessions in it, then the role of the same name; nothing there, or
/// nothing of `whose`, is success.
///
/// Takes a connection that [drops alone](drop_alone): each drop forces a checkpoint, and a database that is
/// being dropped looks like one whose drop was interrupted.
pub(crate) async fn discard(
    connection: &mut PgConnection,
    name: &Name,
    whose: Whose<'_>,
) -> Result<(), sqlx::Error> {
    // Under the lock, because what is dropped under it stays what was looked at.
    let found = look(&mut *connection, name).await?;
    if !whose.covers(&found) {
        return Ok(());
    }
    let quoted = ident(name);
    // A late claim may rename both before they are dropped, which is not an error here.
    if let Some(database) = found.database {
        if database.state == DatabaseState::Closed {
            let reopen = format!("alter database {quoted} is_template false");
            run(&mut *connection, reopen).await?;
        }
        run(
            &mut *connection,
            format!("drop database if exists {quoted} with (force)"),
        )
        .await?;
    }
    if found.role.is_some() {
        run(connection, format!("drop role if exists {quoted}")).await?;
    }
    Ok(())
}

/// What the server has under derived names, and databases of ours whose drop was interrupted.
#[derive(Debug, Default)]
pub(crate) struct Leftovers {
    /// Copies and templates, databases or roles, ready, half-made or orphaned.
    pub(crate) derived: Vec<Name>,
    /// Databases that can only be dropped.
    pub(crate) half_dropped: Vec<Name>,
}

/// Lists derived names and half-dropped databases that belong to us.
pub(crate) async fn leftovers(connection: &mut PgConnection) -> Result<Leftovers, sqlx::Error> {
    let rows: Vec<(String, bool)> = sqlx::query_as(
        "select datname::text, datconnlimit = -2 from pg_database
         where datdba = $1::text::regrole
             and (datname like 'stock:%' or datname like 'tpl:%' or datconnlimit = -2)
         union
         select rolname::text, false from pg_roles where rolname like 'stock:%'",
    )
    .bind(PLATFORM_ROLE)
    .fetch_all(connection)
    .await?;
    let mut leftovers = Leftovers::default();
    for (text, half_dropped) in rows {
        // Somebody else's name that only looks like ours stays untouched.
        let Ok(name) = text.parse::<Name>() else {
            continue;
        };
        if half_dropped {
            leftovers.half_dropped.push(name);
        } else {
            leftovers.derived.push(name);
        }
    }
    leftovers.derived.sort_unstable();
    leftovers.derived.dedup();
    Ok(leftovers)
}

#[cfg(test)]
mod tests;
