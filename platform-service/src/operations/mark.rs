//! The comment on a tenant's role: which operation made it, or claimed it.
//!
//! Deliberately on the role: a database's comment is its marker. Invariant: a role without such a comment
//! was made by somebody else, and is never dropped as ours.

use contract::{Code, OperationId, TenantId};
use kit::error::Problem;
use sqlx::PgConnection;

use super::{OperationState, Stop, store};
use crate::clusters::connections::Server;
use crate::clusters::postgres::{self, Name, Whose};
use crate::platform::Platform;

/// How every mark begins.
const MARK: &str = "tenantry:";

/// The mark of an operation.
pub(crate) fn of(operation: OperationId) -> String {
    format!("{MARK}{operation}")
}

/// What an operation says that finds something under the tenant's name that has not its mark.
pub(super) fn taken(server: &Server, name: &Name) -> Stop {
    let detail = format!(
        "The cluster {} has a database or role {name} that this operation did not make.",
        server.name()
    );
    Stop::Fail(Problem::new(Code::Conflict).detail(detail))
}

/// Whether what a server has under a name has this mark.
pub(super) async fn is_on(server: &Server, name: &Name, mark: &str) -> Result<bool, Stop> {
    let found = postgres::look(&mut *server.acquire().await?, name).await?;
    Ok(found.role_mark() == Some(mark))
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

/// The mark of what is under a tenant's name on a server, whoever needs it: the server alone is asked.
pub(crate) async fn under(server: &Server, tenant: &TenantId) -> Result<Option<String>, Stop> {
    let name = Name::Tenant(tenant.clone());
    let found = postgres::look(&mut *server.acquire().await?, &name).await?;
    Ok(found.role.and_then(|role| role.mark))
}

/// Drops what a move that could not undo it itself has left under a tenant's name on a server, on a
/// connection that [drops alone](crate::clusters::drops::alone) there.
pub(crate) async fn drop_left(
    platform: &Platform,
    drops: &mut PgConnection,
    tenant: &TenantId,
) -> Result<(), Stop> {
    let name = Name::Tenant(tenant.clone());
    let found = postgres::look(&mut *drops, &name).await?;
    match found.role_mark() {
        Some(left) if is_of_undone(platform, left).await? => {
            Ok(postgres::discard(drops, &name, Whose::Marked(left)).await?)
        }
        _ => Ok(()),
    }
}
