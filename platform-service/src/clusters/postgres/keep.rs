//! A tenant's database and role under another name, and another password for its role.
//!
//! Deliberately without a look at who sits in the database: a rename is refused while somebody does.
//! Invariants: database and role are renamed together, in one message, which is one transaction, and
//! the database has the marker of its new name from then on; the role keeps its password and its wall.

use sqlx::PgConnection;

use super::{Fence, Name, ident, literal, marked, run};
use crate::clusters::scram::Verifier;

/// Renames a database and the role of the same name.
pub(crate) async fn rename(
    connection: &mut PgConnection,
    fence: Fence,
    from: &Name,
    to: &Name,
    marker: &str,
) -> Result<(), sqlx::Error> {
    let (old, new) = (ident(from), ident(to));
    let statements = format!(
        "alter database {old} rename to {new};\n\
         alter role {old} rename to {new};\n{}",
        marked(to, marker)
    );
    fence.run(connection, statements).await
}

/// Renames a role whose database is gone.
pub(crate) async fn rename_role(
    connection: &mut PgConnection,
    fence: Fence,
    from: &Name,
    to: &Name,
) -> Result<(), sqlx::Error> {
    let (old, new) = (ident(from), ident(to));
    let statement = format!("alter role {old} rename to {new};\n");
    fence.run(connection, statement).await
}

/// Gives a role another password; its sessions go on.
pub(crate) async fn set_password(
    connection: &mut PgConnection,
    name: &Name,
    verifier: &Verifier,
) -> Result<(), sqlx::Error> {
    let (role, verifier) = (ident(name), literal(verifier.as_str()));
    run(connection, format!("alter role {role} password {verifier}")).await
}
