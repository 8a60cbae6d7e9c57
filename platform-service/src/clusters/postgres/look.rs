//! What a server has under a name: a database, a role, or neither.
//!
//! Deliberately one statement for both, so that they are of one moment. Invariant: nothing is changed.

use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row as _};

use super::Name;

/// What a server has under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Look {
    pub(crate) database: Option<DatabaseLook>,
    pub(crate) role: Option<RoleLook>,
}

impl Look {
    /// Whether the name is free.
    pub(crate) fn is_nothing(&self) -> bool {
        self.database.is_none() && self.role.is_none()
    }

    /// Whether there is a database that takes connections.
    pub(crate) fn is_open(&self) -> bool {
        let state = self.database.as_ref().map(|database| database.state);
        state == Some(DatabaseState::Open)
    }

    /// The comment on the role.
    pub(crate) fn role_mark(&self) -> Option<&str> {
        self.role.as_ref()?.mark.as_deref()
    }
}

/// A database as the server's catalog shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DatabaseLook {
    pub(crate) marker: Option<String>,
    pub(crate) state: DatabaseState,
}

/// Whether a database can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DatabaseState {
    /// It takes connections.
    Open,
    /// It takes none: a finished template.
    Closed,
    /// A drop of it was interrupted; it can only be dropped again.
    HalfDropped,
}

/// A role as the server's catalog shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RoleLook {
    /// The comment on it: which operation made it.
    pub(crate) mark: Option<String>,
}

/// Looks at the database and the role of a name.
pub(crate) async fn look(connection: &mut PgConnection, name: &Name) -> Result<Look, sqlx::Error> {
    let [found] = look_at(connection, [name]).await?;
    Ok(found)
}

/// The same for several names at once, in their order.
pub(crate) async fn look_at<const N: usize>(
    connection: &mut PgConnection,
    names: [&Name; N],
) -> Result<[Look; N], sqlx::Error> {
    let rows = sqlx::query(
        "select database.oid is not null as has_database,
             shobj_description(database.oid, 'pg_database') as marker,
             coalesce(database.datconnlimit = -2, false) as half_dropped,
             coalesce(database.datallowconn, false) as open,
             role.oid is not null as has_role,
             shobj_description(role.oid, 'pg_authid') as mark
         from unnest($1::name[]) with ordinality wanted (name, position)
         left join pg_database database on database.datname = wanted.name
         left join pg_roles role on role.rolname = wanted.name
         order by wanted.position",
    )
    .bind(names.map(Name::to_string).to_vec())
    .fetch_all(connection)
    .await?;
    let found: Vec<Look> = rows.iter().map(seen).collect::<Result<_, _>>()?;
    found.try_into().map_err(|_| sqlx::Error::RowNotFound)
}

fn seen(row: &PgRow) -> Result<Look, sqlx::Error> {
    let state = match (row.try_get("half_dropped")?, row.try_get("open")?) {
        (true, _) => DatabaseState::HalfDropped,
        (false, true) => DatabaseState::Open,
        (false, false) => DatabaseState::Closed,
    };
    let marker = row.try_get("marker")?;
    let mark = row.try_get("mark")?;
    Ok(Look {
        database: row
            .try_get::<bool, _>("has_database")?
            .then_some(DatabaseLook { marker, state }),
        role: row
            .try_get::<bool, _>("has_role")?
            .then_some(RoleLook { mark }),
    })
}
