//! Backups' SQL: what there is, what is due, what is over; and tenants' data keys.
//!
//! Deliberately nothing of the objects themselves. Invariant: a row says `writing` before the first
//! byte of its object is written, and is deleted after the last one is.

pub(crate) mod due;

use std::time::Duration;

use contract::operator::backup::{BackupEncryption, BackupId, BackupKind, BackupState};
use contract::secret::SecretRef;
use contract::{OperationId, SchemaVersions, TenantId};
use serde_json::Value;
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::archive::{Facts, Tables, Written};
use crate::feed::Unannounced;
use crate::operations::OperationKind;
use crate::registry::{bigint, int, interval, json, number, parsed, to_json};

/// A backup as it is stored.
#[derive(Debug, Clone)]
pub(crate) struct BackupRow {
    pub(crate) id: BackupId,
    pub(crate) tenant: TenantId,
    pub(crate) kind: BackupKind,
    pub(crate) state: BackupState,
    /// Its path in the object store.
    pub(crate) object: String,
    /// None until it is complete.
    pub(crate) written: Option<Written>,
    pub(crate) encryption: BackupEncryption,
    pub(crate) schema_versions: SchemaVersions,
    pub(crate) server_version: i32,
    pub(crate) copy: u32,
    pub(crate) tables: Tables,
    pub(crate) created_at: OffsetDateTime,
    pub(crate) finished_at: Option<OffsetDateTime>,
    pub(crate) verified_at: Option<OffsetDateTime>,
    pub(crate) expires_at: Option<OffsetDateTime>,
}

struct Columns {
    id: uuid::Uuid,
    tenant_id: String,
    kind: String,
    state: String,
    object: String,
    size_bytes: Option<i64>,
    sha256: Option<Vec<u8>>,
    encryption: String,
    schema_versions: Value,
    server_version: i32,
    copy: i32,
    tables: Value,
    created_at: OffsetDateTime,
    finished_at: Option<OffsetDateTime>,
    verified_at: Option<OffsetDateTime>,
    expires_at: Option<OffsetDateTime>,
}

impl Columns {
    fn parse(self) -> Result<BackupRow, sqlx::Error> {
        let written = match (self.size_bytes, self.sha256) {
            (Some(size), Some(sha256)) => Some(Written {
                size_bytes: number("backup.size_bytes", size)?,
                sha256: sha256
                    .try_into()
                    .map_err(|_| sqlx::Error::Decode("backup.sha256 is not 32 bytes".into()))?,
            }),
            _ => None,
        };
        Ok(BackupRow {
            id: BackupId::from_uuid(self.id),
            tenant: parsed("backup.tenant_id", &self.tenant_id)?,
            kind: parsed("backup.kind", &self.kind)?,
            state: parsed("backup.state", &self.state)?,
            object: self.object,
            written,
            encryption: parsed("backup.encryption", &self.encryption)?,
            schema_versions: json("backup.schema_versions", self.schema_versions)?,
            server_version: self.server_version,
            copy: number("backup.copy", self.copy)?,
            tables: json("backup.tables", self.tables)?,
            created_at: self.created_at,
            finished_at: self.finished_at,
            verified_at: self.verified_at,
            expires_at: self.expires_at,
        })
    }
}

/// A backup that is to be written.
#[derive(Debug, Clone)]
pub(crate) struct NewRow<'a> {
    pub(crate) id: BackupId,
    pub(crate) tenant: &'a TenantId,
    pub(crate) kind: BackupKind,
    pub(crate) object: &'a str,
    pub(crate) encryption: BackupEncryption,
    pub(crate) server_version: i32,
    pub(crate) copy: u32,
    /// None keeps it until somebody removes it.
    pub(crate) keep_for: Option<Duration>,
}

/// Records a backup that is being written. Recorded again it stays as it is.
pub(crate) async fn insert(
    connection: &mut PgConnection,
    new: &NewRow<'_>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into registry.backup
             (id, tenant_id, kind, state, object, encryption, schema_versions, server_version,
              copy, expires_at)
         values ($1, $2, $3, 'writing', $4, $5, '{}', $6, $7, now() + $8::interval)
         on conflict on constraint backup_key do nothing",
        new.id.uuid(),
        new.tenant.as_str(),
        new.kind.as_str(),
        new.object,
        new.encryption.as_str(),
        new.server_version,
        int(new.copy)?,
        new.keep_for.map(interval).transpose()?,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Records that a backup is complete.
pub(crate) async fn finish(
    connection: &mut PgConnection,
    id: BackupId,
    written: &Written,
    facts: &Facts,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update registry.backup
         set state = 'ready', size_bytes = $2, sha256 = $3, schema_versions = $4, tables = $5,
             finished_at = now()
         where id = $1 and state = 'writing'",
        id.uuid(),
        bigint(written.size_bytes)?,
        &written.sha256,
        to_json(&facts.schema_versions)?,
        to_json(&facts.tables)?,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A backup.
pub(crate) async fn find(
    connection: &mut PgConnection,
    id: BackupId,
) -> Result<Option<BackupRow>, sqlx::Error> {
    sqlx::query_as!(
        Columns,
        "select id, tenant_id, kind, state, object, size_bytes, sha256, encryption,
             schema_versions, server_version, copy, tables, created_at, finished_at, verified_at,
             expires_at
         from registry.backup where id = $1",
        id.uuid(),
    )
    .fetch_optional(connection)
    .await?
    .map(Columns::parse)
    .transpose()
}

/// Which backups to list.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    pub(crate) tenant: Option<TenantId>,
    pub(crate) kind: Option<BackupKind>,
    pub(crate) state: Option<BackupState>,
}

/// Up to `limit` backups, newest first, older than `before`; in a transaction, so that each filter has a
/// plan of its own.
pub(crate) async fn list(
    connection: &mut PgConnection,
    filter: &Filter,
    before: Option<BackupId>,
    limit: i64,
) -> Result<Vec<BackupRow>, sqlx::Error> {
    sqlx::query!("set local plan_cache_mode = force_custom_plan")
        .execute(&mut *connection)
        .await?;
    sqlx::query_as!(
        Columns,
        "select id, tenant_id, kind, state, object, size_bytes, sha256, encryption,
             schema_versions, server_version, copy, tables, created_at, finished_at, verified_at,
             expires_at
         from registry.backup
         where ($1::text is null or tenant_id = $1) and ($2::uuid is null or id < $2)
             and ($3::text is null or kind = $3)
             and ($4::text is null or state = $4)
         order by id desc limit $5",
        filter.tenant.as_ref().map(TenantId::as_str),
        before.map(BackupId::uuid),
        filter.kind.map(BackupKind::as_str),
        filter.state.map(BackupState::as_str),
        limit,
    )
    .fetch_all(connection)
    .await?
    .into_iter()
    .map(Columns::parse)
    .collect()
}

/// Stores where a backup stands.
pub(crate) async fn set_state(
    connection: &mut PgConnection,
    id: BackupId,
    state: BackupState,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update registry.backup set state = $2 where id = $1",
        id.uuid(),
        state.as_str(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Records that a backup cannot be loaded; one that is being removed meanwhile goes on being removed.
pub(crate) async fn mark_corrupt(
    connection: &mut PgConnection,
    id: BackupId,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update registry.backup set state = 'corrupt' where id = $1 and state = 'ready'",
        id.uuid(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Keeps a backup from being used or removed by anybody else until the transaction ends. Who begins an
/// operation on one waits for that before it asks [`used_by`].
pub(crate) async fn hold(connection: &mut PgConnection, id: BackupId) -> Result<(), sqlx::Error> {
    sqlx::query!(
        r#"select id as "id!" from registry.backup where id = $1 for update"#,
        id.uuid()
    )
    .fetch_optional(connection)
    .await?;
    Ok(())
}

/// As [`hold`], for who has other rows already and must not wait; whether it is held.
pub(crate) async fn hold_if_free(
    connection: &mut PgConnection,
    id: BackupId,
) -> Result<bool, sqlx::Error> {
    let held = sqlx::query!(
        r#"select id as "id!" from registry.backup where id = $1 for update skip locked"#,
        id.uuid()
    )
    .fetch_optional(connection)
    .await?;
    Ok(held.is_some())
}

/// The operation of a kind that is not over and is about a backup.
pub(crate) async fn used_by(
    connection: &mut PgConnection,
    id: BackupId,
    kind: OperationKind,
) -> Result<Option<OperationId>, sqlx::Error> {
    let found = sqlx::query_scalar!(
        "select id from registry.operation
         where kind = $2 and state in ('running', 'unwinding', 'stuck')
             and plan ->> 'backup' = $1 limit 1",
        id.to_string(),
        kind.as_str(),
    )
    .fetch_optional(connection)
    .await?;
    Ok(found.map(OperationId::from_uuid))
}

/// The operation that is not over and makes a new tenant of any backup of this one.
pub(crate) async fn read_by(
    connection: &mut PgConnection,
    tenant: &TenantId,
) -> Result<Option<OperationId>, sqlx::Error> {
    let found = sqlx::query_scalar!(
        "select id from registry.operation
         where kind = 'clone' and state in ('running', 'unwinding', 'stuck')
             and plan ->> 'source' = $1 and plan ->> 'backup' is not null limit 1",
        tenant.as_str(),
    )
    .fetch_optional(connection)
    .await?;
    Ok(found.map(OperationId::from_uuid))
}

/// Records that a backup was restored to see that it can be.
pub(crate) async fn mark_verified(
    connection: &mut PgConnection,
    id: BackupId,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update registry.backup set state = 'ready', verified_at = now()
         where id = $1 and state in ('ready', 'corrupt')",
        id.uuid(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Forgets a backup whose object is gone.
pub(crate) async fn delete(connection: &mut PgConnection, id: BackupId) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from registry.backup where id = $1", id.uuid())
        .execute(connection)
        .await?;
    Ok(())
}

/// The sealed key of a tenant.
pub(super) async fn key(
    connection: &mut PgConnection,
    tenant: &TenantId,
) -> Result<Option<SecretRef>, sqlx::Error> {
    let found = sqlx::query_scalar!(
        "select key from registry.tenant_data_key where tenant_id = $1",
        tenant.as_str(),
    )
    .fetch_optional(connection)
    .await?;
    Ok(found.map(SecretRef))
}

/// Keeps a tenant's key unless it has one.
pub(super) async fn insert_key(
    connection: &mut PgConnection,
    tenant: &TenantId,
    SecretRef(key): &SecretRef,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into registry.tenant_data_key (tenant_id, key) values ($1, $2)
         on conflict on constraint tenant_data_key_key do nothing",
        tenant.as_str(),
        key,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Stores which of a tenant's databases is the one now, and lets its requests go on.
pub(crate) async fn replace_database(
    connection: &mut PgConnection,
    tenant: &TenantId,
    copy: u32,
    schema_versions: &SchemaVersions,
) -> Result<Unannounced, sqlx::Error> {
    let generation = sqlx::query_scalar!(
        "update registry.tenant
         set copy = $2, schema_versions = $3, held_until = null, generation = generation + 1,
             updated_at = now()
         where id = $1 returning generation",
        tenant.as_str(),
        int(copy)?,
        to_json(schema_versions)?,
    )
    .fetch_one(connection)
    .await?;
    Unannounced::one(tenant, generation)
}

/// A database that a restore replaced.
#[derive(Debug)]
pub(crate) struct Previous {
    pub(crate) name: String,
    /// What the tenant wrote since then is not in it.
    pub(crate) replaced_at: OffsetDateTime,
}

/// The database that a tenant's last restore on a cluster replaced, as long as it is kept. What a move left
/// is no such database.
pub(crate) async fn previous(
    connection: &mut PgConnection,
    tenant: &TenantId,
    cluster: &contract::ClusterName,
) -> Result<Option<Previous>, sqlx::Error> {
    sqlx::query_as!(
        Previous,
        "select name, created_at as replaced_at from registry.kept_database
         where tenant_id = $1 and cluster = $2 and name like 'old:%' and drop_after > now()
             and not exists (select from registry.operation
                 where operation.id = kept_database.operation_id and operation.kind = 'move')
         order by split_part(name, ':', 3)::int desc limit 1",
        tenant.as_str(),
        cluster.as_str(),
    )
    .fetch_optional(connection)
    .await
}
