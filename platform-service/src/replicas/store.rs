//! Replicas' SQL: registration, owners, shares.
//!
//! Deliberately no arithmetic on shares: [`super::shares`] does it. Invariant: shares are read and
//! written under [`lock_shares`].

pub(crate) mod shown;

use std::collections::BTreeMap;
use std::time::Duration;

use contract::internal::{Heartbeat, OwnedSchema};
use contract::{ClusterName, ReplicaId, SchemaVersions, ServiceName};
use sqlx::PgConnection;

use super::LiveService;
use super::shares::Share;
use crate::registry::{bigint, int, interval, json, number, parsed, to_json};

/// Serialises claims of owners: an arbitrary number that nothing else in the registry uses.
const OWNERS_LOCK: i64 = 0x6f77_6e65_7273;
/// Serialises the sharing of budgets: an arbitrary number, too.
const SHARES_LOCK: i64 = 0x7368_6172_6573;

/// Until the transaction ends a lock is waited for as long as a heartbeat has time.
pub(crate) async fn wait_briefly(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!("set local lock_timeout = '2s'")
        .execute(connection)
        .await?;
    Ok(())
}

/// Stores that a replica lives, and what it says.
pub(crate) async fn register(
    connection: &mut PgConnection,
    heartbeat: &Heartbeat,
    silent_after: Duration,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into registry.replica as replica
             (id, service, internal_url, owns, epoch, seen_change, live_until)
         values ($1, $2, $3, $4, $5, $6, now() + $7::interval)
         on conflict (id) do update
         set service = excluded.service, internal_url = excluded.internal_url,
             owns = excluded.owns, epoch = excluded.epoch,
             seen_change = case when replica.epoch = excluded.epoch
                 then greatest(replica.seen_change, excluded.seen_change)
                 else excluded.seen_change end,
             last_seen_at = now(), live_until = excluded.live_until",
        heartbeat.replica.uuid(),
        heartbeat.service.as_str(),
        heartbeat.internal_url,
        to_json(&heartbeat.owns)?,
        heartbeat.epoch,
        bigint(heartbeat.seen_change)?,
        interval(silent_after)?,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Forgets a replica and its shares.
pub(crate) async fn delete(
    connection: &mut PgConnection,
    replica: ReplicaId,
) -> Result<(), sqlx::Error> {
    sqlx::query!("delete from registry.replica where id = $1", replica.uuid())
        .execute(connection)
        .await?;
    Ok(())
}

/// What the living replicas of a service own, one after the other.
pub(crate) async fn owned_by(
    connection: &mut PgConnection,
    service: &ServiceName,
) -> Result<Vec<OwnedSchema>, sqlx::Error> {
    let rows = sqlx::query_scalar!(
        "select owns from registry.replica where service = $1 and live_until > now()",
        service.as_str(),
    )
    .fetch_all(connection)
    .await?;
    let mut owned = Vec::new();
    for row in rows {
        owned.extend(json::<Vec<OwnedSchema>>("replica.owns", row)?);
    }
    Ok(owned)
}

/// Who owns a schema.
#[derive(Debug)]
pub(crate) struct Owner {
    pub(crate) service: ServiceName,
    pub(crate) schema: OwnedSchema,
}

/// The owners of these names, as far as there are.
pub(crate) async fn owners(
    connection: &mut PgConnection,
    names: &[String],
) -> Result<Vec<Owner>, sqlx::Error> {
    sqlx::query!(
        "select name, service, newest, minimum from registry.schema_owner where name = any($1)",
        names,
    )
    .fetch_all(connection)
    .await?
    .into_iter()
    .map(|row| {
        Ok(Owner {
            service: parsed("schema_owner.service", &row.service)?,
            schema: OwnedSchema {
                owner: parsed("schema_owner.name", &row.name)?,
                newest: row.newest,
                minimum: row.minimum,
            },
        })
    })
    .collect()
}

/// Until the transaction ends nobody else claims an owner.
pub(crate) async fn lock_owners(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "select pg_advisory_xact_lock($1)::text as locked",
        OWNERS_LOCK
    )
    .fetch_one(connection)
    .await?;
    Ok(())
}

/// Whether a replica of a service lives.
pub(crate) async fn lives(
    connection: &mut PgConnection,
    service: &ServiceName,
) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select exists (
               select from registry.replica where service = $1 and live_until > now()
           ) as "lives!""#,
        service.as_str(),
    )
    .fetch_one(connection)
    .await
}

/// Makes a service the owner of a schema.
pub(crate) async fn set_owner(
    connection: &mut PgConnection,
    service: &ServiceName,
    schema: &OwnedSchema,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into registry.schema_owner (name, service, newest, minimum)
         values ($1, $2, $3, $4)
         on conflict (name) do update
         set service = excluded.service, newest = excluded.newest, minimum = excluded.minimum,
             updated_at = now()",
        schema.owner.as_str(),
        service.as_str(),
        schema.newest,
        schema.minimum,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The services of which a replica lives and that own schemas.
pub(crate) async fn live_services(
    connection: &mut PgConnection,
) -> Result<Vec<LiveService>, sqlx::Error> {
    let rows = sqlx::query!(
        "select service, internal_url, owns from registry.replica
         where live_until > now() and owns <> '[]'
         order by service, last_seen_at desc"
    )
    .fetch_all(connection)
    .await?;
    let mut services: BTreeMap<ServiceName, Vec<(String, Vec<OwnedSchema>)>> = BTreeMap::new();
    for row in rows {
        let service = parsed("replica.service", &row.service)?;
        let owns = json::<Vec<OwnedSchema>>("replica.owns", row.owns)?;
        let replicas = services.entry(service).or_default();
        replicas.push((row.internal_url, owns));
    }
    Ok(services
        .into_iter()
        .map(|(service, replicas)| LiveService::new(service, replicas))
        .collect())
}

/// The newest version of every schema that a living service owns.
pub(crate) async fn newest_versions(
    connection: &mut PgConnection,
) -> Result<SchemaVersions, sqlx::Error> {
    Ok(super::newest_versions(&live_services(connection).await?))
}

/// Until the transaction ends nobody else reads or writes shares. Not the clusters' rows: those are
/// locked by whoever places a tenant.
pub(crate) async fn lock_shares(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "select pg_advisory_xact_lock($1)::text as locked",
        SHARES_LOCK
    )
    .fetch_one(connection)
    .await?;
    Ok(())
}

/// Every cluster with its budget.
pub(crate) async fn budgets(
    connection: &mut PgConnection,
) -> Result<Vec<(ClusterName, u32)>, sqlx::Error> {
    sqlx::query!("select name, connection_budget from registry.cluster order by name")
        .fetch_all(connection)
        .await?
        .into_iter()
        .map(|row| {
            Ok((
                parsed("cluster.name", &row.name)?,
                number("cluster.connection_budget", row.connection_budget)?,
            ))
        })
        .collect()
}

/// Stores what a replica says that it keeps to.
pub(crate) async fn confirm(
    connection: &mut PgConnection,
    replica: ReplicaId,
    cluster: &ClusterName,
    held: u32,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into registry.replica_share (replica_id, cluster, granted, held)
         values ($1, $2, 0, $3)
         on conflict (replica_id, cluster) do update set held = excluded.held
         where replica_share.held <> excluded.held",
        replica.uuid(),
        cluster.as_str(),
        i32::try_from(held).unwrap_or(i32::MAX),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Whether a replica was heard of in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Liveness {
    Live,
    Silent,
}

/// A replica's share of a cluster.
#[derive(Debug)]
pub(crate) struct StoredShare {
    pub(crate) replica: ReplicaId,
    pub(crate) share: Share,
    pub(crate) liveness: Liveness,
}

/// The shares of a cluster, of the oldest replica first.
pub(crate) async fn shares(
    connection: &mut PgConnection,
    cluster: &ClusterName,
) -> Result<Vec<StoredShare>, sqlx::Error> {
    sqlx::query!(
        r#"select replica.id, share.granted, share.held, replica.live_until > now() as "live!"
           from registry.replica_share share
           join registry.replica on replica.id = share.replica_id
           where share.cluster = $1
           order by replica.first_seen_at, replica.id"#,
        cluster.as_str(),
    )
    .fetch_all(connection)
    .await?
    .into_iter()
    .map(|row| {
        Ok(StoredShare {
            replica: ReplicaId::from_uuid(row.id),
            share: Share {
                granted: number("replica_share.granted", row.granted)?,
                held: number("replica_share.held", row.held)?,
            },
            liveness: if row.live {
                Liveness::Live
            } else {
                Liveness::Silent
            },
        })
    })
    .collect()
}

/// Stores a share.
pub(crate) async fn set_share(
    connection: &mut PgConnection,
    replica: ReplicaId,
    cluster: &ClusterName,
    share: Share,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update registry.replica_share set granted = $3, held = $4
         where replica_id = $1 and cluster = $2",
        replica.uuid(),
        cluster.as_str(),
        int(share.granted)?,
        int(share.held)?,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A share of a replica that has been silent for too long.
#[derive(Debug)]
pub(crate) struct SilentShare {
    pub(crate) service: ServiceName,
    pub(crate) replica: ReplicaId,
    pub(crate) cluster: ClusterName,
    pub(crate) share: Share,
}

/// The shares of silent replicas.
pub(crate) async fn silent_shares(
    connection: &mut PgConnection,
) -> Result<Vec<SilentShare>, sqlx::Error> {
    sqlx::query!(
        "select replica.id, replica.service, share.cluster, share.granted, share.held
         from registry.replica
         join registry.replica_share share on share.replica_id = replica.id
         where replica.live_until <= now()"
    )
    .fetch_all(connection)
    .await?
    .into_iter()
    .map(|row| {
        Ok(SilentShare {
            service: parsed("replica.service", &row.service)?,
            replica: ReplicaId::from_uuid(row.id),
            cluster: parsed("replica_share.cluster", &row.cluster)?,
            share: Share {
                granted: number("replica_share.granted", row.granted)?,
                held: number("replica_share.held", row.held)?,
            },
        })
    })
    .collect()
}

/// Frees a share but for one connection, unless its replica has spoken meanwhile.
pub(crate) async fn keep_last(
    connection: &mut PgConnection,
    replica: ReplicaId,
    cluster: &ClusterName,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update registry.replica_share share
         set granted = least(share.granted, 1), held = least(share.held, 1)
         from registry.replica
         where replica.id = share.replica_id and replica.live_until <= now()
             and share.replica_id = $1 and share.cluster = $2",
        replica.uuid(),
        cluster.as_str(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Frees a share, unless its replica has spoken meanwhile.
pub(crate) async fn delete_silent_share(
    connection: &mut PgConnection,
    replica: ReplicaId,
    cluster: &ClusterName,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "delete from registry.replica_share share using registry.replica
         where replica.id = share.replica_id and replica.live_until <= now()
             and share.replica_id = $1 and share.cluster = $2",
        replica.uuid(),
        cluster.as_str(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Forgets the silent replicas that have no share any more.
pub(crate) async fn delete_silent(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "delete from registry.replica where live_until <= now()
             and not exists (select from registry.replica_share where replica_id = replica.id)"
    )
    .execute(connection)
    .await?;
    Ok(())
}
