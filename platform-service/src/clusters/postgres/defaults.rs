//! The defaults of a role: what its sessions begin with, in all databases or in one.
//!
//! Deliberately by the databases' oids: one that is renamed keeps them. Invariant: a value is never written
//! into a statement as it is stored, because lists are stored as they were quoted: it goes through a setting
//! of the session.

use std::collections::BTreeSet;

use kit::db::Fault;
use serde::{Deserialize, Serialize};
use sqlx::PgConnection;

use super::{ident, literal, run};

/// Every default of a role.
pub(crate) type Defaults = BTreeSet<RoleDefault>;

/// A default of a role.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, sqlx::FromRow)]
#[serde(deny_unknown_fields)]
pub(crate) struct RoleDefault {
    /// The oid of the one database in which it holds; 0 for all.
    database: i64,
    name: String,
    value: String,
}

impl RoleDefault {
    fn is_of_the_same(&self, other: &Self) -> bool {
        (self.database, &self.name) == (other.database, &other.name)
    }
}

/// The defaults that a role has.
pub(crate) async fn of(connection: &mut PgConnection, role: &str) -> Result<Defaults, sqlx::Error> {
    let found: Vec<RoleDefault> = sqlx::query_as(
        "select setting.setdatabase::bigint as database, split_part(entry, '=', 1) as name,
             substr(entry, strpos(entry, '=') + 1) as value
         from pg_db_role_setting setting, unnest(setting.setconfig) entry
         where setting.setrole = (select oid from pg_roles where rolname = $1)",
    )
    .bind(role)
    .fetch_all(connection)
    .await?;
    Ok(found.into_iter().collect())
}

/// What came of putting defaults back.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PutBack {
    /// They were as they should be.
    Nothing,
    /// They are again, but for those of these names, which the server does not let us change.
    But(Vec<String>),
}

/// Gives a role the defaults that it had. One in a database that is gone went with it.
pub(crate) async fn put_back(
    connection: &mut PgConnection,
    role: &str,
    before: &Defaults,
) -> Result<PutBack, sqlx::Error> {
    let now = of(&mut *connection, role).await?;
    let new = now
        .difference(before)
        .filter(|new| !before.iter().any(|old| old.is_of_the_same(new)));
    let statements: Vec<(&RoleDefault, Change)> = new
        .map(|new| (new, Change::Reset))
        .chain(before.difference(&now).map(|old| (old, Change::Set)))
        .collect();
    let (mut left, mut any) = (Vec::new(), false);
    for (default, change) in statements {
        let Some(place) = place(&mut *connection, default.database).await? else {
            continue;
        };
        any = true;
        let done = run(&mut *connection, change.statement(role, &place, default)).await;
        match done.as_ref().map_err(Fault::of) {
            Ok(()) => {}
            Err(Fault::RightsLost | Fault::Other) => left.push(default.name.clone()),
            Err(_) => done?,
        }
    }
    Ok(if any {
        PutBack::But(left)
    } else {
        PutBack::Nothing
    })
}

/// The words for where a default holds; none where that database is gone.
async fn place(
    connection: &mut PgConnection,
    database: i64,
) -> Result<Option<String>, sqlx::Error> {
    if database == 0 {
        return Ok(Some(String::new()));
    }
    let name: Option<String> =
        sqlx::query_scalar("select datname::text from pg_database where oid = $1::oid")
            .bind(database)
            .fetch_optional(connection)
            .await?;
    Ok(name.map(|name| format!("in database {}", ident(name))))
}

#[derive(Debug, Clone, Copy)]
enum Change {
    Set,
    Reset,
}

impl Change {
    /// One message, so one transaction, which the setting of the session ends with.
    fn statement(self, role: &str, place: &str, default: &RoleDefault) -> String {
        let parts: Vec<String> = default.name.split('.').map(ident).collect();
        let (role, name) = (ident(role), parts.join("."));
        match self {
            Self::Reset => format!("alter role {role} {place} reset {name}"),
            Self::Set => format!(
                "select set_config({}, {}, true);\n\
                 alter role {role} {place} set {name} from current",
                literal(&default.name),
                literal(&default.value),
            ),
        }
    }
}
