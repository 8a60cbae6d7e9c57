//! Operators remove a cluster that nothing is on any more.
//!
//! Deliberately no operation: the registry forgets it in one transaction, and what is left on its server is
//! ours alone. Invariants: at the commit nothing of a tenant or of an operation is on it, and nothing can
//! come; on the server only what the platform makes anew by itself is dropped, and what could be somebody's
//! data is named.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use contract::operator::cluster::{RemovedCluster, ServerCleared};
use contract::{ClusterName, Code, OperationId};
use kit::db::Fault;
use kit::error::{Problem, Result};
use kit::extract::{Json, Path, Query};
use serde_json::json;
use time::OffsetDateTime;
use utoipa_axum::router::OpenApiRouter;

use super::connections::Server;
use super::drops;
use super::postgres::{self, Name, Whose, inventory, logins};
use super::store::{self as clusters, ClusterRow, derived, keeping, remove as store};
use crate::audit::{self, Action, Actor};
use crate::confirm::{RemoveQuery, confirmed};
use crate::operations::OperationKind;
use crate::operators::{ClustersWrite, Operator};
use crate::platform::Platform;
use crate::stop::Stop;
use crate::{psql, replicas, sweep, tenants};

/// How long the server may take: each drop writes what the whole server has not written yet.
const PATIENCE: Duration = Duration::from_secs(120);

/// Whether a removal is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Remove,
    /// Says what it would do.
    Look,
}

/// Remove a cluster that nothing is on any more.
///
/// Refused with `conflict` as long as a tenant is on it that is not purged, a database is kept there, or an
/// operation concerns it: the refusal names them, and the command that helps. The platform forgets its
/// server, and drops there what it had made for new tenants; where the server does not answer, it is left as it
/// is, and the answer says so. The server can be added again, here or to another installation.
#[utoipa::path(
    delete,
    path = "/v1/clusters/{name}",
    operation_id = "clusters.remove",
    tag = "clusters",
    params(("name" = ClusterName, Path, example = "old"), RemoveQuery),
    responses((
        status = 200,
        description = "It is removed; or what would happen, for a dry run.",
        body = RemovedCluster
    )),
    // Each drop waits for the server's disk.
    extensions(("x-unhurried" = json!(true)))
)]
pub(super) async fn remove(
    operator: Operator<ClustersWrite>,
    State(platform): State<Platform>,
    Path(name): Path<ClusterName>,
    Query(query): Query<RemoveQuery>,
) -> Result<Json<RemovedCluster>> {
    let mode = if query.dry_run {
        Mode::Look
    } else {
        let said = query.confirm.as_deref();
        confirmed("confirm", said, ("the cluster's name", name.as_str()))?;
        Mode::Remove
    };
    // While there is a row that says how to reach it.
    let server = match platform.find_server(&name).await {
        Ok(Some(server)) => Ok(server),
        Ok(None) => return Err(Problem::new(Code::NotFound)),
        Err(stop) => Err(stop.words()),
    };
    // In a task of its own: nobody comes back to it when the caller goes away.
    let removal = forget_and_clear(platform, name, server, (operator.actor(), mode));
    let removed = tokio::spawn(removal).await;
    removed.map_err(Problem::internal)?.map(Json)
}

async fn forget_and_clear(
    platform: Platform,
    name: ClusterName,
    server: Result<Arc<Server>, String>,
    (actor, mode): (Actor, Mode),
) -> Result<RemovedCluster> {
    let row = forget(&platform, &name, actor, mode).await?;
    let cleared = clear(&platform, &row, server, mode).await;
    if mode == Mode::Remove {
        // Closes its connections.
        platform.clusters.forget(&name);
    }
    Ok(cleared.into_answer(name))
}

/// Lets the registry forget a cluster that nothing is on; gives what it knew of it.
async fn forget(
    platform: &Platform,
    name: &ClusterName,
    actor: Actor,
    mode: Mode,
) -> Result<ClusterRow> {
    let mut transaction = platform.registry.begin().await?;
    // In the order in which others take these locks: who keeps a cluster or shares its connections has
    // theirs before they touch its row.
    let kept = keeping::keep_out(&mut transaction, name).await;
    kept.map_err(|error| match Fault::of(&error) {
        Fault::LockTimeout => Problem::new(Code::NotReady)
            .detail("Databases are just being made on it: ask again in a moment.")
            .caused_by(error),
        _ => error.into(),
    })?;
    replicas::store::lock_shares(&mut transaction).await?;
    let row = store::lock(&mut transaction, name).await?;
    let row = row.ok_or_else(|| Problem::new(Code::NotFound))?;
    let left = store::left(&mut transaction, name).await?;
    if !left.is_nothing() {
        let words = left.words(name);
        return Err(Problem::new(Code::Conflict).detail(words));
    }
    if mode == Mode::Look {
        return Ok(row);
    }
    tenants::store::purge::forget_cluster(&mut transaction, name).await?;
    psql::store::forget_cluster(&mut transaction, name).await?;
    sweep::store::forget_cluster(&mut transaction, name).await?;
    derived::forget_cluster(&mut transaction, name).await?;
    store::delete(&mut transaction, name).await?;
    let detail = json!({
        "cluster": name, "region": row.region, "host": row.host, "port": row.port,
    });
    let action = Action::ClusterRemoved;
    audit::record(&mut transaction, actor, action, None, detail).await?;
    transaction.commit().await?;
    Ok(row)
}

/// Things of one sort: how many there are, and the first of them.
#[derive(Debug, Default)]
pub(super) struct Several {
    pub(super) all: u64,
    pub(super) named: Vec<String>,
}

impl fmt::Display for Several {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.named.join(", "))?;
        if self.all > self.named.len() as u64 {
            f.write_str(", ...")?;
        }
        Ok(())
    }
}

/// A live operation.
#[derive(Debug)]
pub(super) struct LeftOperation {
    pub(super) id: OperationId,
    pub(super) kind: OperationKind,
    pub(super) is_stuck: bool,
}

/// What keeps a cluster from being removed.
#[derive(Debug, Default)]
pub(super) struct Left {
    /// Tenants that live.
    pub(super) tenants: Several,
    /// Deleted tenants that are not purged.
    pub(super) deleted: Several,
    /// Kept databases, and when the last one goes.
    pub(super) kept: (Several, Option<OffsetDateTime>),
    pub(super) operations: Vec<LeftOperation>,
}

impl Left {
    fn is_nothing(&self) -> bool {
        self.tenants.all == 0
            && self.deleted.all == 0
            && self.kept.0.all == 0
            && self.operations.is_empty()
    }

    /// What it is, and what helps.
    fn words(&self, cluster: &ClusterName) -> String {
        let mut parts = Vec::new();
        let (tenants, deleted, (kept, last)) = (&self.tenants, &self.deleted, &self.kept);
        if tenants.all > 0 {
            parts.push(format!(
                "It has {} tenants ({tenants}): `tenantctl clusters drain {cluster}` moves them.",
                tenants.all
            ));
        }
        if deleted.all > 0 {
            parts.push(format!(
                "It has the data of {} deleted tenants ({deleted}), until their purge: `tenantctl tenants \
                 purge` destroys it before.",
                deleted.all
            ));
        }
        if kept.all > 0 {
            let until = match last {
                Some(last) => format!(
                    "the last one on {} at {:02}:{:02} UTC",
                    last.date(),
                    last.hour(),
                    last.minute()
                ),
                None => "with their operations".to_owned(),
            };
            parts.push(format!(
                "It keeps {} databases that moves, restores and the like left ({kept}); they go by \
                 themselves, {until}.",
                kept.all
            ));
        }
        for operation in &self.operations {
            let (id, kind) = (operation.id, operation.kind.as_str());
            parts.push(if operation.is_stuck {
                format!("The operation {id} ({kind}) is stuck: `tenantctl operations retry {id}`.")
            } else {
                format!("The operation {id} ({kind}) is under way: wait for its end.")
            });
        }
        parts.join(" ")
    }
}

/// What became of a server that is no cluster any more.
#[derive(Debug, Default)]
struct Cleared {
    dropped: Vec<String>,
    stays: Vec<String>,
    /// Why it was left as it is, or what people have to do.
    note: Option<String>,
}

impl Cleared {
    fn into_answer(self, cluster: ClusterName) -> RemovedCluster {
        RemovedCluster {
            cluster,
            server: match self.note {
                None => ServerCleared::Done,
                Some(_) => ServerCleared::ByHand,
            },
            dropped: self.dropped,
            stays: self.stays,
            note: self.note,
        }
    }
}

/// Takes from a server what the platform makes anew by itself, and the mark that says whose it is.
async fn clear(
    platform: &Platform,
    row: &ClusterRow,
    server: Result<Arc<Server>, String>,
    mode: Mode,
) -> Cleared {
    let mut cleared = Cleared::default();
    let done = match server {
        Err(words) => Err(words),
        Ok(server) => {
            let work = clear_alone(platform, row, &server, (mode, &mut cleared));
            match tokio::time::timeout(PATIENCE, work).await {
                Ok(done) => done.map_err(|stop| stop.words()),
                Err(_) => Err("it did not answer in time".to_owned()),
            }
        }
    };
    if let Err(words) = done {
        let extent = match cleared.dropped.as_slice() {
            [] => "left as it is",
            _ => "cleared in part",
        };
        cleared.note = Some(format!(
            "The server was {extent}: {words}. What is left of the platform on it is in nobody's way. It can \
             be added again here; another installation takes it after `comment on role tn_platform is null`."
        ));
    }
    cleared
}

/// Clears a server that nobody adds meanwhile.
async fn clear_alone(
    platform: &Platform,
    row: &ClusterRow,
    server: &Server,
    (mode, cleared): (Mode, &mut Cleared),
) -> Result<(), Stop> {
    let mut adding = platform.registry.begin().await?;
    kit::db::may_idle(&mut adding, PATIENCE).await?;
    clusters::lock_adding(&mut adding).await?;
    if mode == Mode::Remove
        && let Some(again) = clusters::at_address(&mut adding, &row.host, row.port).await?
    {
        cleared.note = Some(format!("The server was added again meanwhile, as {again}."));
        return Ok(());
    }
    clear_server(server, mode, cleared).await
}

async fn clear_server(server: &Server, mode: Mode, cleared: &mut Cleared) -> Result<(), Stop> {
    let (leftovers, roles) = {
        let mut connection = server.acquire().await?;
        let leftovers = postgres::leftovers(&mut connection).await?;
        (leftovers, inventory::roles(&mut connection).await?)
    };
    let derived = leftovers.derived.into_iter();
    let derived = derived.map(|name| (name, Whose::Anybody));
    let half_dropped = leftovers.half_dropped.into_iter();
    for (name, whose) in derived.chain(half_dropped.map(|name| (name, Whose::HalfDropped))) {
        if mode == Mode::Remove {
            drops::discard(server, &name, whose).await?;
        }
        cleared.dropped.push(name.to_string());
    }
    let mut connection = server.acquire().await?;
    for role in roles {
        let Ok(name @ Name::Psql(_)) = role.parse::<Name>() else {
            continue;
        };
        if mode == Mode::Remove {
            logins::end(&mut connection, &name).await?;
        }
        cleared.dropped.push(role);
    }
    let databases = inventory::databases(&mut connection).await?.into_iter();
    let mut stays: Vec<String> = databases.map(|database| database.name).collect();
    stays.retain(|name| !cleared.dropped.contains(name));
    cleared.stays = stays;
    if mode == Mode::Remove && !postgres::server::unmark(&mut connection).await? {
        cleared.note = Some(
            "The server still says whose cluster it was, which only its administrator can change: `comment \
             on role tn_platform is null`. Until then no other installation takes it."
                .to_owned(),
        );
    }
    Ok(())
}

pub(super) fn router() -> OpenApiRouter<Platform> {
    kit::operations!(remove)
}
