//! The marker of a database, by which every connection proves that it is in the one that was meant.
//!
//! Deliberately written twice, and either one proves. The comment can be written on every server. The
//! setting arrives with the login, and a new connection looks at it first, because a session that has just
//! begun pays for every catalog that it opens; keeping a setting with a database or a role takes a right
//! that a tenant's role does not have, and a server on which the platform was not given it has comments
//! alone. Invariant: no other place writes either of them, so that both change in one transaction.

use std::fmt;

use contract::tenant::MARKER_SETTING;

use super::{ident, literal};

/// Marks a database; to be part of a longer message.
pub(super) fn marked(database: impl fmt::Display, marker: &str) -> String {
    let (quoted, marker) = (ident(database), literal(marker));
    let set = format!("alter database {quoted} set {MARKER_SETTING} = {marker}");
    format!(
        "comment on database {quoted} is {marker};\n{}",
        where_allowed(&set)
    )
}

/// Takes the marker from a database, which gets the comment back that it had before.
pub(super) fn unmarked(database: impl fmt::Display, comment: Option<&str>) -> String {
    let quoted = ident(database);
    let comment = comment.map_or_else(|| "null".to_owned(), literal);
    let reset = format!("alter database {quoted} reset {MARKER_SETTING}");
    format!(
        "comment on database {quoted} is {comment};\n{}",
        where_allowed(&reset)
    )
}

fn where_allowed(statement: &str) -> String {
    let body = format!(
        "begin
             if has_parameter_privilege('{MARKER_SETTING}', 'set') then execute {}; end if;
         end",
        literal(statement)
    );
    format!("do {};\n", literal(&body))
}
