//! Operator keys' SQL.
//!
//! Deliberately never deletes a key: the audit names it. Invariant: a digest is looked up whole, so
//! a look-up takes the same time for every wrong key.

use sqlx::PgConnection;
use time::OffsetDateTime;

use super::{OperatorKey, OperatorKeyId, Scope};
use crate::registry::parsed;

/// What [`insert`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inserted {
    New,
    /// The key was known, maybe revoked.
    Known,
}

/// Stores a key.
pub(crate) async fn insert(
    connection: &mut PgConnection,
    key: &OperatorKey,
    digest: &[u8; 32],
) -> Result<Inserted, sqlx::Error> {
    let scopes: Vec<String> = key
        .scopes
        .iter()
        .map(|scope| scope.as_str().to_owned())
        .collect();
    let done = sqlx::query!(
        "insert into registry.operator_key (id, name, digest, scopes) values ($1, $2, $3, $4)
         on conflict on constraint operator_key_digest_key do nothing",
        key.id.uuid(),
        key.name,
        digest.as_slice(),
        &scopes,
    )
    .execute(connection)
    .await?;
    Ok(match done.rows_affected() {
        0 => Inserted::Known,
        _ => Inserted::New,
    })
}

/// The key of a digest, unless it is revoked.
pub(crate) async fn find_by_digest(
    connection: &mut PgConnection,
    digest: &[u8; 32],
) -> Result<Option<OperatorKey>, sqlx::Error> {
    let found = sqlx::query!(
        "select id, name, scopes from registry.operator_key
         where digest = $1 and revoked_at is null",
        digest.as_slice(),
    )
    .fetch_optional(connection)
    .await?;
    found
        .map(|row| {
            Ok(OperatorKey {
                id: OperatorKeyId::from_uuid(row.id),
                name: row.name,
                scopes: scopes(&row.scopes)?,
            })
        })
        .transpose()
}

/// A key as it is listed.
#[derive(Debug)]
pub(crate) struct KeyRow {
    pub(crate) key: OperatorKey,
    pub(crate) created_at: OffsetDateTime,
    pub(crate) revoked_at: Option<OffsetDateTime>,
}

/// Up to `limit` keys, oldest first, after `starting_after`.
pub(crate) async fn list(
    connection: &mut PgConnection,
    starting_after: Option<OperatorKeyId>,
    limit: i64,
) -> Result<Vec<KeyRow>, sqlx::Error> {
    sqlx::query!(
        "select id, name, scopes, created_at, revoked_at from registry.operator_key
         where $1::uuid is null or id > $1
         order by id limit $2",
        starting_after.map(OperatorKeyId::uuid),
        limit,
    )
    .fetch_all(connection)
    .await?
    .into_iter()
    .map(|row| {
        Ok(KeyRow {
            key: OperatorKey {
                id: OperatorKeyId::from_uuid(row.id),
                name: row.name,
                scopes: scopes(&row.scopes)?,
            },
            created_at: row.created_at,
            revoked_at: row.revoked_at,
        })
    })
    .collect()
}

/// What [`revoke`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Revoked {
    Now,
    Before,
    Unknown,
}

/// Revokes a key at once.
pub(crate) async fn revoke(
    connection: &mut PgConnection,
    id: OperatorKeyId,
) -> Result<Revoked, sqlx::Error> {
    let found = sqlx::query_scalar!(
        "select revoked_at from registry.operator_key where id = $1 for update",
        id.uuid(),
    )
    .fetch_optional(&mut *connection)
    .await?;
    match found {
        None => Ok(Revoked::Unknown),
        Some(Some(_)) => Ok(Revoked::Before),
        Some(None) => {
            sqlx::query!(
                "update registry.operator_key set revoked_at = now() where id = $1",
                id.uuid(),
            )
            .execute(connection)
            .await?;
            Ok(Revoked::Now)
        }
    }
}

fn scopes(texts: &[String]) -> Result<Vec<Scope>, sqlx::Error> {
    texts
        .iter()
        .map(|text| parsed("operator_key.scopes", text))
        .collect()
}
