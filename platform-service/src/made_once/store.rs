//! The SQL of keys that were used once.
//!
//! Deliberately keeps digests alone. Invariant: a key that another transaction is claiming is waited for.

use std::time::Duration;

use sqlx::PgConnection;

use crate::registry::interval;
use crate::tenants::idempotency::Fingerprint;

/// An earlier request with a key.
#[derive(Debug)]
pub(super) struct Earlier {
    pub(super) request: Vec<u8>,
    /// What it made.
    pub(super) made: String,
}

/// Claims a key, or gives the request that has it.
pub(super) async fn claim(
    connection: &mut PgConnection,
    known: &Fingerprint,
    made: &str,
) -> Result<Option<Earlier>, sqlx::Error> {
    let claimed = sqlx::query!(
        "insert into registry.made_once (key, request_digest, made) values ($1, $2, $3)
         on conflict on constraint made_once_key do nothing",
        known.key.as_slice(),
        known.request.as_slice(),
        made,
    )
    .execute(&mut *connection)
    .await?;
    if claimed.rows_affected() > 0 {
        return Ok(None);
    }
    let earlier = sqlx::query_as!(
        Earlier,
        "select request_digest as request, made from registry.made_once where key = $1",
        known.key.as_slice(),
    )
    .fetch_one(connection)
    .await?;
    Ok(Some(earlier))
}

/// Forgets keys that were used so long ago.
pub(crate) async fn forget(
    connection: &mut PgConnection,
    older_than: Duration,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "delete from registry.made_once where created_at < now() - $1::interval",
        interval(older_than)?,
    )
    .execute(connection)
    .await?;
    Ok(())
}
