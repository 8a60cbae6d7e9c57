//! The last backup of a tenant that is purged: an archive as an export is one, kept for a time.
//!
//! Deliberately not encrypted: the tenant's key goes away with its tenant. Invariants: it lies where no
//! purge looks for what is to go; it has an end from the start.

use contract::OperationId;
use contract::operator::backup::{BackupEncryption, BackupId, BackupKind};
use kit::error::Problem;

use super::archive::{Source, Written};
use super::discard::discard;
use super::store::{self, NewRow};
use super::{object, schedule};
use crate::archives::write::write;
use crate::clusters::postgres::Name;
use crate::clusters::spare;
use crate::operations::Head;
use crate::platform::Platform;
use crate::stop::Stop;
use crate::tenants::place::Placed;
use crate::tiers;

/// Writes and records it, for as long as the tenant's tier keeps backups now; said again with the same
/// operation, it is the same one.
pub(crate) async fn keep(
    platform: &Platform,
    placed: &Placed,
    name: &Name,
    operation: OperationId,
) -> Result<(BackupId, Written), Stop> {
    let tenant = &placed.row.id;
    let id = BackupId::from_uuid(operation.uuid());
    let path = object(tenant, id, BackupKind::Final);
    {
        let mut registry = platform.registry.acquire().await?;
        let schedule = tiers::store::schedule(&mut registry, &placed.row.tier).await?;
        let missing = || Stop::Fail(Problem::internal("the tenant's tier is not there"));
        let days = schedule.ok_or_else(missing)?.keep_days;
        let new = NewRow {
            id,
            tenant,
            kind: BackupKind::Final,
            object: &path,
            encryption: BackupEncryption::None,
            server_version: placed.server.version(),
            copy: placed.row.copy,
            keep_for: Some(schedule::DAY * days),
        };
        store::insert(&mut registry, &new).await?;
    }
    let source = Source {
        server: &placed.server,
        name,
        copy: spare::copy_of(name),
    };
    let (written, facts) = write(platform, &placed.row, source, &path).await?;
    let mut registry = platform.registry.acquire().await?;
    store::finish(&mut registry, id, &written, &facts).await?;
    Ok((id, written))
}

/// Removes what [`keep`] of this operation has written; nothing there is success.
pub(crate) async fn remove(platform: &Platform, head: &Head) -> Result<(), Stop> {
    let id = BackupId::from_uuid(head.id.uuid());
    discard(
        platform,
        head,
        &object(head.tenant()?, id, BackupKind::Final),
    )
    .await?;
    store::delete(&mut *platform.registry.acquire().await?, id).await?;
    Ok(())
}
