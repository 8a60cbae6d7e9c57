//! The comment on a tenant's role: which operation made it, or claimed it.
//!
//! Deliberately on the role: a database's comment is its marker. Invariant: a role without such a comment
//! was made by somebody else, and is never dropped as ours.

use contract::OperationId;

/// How every mark begins.
const MARK: &str = "tenantry:";

/// The mark of an operation.
pub(crate) fn of(operation: OperationId) -> String {
    format!("{MARK}{operation}")
}

/// Whether a comment is the mark of some operation.
pub(crate) fn is_one(comment: &str) -> bool {
    comment.starts_with(MARK)
}
