//! Every statement about sessions and their refresh tokens.
//!
//! Deliberately without decisions. Invariant: whoever changes a session's tokens holds the session's
//! row lock, taken first, so that two uses of one token come one after the other.

use std::time::Duration;

use sqlx::PgConnection;

use super::rotation::{Presented, SessionState, SpentAt, TokenState};
use crate::auth::tokens::RefreshDigest;
use crate::auth::{SessionId, UserId};

/// Sessions of one account that are kept; the oldest end when there are more.
const MOST_SESSIONS: i64 = 50;

/// Starts a session of an account, unless it was disabled or its password changed meanwhile.
pub(super) async fn start(
    db: &mut PgConnection,
    session: SessionId,
    account: UserId,
    password_hash: &str,
    lifetime: Duration,
) -> Result<Started, sqlx::Error> {
    let done = sqlx::query!(
        "insert into auth.session (id, account_id, expires_at)
         select $1, id, now() + make_interval(secs => $4)
         from auth.account
         where id = $2 and password_hash = $3 and status = 'active'",
        session.uuid(),
        account.uuid(),
        password_hash,
        lifetime.as_secs_f64()
    )
    .execute(db)
    .await?;
    Ok(if done.rows_affected() == 1 {
        Started::Yes
    } else {
        Started::AccountChanged
    })
}

/// Whether a session was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Started {
    /// It was.
    Yes,
    /// The account is not what it was a moment ago.
    AccountChanged,
}

/// Forgets an account's sessions that are over, and the oldest over the limit.
pub(super) async fn tidy(db: &mut PgConnection, account: UserId) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "delete from auth.session
         where account_id = $1 and (
             expires_at <= now()
             or id in (
                 select id from auth.session where account_id = $1 order by id desc offset $2
             )
         )",
        account.uuid(),
        MOST_SESSIONS
    )
    .execute(db)
    .await?;
    Ok(())
}

/// A refresh token that was shown, under the lock of its session.
pub(super) struct Found {
    pub(super) session: SessionId,
    pub(super) account: UserId,
    pub(super) presented: Presented,
}

/// Finds a refresh token and locks its session.
pub(super) async fn find_locked(
    db: &mut PgConnection,
    digest: RefreshDigest,
    grace: Duration,
) -> Result<Option<Found>, sqlx::Error> {
    // Both rows are locked, so both are seen as they are after a wait.
    let row = sqlx::query!(
        r#"
        select t.session_id, s.account_id, t.state as "state: TokenState",
            coalesce(t.spent_at > clock_timestamp() - make_interval(secs => $2), false) as "recently!",
            s.revoked_at is not null or s.expires_at <= clock_timestamp() as "over!"
        from auth.refresh_token t join auth.session s on s.id = t.session_id
        where t.digest = $1
        for update of s, t
        "#,
        digest.as_bytes(),
        grace.as_secs_f64()
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| Found {
        session: SessionId::from_uuid(row.session_id),
        account: UserId::from_uuid(row.account_id),
        presented: Presented {
            session: if row.over {
                SessionState::Over
            } else {
                SessionState::Open
            },
            token: row.state,
            spent: if row.recently {
                SpentAt::Recently
            } else {
                SpentAt::LongAgo
            },
        },
    }))
}

/// Whether a token that followed from this one was spent.
pub(super) async fn successor_was_spent(
    db: &mut PgConnection,
    session: SessionId,
    parent: RefreshDigest,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"
        select exists (
            select from auth.refresh_token
            where session_id = $1 and parent = $2 and state = 'spent'
        ) as "exists!"
        "#,
        session.uuid(),
        parent.as_bytes()
    )
    .fetch_one(db)
    .await
}

/// Adds a token to a session.
pub(super) async fn insert_token(
    db: &mut PgConnection,
    session: SessionId,
    digest: RefreshDigest,
    parent: Option<RefreshDigest>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into auth.refresh_token (digest, session_id, parent) values ($1, $2, $3)",
        digest.as_bytes(),
        session.uuid(),
        parent.as_ref().map(RefreshDigest::as_bytes)
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Marks a token as exchanged.
pub(super) async fn spend(db: &mut PgConnection, digest: RefreshDigest) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update auth.refresh_token set state = 'spent', spent_at = clock_timestamp()
         where digest = $1",
        digest.as_bytes()
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Marks what followed from a token as lost on its way.
pub(super) async fn supersede_successors(
    db: &mut PgConnection,
    session: SessionId,
    parent: RefreshDigest,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update auth.refresh_token set state = 'superseded'
         where session_id = $1 and parent = $2 and state = 'live'",
        session.uuid(),
        parent.as_bytes()
    )
    .execute(db)
    .await?;
    Ok(())
}

/// What ending a session changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// It was open.
    Now,
    /// It was over, or never was.
    Before,
}

/// Ends a session of an account.
pub(super) async fn revoke(
    db: &mut PgConnection,
    session: SessionId,
    account: UserId,
) -> Result<Ended, sqlx::Error> {
    let done = sqlx::query!(
        "update auth.session set revoked_at = clock_timestamp()
         where id = $1 and account_id = $2 and revoked_at is null",
        session.uuid(),
        account.uuid()
    )
    .execute(db)
    .await?;
    Ok(if done.rows_affected() == 1 {
        Ended::Now
    } else {
        Ended::Before
    })
}
