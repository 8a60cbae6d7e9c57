//! The comment on a tenant's role: which operation made it, or claimed it.
//!
//! Deliberately on the role: a database's comment is its marker. Invariant: a role without such a comment
//! was made by somebody else, and is never dropped as ours.

use contract::OperationId;

use super::{OperationState, Stop, store};
use crate::platform::Platform;

/// How every mark begins.
const MARK: &str = "tenantry:";

/// The mark of an operation.
pub(crate) fn of(operation: OperationId) -> String {
    format!("{MARK}{operation}")
}

/// Whether a comment is the mark of some operation.
pub(super) fn is_one(comment: &str) -> bool {
    comment.starts_with(MARK)
}

/// Whether a comment is the mark of an operation that was undone: what has it was left, and is nobody's.
///
/// It stays true of a role with this mark: whatever an operation makes of it has that one's.
pub(crate) async fn is_of_undone(platform: &Platform, comment: &str) -> Result<bool, Stop> {
    let id = comment.strip_prefix(MARK).and_then(|id| id.parse().ok());
    let Some(id) = id else { return Ok(false) };
    let row = store::find(&mut *platform.registry.acquire().await?, id).await?;
    Ok(row.is_some_and(|row| row.state == OperationState::Undone))
}
