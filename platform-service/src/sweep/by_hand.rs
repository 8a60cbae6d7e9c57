//! An operator removes one find: what a sweep would, before its grace, and what only people may judge.
//!
//! Deliberately in the request: it is one thing, and what is left of a removal that broke off is a find
//! again. Invariants: it is found again and claimed by nobody right before it goes, under the lock in which
//! nothing else is dropped on its server; what goes is what was looked at, and nobody sits in it.

use axum::extract::State;
use contract::operator::upkeep::RemovedFinding;
use contract::{ClusterName, Code};
use kit::error::{Problem, Result};
use kit::extract::{Json, Path, Query};
use serde_json::json;
use sqlx::Connection as _;
use utoipa_axum::router::OpenApiRouter;

use super::claims::{self, By};
use super::look::{self, Place};
use super::store::{self, Key};
use super::{Found, Reached, Removal, forget, take_away};
use crate::audit::{self, Action, Actor};
use crate::clusters::drops;
use crate::clusters::postgres::orphan::{self, Orphan, Role, Use};
use crate::confirm::{RemoveQuery, confirmed};
use crate::operators::{ClustersWrite, Operator, Scope};
use crate::platform::Platform;
use crate::stop::Stop;

/// How the servers say that something cannot be dropped: it is in use, or others depend on it, or it is not
/// ours to drop.
const REFUSALS: [&str; 4] = ["55006", "2BP01", "42501", "42809"];

/// Remove a find for good, whatever its age.
///
/// What only people may judge (it may be the only copy of somebody's data) needs `tenants:destroy` too. It is
/// looked for anew: `not-found` where it is gone or claimed by now. Refused with `conflict` where it is kept
/// on an operator's word, or somebody is connected to it.
#[utoipa::path(
    delete,
    path = "/v1/findings/{id}",
    operation_id = "findings.remove",
    tag = "upkeep",
    params(
        ("id" = String, Path, example = "database%2Fmain%2Ft_lost", description = "The id of the find, percent-encoded."),
        RemoveQuery
    ),
    responses((
        status = 200,
        description = "It is removed; or what would go, for a dry run.",
        body = RemovedFinding
    )),
    // A drop waits for the server's disk.
    extensions(("x-unhurried" = json!(true)))
)]
pub(super) async fn remove(
    operator: Operator<ClustersWrite>,
    State(platform): State<Platform>,
    Path(id): Path<String>,
    Query(query): Query<RemoveQuery>,
) -> Result<Json<RemovedFinding>> {
    let key: Key = id
        .parse()
        .map_err(|error: store::NoKey| Problem::new(Code::IdMalformed).detail(error.to_string()))?;
    let found = find(&platform, &key).await?;
    if found.by == By::People {
        operator.may_grant(&[Scope::TenantsDestroy])?;
    }
    let (seen, used) = look_at(&platform, &found)
        .await
        .map_err(Stop::into_problem)?;
    refuse_kept(&platform, &key).await?;
    if !used.sessions.is_empty() {
        let who = used.sessions.join(", ");
        let detail = format!("Somebody is connected to it, who may know whose it is: {who}.");
        return Err(Problem::new(Code::Conflict).detail(detail));
    }
    let answer = view(&found, &seen, &used);
    if query.dry_run {
        return Ok(Json(answer));
    }
    confirmed("confirm", query.confirm.as_deref(), ("its name", &key.name))?;
    let actor = operator.actor();
    // In a task of its own: a drop that has begun goes on, and is recorded, when the caller goes away.
    let gone = tokio::spawn(async move { take(&platform, actor, &found, &seen).await });
    gone.await
        .map_err(Problem::internal)?
        .map_err(Stop::into_problem)?;
    Ok(Json(answer))
}

fn view(found: &Found, seen: &Orphan, used: &Use) -> RemovedFinding {
    RemovedFinding {
        id: found.key.to_string(),
        kind: found.key.kind,
        place: found.key.place.clone(),
        name: found.key.name.clone(),
        detail: found.detail.to_owned(),
        marker: seen.marker.clone(),
        size_bytes: used.size_bytes.map(i64::unsigned_abs),
    }
}

/// The find, if it is one now.
async fn find(platform: &Platform, key: &Key) -> Result<Found> {
    let none = || {
        Problem::new(Code::NotFound)
            .detail("There is nothing of this name that nobody claims: it is gone, or claimed.")
    };
    let place = Place::of(key).ok_or_else(none)?;
    let there = look::at(platform, &place).await;
    let there = there.map_err(Stop::into_problem)?.ok_or_else(none)?;
    // The registry is nobody's find, whoever owns it.
    let options = platform.registry.connect_options();
    if matches!(place, Place::Cluster(_)) && options.get_database() == Some(&key.name) {
        return Err(none());
    }
    there
        .into_iter()
        .find(|one| one.key == *key)
        .ok_or_else(none)
}

async fn refuse_kept(platform: &Platform, key: &Key) -> Result<()> {
    let row = store::find(&mut *platform.registry.acquire().await?, key).await?;
    if row.is_some_and(|row| row.kept) {
        let detail = "An operator said that it stays: release it before.";
        return Err(Problem::new(Code::Conflict).detail(detail));
    }
    Ok(())
}

/// What is on its server, of a database or a role.
async fn look_at(platform: &Platform, found: &Found) -> Result<(Orphan, Use), Stop> {
    let Some((cluster, role)) = on_server(found) else {
        return Ok(Default::default());
    };
    let server = platform.server(cluster).await?;
    let mut connection = server.acquire().await?;
    let name = &found.key.name;
    let seen = orphan::look(&mut connection, name, role).await?;
    let used = orphan::usage(&mut connection, name).await?;
    Ok((seen, used))
}

/// Where a database or role is that only goes as it was looked at; an operator's login ends in its own way.
fn on_server(found: &Found) -> Option<(&ClusterName, Role)> {
    match &found.removal {
        Removal::Named(cluster, _) => Some((cluster, Role::Goes)),
        Removal::Foreign(cluster) => Some((cluster, Role::Stays)),
        Removal::Login(..) | Removal::Slot(_) | Removal::Secret(_) | Removal::Object(_) => None,
    }
}

async fn take(platform: &Platform, actor: Actor, found: &Found, seen: &Orphan) -> Result<(), Stop> {
    // Before anything of it goes: of a database and its role the server may let the one go and not the other.
    let mut registry = platform.registry.acquire().await?;
    let detail = json!({ "finding": found.key.to_string(), "marker": seen.marker });
    let action = Action::FindingRemoving;
    audit::record(&mut registry, actor, action, None, detail).await?;
    drop(registry);
    match on_server(found) {
        Some(place) => drop_looked_at(platform, place, (found, seen)).await?,
        None => {
            if take_away(platform, found).await? != Reached::Gone {
                return Err(Stop::Fail(Problem::new(Code::NotFound)));
            }
        }
    }
    forget(platform, actor, &found.key).await
}

/// Drops a database or role that nobody claims and that is what was looked at.
async fn drop_looked_at(
    platform: &Platform,
    (cluster, role): (&ClusterName, Role),
    (found, seen): (&Found, &Orphan),
) -> Result<(), Stop> {
    let name = &found.key.name;
    let server = platform.server(cluster).await?;
    let mut connection = drops::alone(&server).await?;
    // Under the lock: who drops something to make it anew has done so, or waits.
    let now = orphan::look(&mut connection, name, role).await?;
    refuse_kept(platform, &found.key).await?;
    let claims = claims::of(platform, cluster).await?;
    if now != *seen || !look::is_unclaimed(&claims, cluster, &found.key) {
        let detail = "It changed, or somebody claims it by now: look again.";
        return Err(Stop::Fail(Problem::new(Code::Conflict).detail(detail)));
    }
    let dropped = orphan::drop(&mut connection, seen).await;
    dropped.map_err(refused)?;
    connection.close().await?;
    Ok(())
}

/// What the server says against a drop is for whoever asked for it.
fn refused(error: sqlx::Error) -> Stop {
    let Some(said) = error.as_database_error() else {
        return error.into();
    };
    if !said
        .code()
        .is_some_and(|code| REFUSALS.contains(&code.as_ref()))
    {
        return error.into();
    }
    let detail = format!("The server refuses: {}.", said.message());
    let problem = Problem::new(Code::Conflict).detail(detail);
    Stop::Fail(problem.caused_by(error))
}

pub(super) fn router() -> OpenApiRouter<Platform> {
    kit::operations!(remove)
}
