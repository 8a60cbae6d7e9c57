//! The SQL of who keeps a cluster's template and stock: one session at a time, by a lock in the registry.
//!
//! Deliberately no rows: whoever dies is out of the way with its session. Invariant: a session that has the
//! lock is nobody else's before it has given it back or has ended.

use contract::ClusterName;
use sqlx::PgConnection;

/// The class of the locks, which nothing else in the registry uses: "keep".
const LOCK_CLASS: i32 = 0x6b65_6570;

/// Whether a session keeps a cluster now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::clusters) enum Keeping {
    /// This one does, until it gives the lock back or ends.
    Ours,
    /// Another one does.
    Others,
}

/// Tries to become the one session that keeps a cluster.
pub(in crate::clusters) async fn begin(
    connection: &mut PgConnection,
    cluster: &ClusterName,
) -> Result<Keeping, sqlx::Error> {
    let locked = sqlx::query_scalar!(
        r#"select pg_try_advisory_lock($1, hashtext($2)) as "locked!""#,
        LOCK_CLASS,
        cluster.as_str(),
    )
    .fetch_one(connection)
    .await?;
    Ok(if locked {
        Keeping::Ours
    } else {
        Keeping::Others
    })
}

/// Lets others keep a cluster.
pub(in crate::clusters) async fn end(
    connection: &mut PgConnection,
    cluster: &ClusterName,
) -> Result<(), sqlx::Error> {
    sqlx::query_scalar!(
        r#"select pg_advisory_unlock($1, hashtext($2)) as "unlocked!""#,
        LOCK_CLASS,
        cluster.as_str(),
    )
    .fetch_one(connection)
    .await?;
    Ok(())
}

/// Until the transaction ends nobody keeps a cluster's templates and stock; waits some seconds for who does.
pub(in crate::clusters) async fn keep_out(
    connection: &mut PgConnection,
    cluster: &ClusterName,
) -> Result<(), sqlx::Error> {
    sqlx::query!("set local lock_timeout = '10s'")
        .execute(&mut *connection)
        .await?;
    sqlx::query!(
        "select pg_advisory_xact_lock($1, hashtext($2))::text as locked",
        LOCK_CLASS,
        cluster.as_str(),
    )
    .fetch_one(connection)
    .await?;
    Ok(())
}
