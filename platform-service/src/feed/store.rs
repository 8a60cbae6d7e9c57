//! The change feed's SQL.
//!
//! Deliberately no sequence: numbers of a sequence become visible out of order. Invariant:
//! [`record`] is the last write of its transaction; the counter's row lock, held until the commit,
//! orders the changes.

use std::time::Duration;

use contract::internal::{Change, Changes};
use contract::tenant::Hold;
use contract::{ReplicaId, TenantId};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{Announced, CHANNEL};
use crate::registry::{bigint, interval, number, parsed};

/// The most changes in one answer.
const WINDOW: i64 = 1000;

/// Records that each of these tenants has this generation now, wakes the replicas of this service when the
/// transaction commits, and gives the number of the last change. Must be the transaction's last write.
pub(super) async fn record(
    connection: &mut PgConnection,
    changed: &[(TenantId, u64)],
) -> Result<Announced, sqlx::Error> {
    let tenants: Vec<String> = changed.iter().map(|(id, _)| id.to_string()).collect();
    let generations: Vec<i64> = changed
        .iter()
        .map(|(_, generation)| bigint(*generation))
        .collect::<Result<_, _>>()?;
    let last = sqlx::query!(
        r#"
        with counter as (
            update registry.feed set last_number = last_number + cardinality($1::text[])
            returning last_number
        ), change as (
            insert into registry.change (number, tenant_id, generation)
            select counter.last_number - cardinality($1) + entry.position, entry.tenant_id,
                entry.generation
            from counter, unnest($1::text[], $2::bigint[])
                with ordinality as entry (tenant_id, generation, position)
        )
        select last_number, pg_notify($3, '')::text as "told?" from counter
        "#,
        &tenants,
        &generations,
        CHANNEL,
    )
    .fetch_one(connection)
    .await?;
    number("feed.last_number", last.last_number).map(Announced)
}

/// The newest change.
pub(crate) async fn last_number(connection: &mut PgConnection) -> Result<Announced, sqlx::Error> {
    let last = sqlx::query_scalar!("select last_number from registry.feed")
        .fetch_one(connection)
        .await?;
    number("feed.last_number", last).map(Announced)
}

/// Gives the feed another epoch: whoever followed it forgets what it knew.
pub(crate) async fn renew_epoch(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!("update registry.feed set epoch = gen_random_uuid()")
        .execute(connection)
        .await?;
    Ok(())
}

/// Notes that a replica has acted on everything up to `seen`; it says so with its next poll, a
/// heartbeat earlier.
pub(crate) async fn acknowledge(
    connection: &mut PgConnection,
    replica: ReplicaId,
    epoch: Uuid,
    seen: u64,
) -> Result<(), sqlx::Error> {
    // A crash that loses it is made good by the next heartbeat: nothing waits for a disk.
    sqlx::query!(
        "update registry.replica set seen_change = $3, epoch = $2
         from (select set_config('synchronous_commit', 'off', true) as setting) quick
         where quick.setting = 'off' and replica.id = $1
             and (replica.epoch is distinct from $2 or replica.seen_change < $3)",
        replica.uuid(),
        epoch,
        // A cursor that no number can have is of another registry.
        i64::try_from(seen).unwrap_or(0),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Whether every living replica has acted on a change.
pub(super) async fn heard_by_all(
    connection: &mut PgConnection,
    Announced(change): Announced,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select not exists (
               select from registry.replica, registry.feed
               where replica.live_until > now()
                   and (replica.seen_change < $1 or replica.epoch is distinct from feed.epoch)
           ) as "heard!""#,
        bigint(change)?,
    )
    .fetch_one(connection)
    .await
}

/// What follows a cursor.
#[derive(Debug)]
pub(crate) struct Window {
    epoch: Uuid,
    last_number: u64,
    changes: Vec<Change>,
}

impl Window {
    /// The answer to a reader who stands at `after` of `epoch`.
    pub(crate) fn answer(self, epoch: Option<Uuid>, after: u64) -> Changes {
        let Self {
            epoch: current,
            last_number,
            changes,
        } = self;
        // Numbers have no holes, so a first change that is not the next one means that the next
        // one was pruned.
        let next = changes
            .first()
            .map_or(last_number + 1, |first| first.number);
        if epoch != Some(current) || after.checked_add(1) != Some(next) {
            return Changes::Reset {
                epoch: current,
                cursor: last_number,
            };
        }
        Changes::News {
            epoch: current,
            cursor: changes.last().map_or(after, |last| last.number),
            changes,
        }
    }
}

/// The epoch, the newest number and the first changes after `after`, as of one moment.
pub(crate) async fn window(
    connection: &mut PgConnection,
    after: u64,
) -> Result<Window, sqlx::Error> {
    // A cursor that no number can have is of another registry; nothing follows it.
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    let rows = sqlx::query!(
        r#"
        select feed.epoch, feed.last_number,
            change.number as "number?", change.tenant_id as "tenant_id?",
            change.generation as "generation?", tenant.held_until as "held_until?"
        from registry.feed
        left join lateral (
            select number, tenant_id, generation from registry.change
            where number > $1 order by number limit $2
        ) change on true
        left join registry.tenant on tenant.id = change.tenant_id
        order by change.number
        "#,
        after,
        WINDOW,
    )
    .fetch_all(connection)
    .await?;
    let head = rows.first().ok_or(sqlx::Error::RowNotFound)?;
    let (epoch, last_number) = (head.epoch, number("feed.last_number", head.last_number)?);
    let changes = rows
        .iter()
        .filter_map(|row| {
            let change = (row.number?, row.tenant_id.as_deref()?, row.generation?);
            Some((change, row.held_until))
        })
        .map(|((at, tenant, generation), held_until)| {
            Ok(Change {
                number: number("change.number", at)?,
                tenant: parsed("change.tenant_id", tenant)?,
                generation: number("change.generation", generation)?,
                hold: held_until.map(|until| Hold { until }),
            })
        })
        .collect::<Result<_, sqlx::Error>>()?;
    Ok(Window {
        epoch,
        last_number,
        changes,
    })
}

/// The registry's epoch.
pub(crate) async fn epoch(connection: &mut PgConnection) -> Result<Uuid, sqlx::Error> {
    sqlx::query_scalar!("select epoch from registry.feed")
        .fetch_one(connection)
        .await
}

/// Removes changes that are older than `retention`, oldest first without holes.
pub(crate) async fn prune(
    connection: &mut PgConnection,
    retention: Duration,
) -> Result<u64, sqlx::Error> {
    // Numbers and times may disagree by the length of a transaction: removing up to a number and
    // not by time leaves no hole.
    let done = sqlx::query!(
        "delete from registry.change where number <= (
             select max(number) from registry.change where at < now() - $1::interval)",
        interval(retention)?,
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

#[cfg(test)]
mod tests;
