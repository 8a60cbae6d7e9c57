//! The SQL of the list of replicas.
//!
//! Deliberately changes nothing. Invariant: replicas that have fallen silent are listed too, because they
//! are what somebody looks for.

use contract::ReplicaId;
use contract::operator::oversight::ReplicaView;
use sqlx::PgConnection;

use crate::registry::{json, number, parsed};

/// Up to `limit` replicas in the order of their ids, after `starting_after`.
pub(crate) async fn list(
    connection: &mut PgConnection,
    starting_after: Option<ReplicaId>,
    limit: i64,
) -> Result<Vec<ReplicaView>, sqlx::Error> {
    sqlx::query!(
        r#"select replica.id, replica.service, replica.internal_url, replica.owns,
               replica.live_until > now() as "live!",
               case when replica.epoch = feed.epoch then replica.seen_change end as acknowledged,
               feed.last_number, replica.first_seen_at, replica.last_seen_at
           from registry.replica, registry.feed
           where $1::uuid is null or replica.id > $1
           order by replica.id limit $2"#,
        starting_after.map(ReplicaId::uuid),
        limit,
    )
    .fetch_all(connection)
    .await?
    .into_iter()
    .map(|row| {
        let acknowledged = row.acknowledged;
        Ok(ReplicaView {
            id: ReplicaId::from_uuid(row.id),
            service: parsed("replica.service", &row.service)?,
            internal_url: row.internal_url,
            live: row.live,
            acknowledged: acknowledged
                .map(|seen| number("replica.seen_change", seen))
                .transpose()?,
            newest_change: number("feed.last_number", row.last_number)?,
            owns: json("replica.owns", row.owns)?,
            first_seen_at: row.first_seen_at,
            last_seen_at: row.last_seen_at,
        })
    })
    .collect()
}
