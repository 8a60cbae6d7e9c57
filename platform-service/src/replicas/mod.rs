//! Replicas of services: the registry knows from their heartbeats that they live, which schemas they own
//! and which shares of connections they may hold.
//!
//! Deliberately calls no replica: they speak, this answers. Invariants: while a replica of a service lives,
//! no other service can claim its owners; the share of a silent replica stays reserved as [`silence`] says.

pub(crate) mod api;
pub(crate) mod shares;
pub(crate) mod silence;
pub(crate) mod store;

use std::collections::BTreeMap;
use std::time::Duration;

use axum::extract::State;
use contract::internal::{Heartbeat, HeartbeatAnswer, OwnedSchema, ReplicaPhase};
use contract::{ClusterName, Code, SchemaVersions, ServiceName};
use kit::auth::service::ServiceCaller;
use kit::db::OnConstraint;
use kit::error::{Problem, Result};
use kit::extract::Json;
use sqlx::PgConnection;
use tokio::sync::Mutex;
use tokio::time::timeout;
use utoipa_axum::router::OpenApiRouter;
use uuid::Uuid;

use crate::feed;
use crate::platform::Platform;
use shares::{Share, grants};

/// A service has at most this many owners.
const MAX_OWNERS: usize = 100;
const MAX_URL_BYTES: usize = 300;
/// How long a heartbeat waits for its turn at the shares; together with the lock's [`store::wait_briefly`] less
/// than a replica waits for its answer.
const TURN: Duration = Duration::from_secs(2);

/// A service of which a replica lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LiveService {
    pub(crate) service: ServiceName,
    /// Base URLs of the internal listeners of its replicas, the one heard of last first.
    pub(crate) internal_urls: Vec<String>,
    /// Those of them that bring all that it owns in its newest version: while a release is rolled out, a
    /// replica of the one before knows nothing of a module that is new.
    pub(crate) newest_urls: Vec<String>,
    /// What it owns, with the newest version that a living replica brings.
    pub(crate) owns: Vec<OwnedSchema>,
}

impl LiveService {
    /// Of its replicas, each with what it owns, the one heard of last first.
    fn new(service: ServiceName, replicas: Vec<(String, Vec<OwnedSchema>)>) -> Self {
        let owns = together(replicas.iter().flat_map(|(_, owns)| owns.clone()));
        let is_newest = |own: &[OwnedSchema]| {
            owns.iter().all(|newest| {
                own.iter()
                    .any(|own| own.owner == newest.owner && own.newest == newest.newest)
            })
        };
        let newest = replicas.iter().filter(|(_, own)| is_newest(own));
        Self {
            service,
            newest_urls: newest.map(|(url, _)| url.clone()).collect(),
            internal_urls: replicas.into_iter().map(|(url, _)| url).collect(),
            owns,
        }
    }
}

/// What several replicas bring together: of each owner the newest version and the highest minimum.
pub(crate) fn together(replicas: impl IntoIterator<Item = OwnedSchema>) -> Vec<OwnedSchema> {
    let mut owners: BTreeMap<_, OwnedSchema> = BTreeMap::new();
    for schema in replicas {
        owners
            .entry(schema.owner.clone())
            .and_modify(|known| {
                known.newest = known.newest.max(schema.newest);
                known.minimum = known.minimum.max(schema.minimum);
            })
            .or_insert(schema);
    }
    owners.into_values().collect()
}

/// The newest version of each owner of these services.
pub(crate) fn newest_versions(services: &[LiveService]) -> SchemaVersions {
    services
        .iter()
        .flat_map(|service| &service.owns)
        .map(|schema| (schema.owner.clone(), schema.newest))
        .collect()
}

/// A replica says that it lives.
///
/// Registers its service and the schemas that it owns, confirms what it keeps to and what it has
/// heard, and answers with its shares of the clusters' connections. A replica that says `gone` gives
/// back its shares at once.
#[utoipa::path(
    post,
    path = "/internal/heartbeat",
    operation_id = "internal.heartbeat",
    tag = "replicas",
    request_body = Heartbeat,
    responses((status = 200, description = "What it may do until the next one.", body = HeartbeatAnswer))
)]
pub(crate) async fn heartbeat(
    _caller: ServiceCaller,
    State(platform): State<Platform>,
    Json(heartbeat): Json<Heartbeat>,
) -> Result<Json<HeartbeatAnswer>> {
    check(&heartbeat)?;
    let timing = &platform.settings.replicas;
    // By itself, so that a replica lives also where its share has to wait.
    let epoch = register(&platform, &heartbeat).await?;
    let shares = match heartbeat.phase {
        ReplicaPhase::Gone => BTreeMap::new(),
        ReplicaPhase::Serving => platform.sharing.share(&platform, &heartbeat).await?,
    };
    let interval = timing.heartbeat_every.get().as_millis();
    Ok(Json(HeartbeatAnswer {
        epoch,
        shares,
        interval_ms: u64::try_from(interval).unwrap_or(u64::MAX),
        lease: silence::lease(timing),
    }))
}

pub(crate) fn internal_router() -> OpenApiRouter<Platform> {
    kit::operations!(heartbeat)
}

/// Writes that a replica lives and what it owns, or that it is gone; gives the feed's epoch.
async fn register(platform: &Platform, heartbeat: &Heartbeat) -> Result<Uuid> {
    let silent_after = platform.settings.replicas.silent_after.get();
    let mut transaction = platform.registry.begin().await?;
    store::wait_briefly(&mut transaction).await?;
    let claims = match heartbeat.phase {
        ReplicaPhase::Gone => {
            store::delete(&mut transaction, heartbeat.replica).await?;
            Claims::Settled
        }
        ReplicaPhase::Serving => {
            store::register(&mut transaction, heartbeat, silent_after).await?;
            claim_owners(&mut transaction, heartbeat).await?
        }
    };
    let epoch = feed::store::epoch(&mut transaction).await?;
    transaction.commit().await?;
    if claims == Claims::New {
        // New schemas want a new template.
        platform.clusters.nudge();
    }
    Ok(epoch)
}

fn check(heartbeat: &Heartbeat) -> Result<()> {
    let url = &heartbeat.internal_url;
    if !(url.starts_with("http://") || url.starts_with("https://")) || url.len() > MAX_URL_BYTES {
        return Err(Problem::field(
            "/internal_url",
            "is not an http or https URL of at most 300 bytes",
        ));
    }
    if heartbeat.owns.len() > MAX_OWNERS {
        return Err(Problem::field("/owns", "has more than 100 owners"));
    }
    for (index, schema) in heartbeat.owns.iter().enumerate() {
        if schema.minimum < 0 || schema.minimum > schema.newest {
            return Err(Problem::field(
                format!("/owns/{index}/minimum"),
                "must be between 0 and `newest`",
            ));
        }
        if heartbeat.owns[..index]
            .iter()
            .any(|other| other.owner == schema.owner)
        {
            return Err(Problem::field(
                format!("/owns/{index}/owner"),
                "is there twice",
            ));
        }
    }
    Ok(())
}

/// Whether a heartbeat brought schemas or versions that were not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Claims {
    Settled,
    New,
}

/// Makes the service the owner of what it declares, unless another one that lives is.
async fn claim_owners(connection: &mut PgConnection, heartbeat: &Heartbeat) -> Result<Claims> {
    let replicas = store::owned_by(connection, &heartbeat.service).await?;
    let wanted = together(replicas);
    let names: Vec<_> = wanted
        .iter()
        .map(|schema| schema.owner.to_string())
        .collect();
    let known = store::owners(connection, &names).await?;
    let settled = |schema: &OwnedSchema| {
        known
            .iter()
            .any(|owner| owner.service == heartbeat.service && owner.schema == *schema)
    };
    if wanted.iter().all(settled) {
        return Ok(Claims::Settled);
    }
    // One at a time, so that of two services that claim one owner the second one sees the first.
    store::lock_owners(connection).await?;
    for owner in store::owners(connection, &names).await? {
        if owner.service != heartbeat.service && store::lives(connection, &owner.service).await? {
            return Err(Problem::new(Code::OwnerClaimed).detail(format!(
                "{} belongs to the service {}, of which a replica lives.",
                owner.schema.owner, owner.service
            )));
        }
    }
    for schema in &wanted {
        store::set_owner(connection, &heartbeat.service, schema).await?;
    }
    Ok(Claims::New)
}

/// The turns of this process at the shares. However many replicas speak while somebody holds the shares' lock,
/// only one connection waits for it: the others are left to the work.
#[derive(Debug, Default)]
pub(crate) struct Sharing(Mutex<()>);

impl Sharing {
    async fn share(
        &self,
        platform: &Platform,
        heartbeat: &Heartbeat,
    ) -> Result<BTreeMap<ClusterName, u32>> {
        let turn = timeout(TURN, self.0.lock()).await;
        let _turn = turn.map_err(|_| Problem::new(Code::Overloaded))?;
        let mut transaction = platform.registry.begin().await?;
        store::wait_briefly(&mut transaction).await?;
        let shares = share(&mut transaction, heartbeat).await?;
        transaction.commit().await?;
        Ok(shares)
    }
}

/// Confirms what the replica keeps to and grants all replicas anew.
async fn share(
    connection: &mut PgConnection,
    heartbeat: &Heartbeat,
) -> Result<BTreeMap<ClusterName, u32>> {
    let mut granted = BTreeMap::new();
    store::lock_shares(connection).await?;
    for (cluster, budget) in store::budgets(connection).await? {
        let held = heartbeat.shares.get(&cluster).copied().unwrap_or(0);
        // Its goodbye may have come since it was registered.
        store::confirm(connection, heartbeat.replica, &cluster, held)
            .await
            .on_constraint("replica_share_replica_fk", || {
                Problem::new(Code::Conflict).detail("The replica has said that it is gone.")
            })?;
        let shares = store::shares(connection, &cluster).await?;
        let (live, silent): (Vec<_>, Vec<_>) = shares
            .into_iter()
            .partition(|stored| stored.liveness == store::Liveness::Live);
        let reserved = silent.iter().fold(0_u32, |sum, stored| {
            sum.saturating_add(stored.share.reserved())
        });
        let before: Vec<Share> = live.iter().map(|stored| stored.share).collect();
        let now = grants(budget.saturating_sub(reserved), &before);
        for (stored, now) in live.iter().zip(now) {
            let share = stored.share.regranted(now);
            if share != stored.share {
                store::set_share(connection, stored.replica, &cluster, share).await?;
            }
            if stored.replica == heartbeat.replica {
                granted.insert(cluster.clone(), now);
            }
        }
    }
    Ok(granted)
}
