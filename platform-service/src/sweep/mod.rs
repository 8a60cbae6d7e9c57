//! Sweeps: what is ours on clusters and in stores and claimed by nobody is reported, and removed after
//! a grace.
//!
//! Deliberately slow to remove: a find stays for the grace (`sweep.grace`), in which an operator sees
//! it and may keep it. Invariants: what could be somebody's only data is never removed by itself; what
//! is removed was found again in the same round and is claimed by no row at that moment; a place that
//! could not be looked at keeps its finds.

pub(crate) mod api;
mod by_hand;
mod claims;
mod due;
mod look;
pub(crate) mod store;
#[cfg(test)]
mod tests;

use std::time::Duration;

use adapters::object_store::ObjectPath;
use adapters::secret_store::StoredSecret;
use contract::ClusterName;
use contract::operator::upkeep::SweepReport;
use kit::error::Problem;
use sqlx::Connection as _;

use self::claims::By;
use self::store::Key;
use crate::audit::{self, Action, Actor};
use crate::backups::archive;
use crate::clusters::drops;
use crate::clusters::postgres::{self, Name, Whose, inventory, logins};
use crate::pace;
use crate::platform::Platform;
use crate::stop::Stop;

/// How often databases that are kept for a time are looked at.
const DUE_EVERY: Duration = Duration::from_secs(60);

/// Something that nobody claims.
#[derive(Debug, Clone)]
struct Found {
    key: Key,
    detail: &'static str,
    /// Who removes it.
    by: By,
    removal: Removal,
}

/// How a find is removed.
#[derive(Debug, Clone)]
enum Removal {
    /// Database and role of this name.
    Named(ClusterName, Name),
    /// A login of an operator, which no other is ever given the name of.
    Login(ClusterName, Name),
    /// A database with a name that the platform does not give.
    Foreign(ClusterName),
    Slot(ClusterName),
    Secret(Box<StoredSecret>),
    Object(ObjectPath),
}

/// Whether a round removes what is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Remove,
    /// Says what would be removed.
    Look,
}

/// Looks for what nobody claims and for what is due, until the service stops. Every replica does:
/// whatever two of them do at once is done once.
pub(crate) async fn keep(platform: Platform) {
    let mut sweep_tick = pace::every(platform.settings.sweep.every.get());
    let every = DUE_EVERY.min(platform.settings.sweep.every.get());
    let mut due_tick = pace::every(every);
    loop {
        let round = async {
            tokio::select! {
                _ = sweep_tick.tick() => {
                    let report = round(&platform, Actor::Platform, Mode::Remove).await?;
                    for failure in report.failed {
                        tracing::warn!(failure, "a part of the sweep failed");
                    }
                }
                _ = due_tick.tick() => due::drop_due(&platform).await?,
            }
            Ok::<_, sqlx::Error>(())
        };
        tokio::select! {
            ended = round => {
                if let Err(error) = ended {
                    tracing::warn!(cause = %error, "the sweep failed");
                }
            }
            // A drop goes on in the server; what is left of a round is found by the next one.
            () = platform.stopping.cancelled() => return,
        }
    }
}

/// One look at everything, and what follows from it.
async fn round(platform: &Platform, actor: Actor, mode: Mode) -> Result<SweepReport, sqlx::Error> {
    let began = store::now(&mut *platform.registry.acquire().await?).await?;
    let mut report = SweepReport {
        found: 0,
        removed: Vec::new(),
        failed: Vec::new(),
    };
    for place in look::places(platform).await? {
        let found = match look::at(platform, &place).await {
            Ok(Some(found)) => found,
            Ok(None) => continue,
            Err(stop) => {
                report.failed.push(format!("{place}: {}", stop.words()));
                continue;
            }
        };
        let mut transaction = platform.registry.begin().await?;
        if !store::stays(&mut transaction, &place).await? {
            continue;
        }
        store::note(&mut transaction, &found).await?;
        store::forget_unseen(&mut transaction, &place, began).await?;
        transaction.commit().await?;
        let grace = platform.settings.sweep.grace.get();
        let due = store::due(&mut *platform.registry.acquire().await?, &place, grace).await?;
        let (due, staying): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|one| due.contains(&one.key));
        report.found += staying.len() as u64;
        for one in due {
            let removed = match mode {
                Mode::Look => Ok(Reached::Gone),
                Mode::Remove => remove(platform, actor, &one).await,
            };
            match removed {
                Ok(Reached::Gone) => report.removed.push(one.key.to_string()),
                Ok(Reached::Kept) => report.found += 1,
                Ok(Reached::NoServer | Reached::Claimed) => {}
                Err(stop) => {
                    report.found += 1;
                    report.failed.push(format!("{}: {}", one.key, stop.words()));
                }
            }
        }
    }
    Ok(report)
}

/// Removes a find that a sweep may remove, if still nobody claims it and it can be reached.
async fn remove(platform: &Platform, actor: Actor, found: &Found) -> Result<Reached, Stop> {
    if found.by == By::People {
        return Ok(Reached::Kept);
    }
    let reached = take_away(platform, found).await?;
    if reached == Reached::Gone {
        forget(platform, actor, &found.key).await?;
    }
    Ok(reached)
}

/// What became of something that is taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reached {
    Gone,
    /// Its cluster was removed.
    NoServer,
    /// Somebody claims it by now.
    Claimed,
    /// It is for people to judge, or they did.
    Kept,
}

/// Takes away what a find is of.
async fn take_away(platform: &Platform, found: &Found) -> Result<Reached, Stop> {
    match &found.removal {
        // Only people judge it: see `by_hand`.
        Removal::Foreign(_) => {}
        Removal::Named(cluster, name) => {
            let Some(server) = platform.find_server(cluster).await? else {
                return Ok(Reached::NoServer);
            };
            let mut drops = drops::alone(&server).await?;
            // The order is that of `clusters::drops`.
            let there = postgres::look(&mut drops, name).await?;
            let reached = judge(platform, cluster, (name, &found.key)).await?;
            if reached == Reached::Gone && !there.is_nothing() {
                postgres::discard(&mut drops, name, Whose::Anybody).await?;
            }
            drops.close().await?;
            return Ok(reached);
        }
        Removal::Login(cluster, name) => {
            let Some(server) = platform.find_server(cluster).await? else {
                return Ok(Reached::NoServer);
            };
            logins::end(&mut *server.acquire().await?, name).await?;
        }
        Removal::Slot(cluster) => {
            let Some(server) = platform.find_server(cluster).await? else {
                return Ok(Reached::NoServer);
            };
            inventory::drop_slot(&mut *server.acquire().await?, &found.key.name).await?;
        }
        Removal::Object(path) => {
            let kept = archive::objects(&platform.settings)?;
            kept.delete(path).await.map_err(archive::object_stop)?;
        }
        Removal::Secret(secret) => platform
            .secrets
            .remove(&secret.subject, &secret.reference)
            .await
            .map_err(|error| Stop::Retry(Problem::internal(error)))?,
    }
    Ok(Reached::Gone)
}

/// What becomes of a database or role: somebody may claim or keep it by now.
async fn judge(
    platform: &Platform,
    cluster: &ClusterName,
    (name, key): (&Name, &Key),
) -> Result<Reached, Stop> {
    if claims::of(platform, cluster)
        .await?
        .claimless(name)
        .is_none()
    {
        return Ok(Reached::Claimed);
    }
    let row = store::find(&mut *platform.registry.acquire().await?, key).await?;
    Ok(match row {
        Some(row) if row.kept => Reached::Kept,
        _ => Reached::Gone,
    })
}

/// Forgets a find that is removed.
async fn forget(platform: &Platform, actor: Actor, key: &Key) -> Result<(), Stop> {
    let mut transaction = platform.registry.begin().await?;
    store::delete(&mut transaction, key).await?;
    let detail = serde_json::json!({ "finding": key.to_string() });
    let action = Action::FindingRemoved;
    audit::record(&mut transaction, actor, action, None, detail).await?;
    transaction.commit().await?;
    tracing::info!(finding = %key, "removed what nobody claims");
    Ok(())
}
