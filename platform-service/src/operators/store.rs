//! Operator keys' SQL.
//!
//! Deliberately never deletes a key: the audit names it. Invariants: a digest is looked up whole, so
//! a look-up takes the same time for every wrong key; a key's times are compared with the registry's
//! clock alone, so every replica thinks the same of it.

use std::time::Duration;

use sqlx::PgConnection;
use time::OffsetDateTime;

use super::{OperatorKey, OperatorKeyId, Scope};
use crate::registry::{interval, parsed};

/// How exactly it is known when a key was last used: it is written no more often.
const USE_NOTED_EVERY: Duration = Duration::from_secs(60);

/// What [`insert`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inserted {
    New,
    /// The key was known, maybe revoked.
    Known,
}

/// Stores a key; without an end it is good until it is revoked.
pub(crate) async fn insert(
    connection: &mut PgConnection,
    key: &OperatorKey,
    digest: &[u8; 32],
    expires_at: Option<OffsetDateTime>,
) -> Result<Inserted, sqlx::Error> {
    let scopes: Vec<String> = key
        .scopes
        .iter()
        .map(|scope| scope.as_str().to_owned())
        .collect();
    let done = sqlx::query!(
        "insert into registry.operator_key (id, name, digest, scopes, expires_at)
         values ($1, $2, $3, $4, $5)
         on conflict on constraint operator_key_digest_key do nothing",
        key.id.uuid(),
        key.name,
        digest.as_slice(),
        &scopes,
        expires_at,
    )
    .execute(connection)
    .await?;
    Ok(match done.rows_affected() {
        0 => Inserted::Known,
        _ => Inserted::New,
    })
}

/// Whether a time is to come, by the registry's clock.
pub(crate) async fn is_to_come(
    connection: &mut PgConnection,
    at: OffsetDateTime,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(r#"select $1::timestamptz > now() as "to_come!""#, at)
        .fetch_one(connection)
        .await
}

/// A key that somebody shows.
#[derive(Debug)]
pub(crate) enum Shown {
    Good(OperatorKey, LastUse),
    Expired(OperatorKeyId, OffsetDateTime),
}

/// What is written of when a key was last used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LastUse {
    Noted,
    /// Nothing, or it is too long ago.
    Unnoted,
}

/// The key of a digest, unless it is revoked.
pub(crate) async fn find_by_digest(
    connection: &mut PgConnection,
    digest: &[u8; 32],
) -> Result<Option<Shown>, sqlx::Error> {
    let found = sqlx::query!(
        r#"select id, name, scopes,
               case when expires_at <= now() then expires_at end as expired_at,
               coalesce(last_used_at > now() - $2::interval, false) as "noted!"
           from registry.operator_key
           where digest = $1 and revoked_at is null"#,
        digest.as_slice(),
        interval(USE_NOTED_EVERY)?,
    )
    .fetch_optional(connection)
    .await?;
    found
        .map(|row| {
            let id = OperatorKeyId::from_uuid(row.id);
            if let Some(at) = row.expired_at {
                return Ok(Shown::Expired(id, at));
            }
            let key = OperatorKey {
                id,
                name: row.name,
                scopes: scopes(&row.scopes)?,
            };
            let last_use = match row.noted {
                true => LastUse::Noted,
                false => LastUse::Unnoted,
            };
            Ok(Shown::Good(key, last_use))
        })
        .transpose()
}

/// Writes that a key is used now, unless that was just written.
pub(crate) async fn note_use(
    connection: &mut PgConnection,
    id: OperatorKeyId,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update registry.operator_key set last_used_at = now()
         where id = $1 and coalesce(last_used_at <= now() - $2::interval, true)",
        id.uuid(),
        interval(USE_NOTED_EVERY)?,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A key as it is listed.
#[derive(Debug)]
pub(crate) struct KeyRow {
    pub(crate) key: OperatorKey,
    pub(crate) created_at: OffsetDateTime,
    pub(crate) expires_at: Option<OffsetDateTime>,
    pub(crate) last_used_at: Option<OffsetDateTime>,
    pub(crate) revoked_at: Option<OffsetDateTime>,
}

/// Up to `limit` keys, oldest first, after `starting_after`.
pub(crate) async fn list(
    connection: &mut PgConnection,
    starting_after: Option<OperatorKeyId>,
    limit: i64,
) -> Result<Vec<KeyRow>, sqlx::Error> {
    sqlx::query!(
        "select id, name, scopes, created_at, expires_at, last_used_at, revoked_at
         from registry.operator_key
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
            expires_at: row.expires_at,
            last_used_at: row.last_used_at,
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
