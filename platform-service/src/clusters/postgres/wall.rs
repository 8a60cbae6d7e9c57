//! What a tenant's role may do in its database, enforced by the server.
//!
//! Deliberately by membership in the groups, CONNECT and LOGIN alone: the rights on tables belong to
//! the groups, so nothing is written into the tenant's database and no dump carries a tenant's name.
//! Invariants: every wall is set in one message, which is one transaction, and may be set twice; a
//! wall ends no session, so whoever sets one empties the database afterwards, never before.

use std::time::Duration;

use contract::tenant::{DATA_ROLE, READ_ROLE, SCHEMA_ROLE, SIGN_IN_ROLE};
use kit::db::Fault;
use sqlx::PgConnection;

use super::sessions::{self, Sitting};
use super::{Fence, Name, ident, literal};
use crate::clusters::connections::Server;
use crate::stop::Stop;

/// What a tenant's role may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wall {
    /// Everything that a tenant may.
    Open,
    /// Sign in and out, and read.
    ReadOnly,
    /// Nothing, not even log in.
    Blocked,
}

/// Sets the wall of a role of its own database; both have this name. Of a tenant whose database is gone
/// the role alone is walled: what takes the database's place gets its wall with the name.
pub(crate) async fn set(
    connection: &mut PgConnection,
    fence: Fence,
    name: &Name,
    wall: Wall,
) -> Result<(), sqlx::Error> {
    match fence.run(&mut *connection, statements(name, wall)).await {
        Err(error) if Fault::of(&error) == Fault::DatabaseGone => {
            fence.run(connection, on_role(name, wall)).await
        }
        set => set,
    }
}

/// The statements of [`set`], to be part of a longer message.
pub(crate) fn statements(name: &Name, wall: Wall) -> String {
    let role = ident(name);
    let (data, read) = (ident(DATA_ROLE), ident(READ_ROLE));
    let on_database = match wall {
        Wall::Open => format!("grant connect on database {role} to {role};\n"),
        Wall::ReadOnly => format!(
            "grant connect on database {role} to {role};\n\
             {};\n",
            for_logins(
                name,
                &format!(
                    "execute format('revoke {data} from %1$I', login);
                     execute format('grant {read} to %1$I', login);
                     execute format('alter role %1$I set default_transaction_read_only = on', login);"
                )
            )
        ),
        Wall::Blocked => format!(
            "revoke connect on database {role} from {role};\n\
             {};\n",
            for_logins(
                name,
                "execute format('revoke connect on database %I from %I', own, login);"
            )
        ),
    };
    on_role(name, wall) + &on_database
}

fn on_role(name: &Name, wall: Wall) -> String {
    let role = ident(name);
    let (data, read, sign_in) = (ident(DATA_ROLE), ident(READ_ROLE), ident(SIGN_IN_ROLE));
    match wall {
        Wall::Open => format!(
            "grant {data} to {role};\n\
             revoke {read}, {sign_in} from {role};\n\
             alter role {role} login;\n"
        ),
        Wall::ReadOnly => format!(
            "grant {read}, {sign_in} to {role};\n\
             revoke {data} from {role};\n\
             alter role {role} login;\n"
        ),
        Wall::Blocked => format!(
            "alter role {role} nologin;\n\
             revoke {data}, {read}, {sign_in} from {role};\n"
        ),
    }
}

/// Does something to each operator's `login` that may connect to a database, `own`: what keeps a tenant
/// from writing or from entering keeps its operators' logins from it, too, which are issued anew where
/// they are still needed.
fn for_logins(name: &Name, each: &str) -> String {
    let database = literal(&name.to_string());
    format!(
        "do $$ declare login text; own text := {database}; begin
             for login in
                 select role.rolname from pg_database database, aclexplode(database.datacl) entry
                 join pg_roles role on role.oid = entry.grantee
                 where database.datname = own and role.rolname like 'psql:%'
             loop
                 {each}
             end loop;
         end $$"
    )
}

/// Whose sessions are ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// Everybody's: before a rename, a swap or a drop.
    Everybody,
    /// Those of the role of the same name: whoever migrates or looks after it stays.
    Tenant,
    /// Those, and those of operators' logins: nobody but the platform stays.
    People,
    /// Those, and those of whoever migrates.
    Migrations,
}

impl Who {
    /// What the names of roles are like whose sessions are meant besides the tenant's own.
    pub(super) const fn others(self) -> &'static str {
        match self {
            Self::Everybody => "%",
            Self::People => "psql:%",
            Self::Migrations => SCHEMA_ROLE,
            Self::Tenant => "",
        }
    }
}

/// Ends these people's sessions in a database: see [`sessions::empty`].
pub(crate) async fn empty(
    server: &Server,
    name: &Name,
    who: Who,
    patience: Duration,
) -> Result<u64, Stop> {
    sessions::empty(server, Sitting::In(name, who), patience).await
}
