//! Signing keys' SQL.
//!
//! Deliberately holds sealed private keys alone. Invariant: writes happen under [`lock`].

use contract::internal::SigningKey;
use contract::secret::SecretRef;
use sqlx::PgConnection;
use time::OffsetDateTime;

/// Serialises rotation: an arbitrary number that nothing else in the registry uses.
const ROTATION_LOCK: i64 = 0x6b65_7973;

/// Until the transaction ends nobody else rotates.
pub(crate) async fn lock(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "select pg_advisory_xact_lock($1)::text as locked",
        ROTATION_LOCK
    )
    .fetch_one(connection)
    .await?;
    Ok(())
}

/// The keys that verify, newest first.
pub(crate) async fn list(connection: &mut PgConnection) -> Result<Vec<SigningKey>, sqlx::Error> {
    let rows = sqlx::query!(
        "select kid, public_key, private_key, signs_from, verifies_until
         from registry.signing_key
         where verifies_until is null or verifies_until > now()
         order by signs_from desc"
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| SigningKey {
            kid: row.kid,
            public_key: row.public_key,
            private_key: SecretRef(row.private_key),
            signs_from: row.signs_from,
            verifies_until: row.verifies_until,
        })
        .collect())
}

/// From when the newest key signs.
pub(crate) async fn newest_signs_from(
    connection: &mut PgConnection,
) -> Result<Option<OffsetDateTime>, sqlx::Error> {
    sqlx::query_scalar!("select max(signs_from) from registry.signing_key")
        .fetch_one(connection)
        .await
}

/// Stores a key.
pub(crate) async fn insert(
    connection: &mut PgConnection,
    key: &SigningKey,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into registry.signing_key (kid, public_key, private_key, signs_from)
         values ($1, $2, $3, $4)",
        key.kid,
        key.public_key,
        key.private_key.0,
        key.signs_from,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Gives every key that has no end this one.
pub(crate) async fn retire_others(
    connection: &mut PgConnection,
    verifies_until: OffsetDateTime,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update registry.signing_key set verifies_until = $1 where verifies_until is null",
        verifies_until,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Removes the keys whose time is over.
pub(crate) async fn forget_expired(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from registry.signing_key where verifies_until < now()")
        .execute(connection)
        .await?;
    Ok(())
}
