//! Calls to the services that own schemas: migrate a database, provision a tenant.
//!
//! Deliberately tries nothing again later: the caller decides what a failure means to it. Invariants: what
//! one replica refuses its service refuses, and where a replica gives no answer the next one is asked; a
//! migration counts only when the newest versions are reached.

mod bring_up;

use std::time::Duration;

use contract::client::ClientError;
use contract::internal::{
    FailedMigration, MigrateRequest, Migrated, OwnershipRequest, ProvisionRequest,
};
use contract::{Code, DatabaseRef, SchemaOwner, SchemaVersions};
use kit::error::Problem;
use sqlx::Connection as _;

pub(crate) use self::bring_up::bring_up;
use super::connections::{ClusterRole, Server};
use crate::operations::Head;
use crate::platform::Platform;
use crate::replicas::{self, LiveService};
use crate::rollouts;
use crate::stop::Stop;

/// The services that own schemas and of which a replica lives.
pub(crate) async fn live(platform: &Platform) -> Result<Vec<LiveService>, sqlx::Error> {
    let mut registry = platform.registry.acquire().await?;
    replicas::store::live_services(&mut registry).await
}

/// The same, of which at least one owns schemas.
///
/// What asks nobody has done nothing: it waits until there is somebody to ask.
pub(crate) async fn living(platform: &Platform) -> Result<Vec<LiveService>, Stop> {
    let services = live(platform).await?;
    if replicas::newest_versions(&services).is_empty() {
        return Err(Stop::Later {
            wait: Duration::from_secs(1),
            reason: "No service that owns schemas is registered.".into(),
        });
    }
    Ok(services)
}

/// Whether a database with the versions `have` needs no migration to `newest`.
pub(crate) fn covers(have: &SchemaVersions, newest: &SchemaVersions) -> bool {
    newest
        .iter()
        .all(|(owner, version)| have.get(owner).is_some_and(|have| have >= version))
}

/// Lets every service bring its schemas in a database to their newest version; gives the versions.
pub(crate) async fn migrate(
    platform: &Platform,
    services: &[LiveService],
    database: &DatabaseRef,
) -> Result<SchemaVersions, Stop> {
    migrate_from(platform, services, database, &SchemaVersions::new()).await
}

/// The same for a database with schemas that have these versions and no history that says so.
pub(crate) async fn migrate_from(
    platform: &Platform,
    services: &[LiveService],
    database: &DatabaseRef,
    baseline: &SchemaVersions,
) -> Result<SchemaVersions, Stop> {
    let request = MigrateRequest {
        database: database.clone(),
        known: None,
        baseline: baseline.clone(),
        until: None,
        more: Vec::new(),
    };
    let mut reached = SchemaVersions::new();
    for service in services {
        let newest = replicas::newest_versions(std::slice::from_ref(service));
        reached.extend(migrate_by(platform, service, &request, &newest).await?);
    }
    Ok(reached)
}

/// Makes the schemas of some owners in a database as they are at these versions; gives what is there
/// then, which is something else where the services do not make exactly these.
pub(crate) async fn make_at(
    platform: &Platform,
    services: &[LiveService],
    database: &DatabaseRef,
    versions: &SchemaVersions,
) -> Result<SchemaVersions, Stop> {
    let request = MigrateRequest {
        database: database.clone(),
        known: None,
        baseline: SchemaVersions::new(),
        until: Some(versions.clone()),
        more: Vec::new(),
    };
    let mut reached = SchemaVersions::new();
    for service in services {
        let owned = service.owns.iter();
        let wanted: SchemaVersions = owned
            .filter_map(|schema| versions.get_key_value(&schema.owner))
            .map(|(owner, version)| (owner.clone(), *version))
            .collect();
        if !wanted.is_empty() {
            reached.extend(make_by(platform, service, &request, &wanted).await?);
        }
    }
    Ok(reached)
}

/// Asks the replicas of a service in turn until one has made exactly what is wanted. Whatever else they
/// all made is an answer, too: a version may not be there.
async fn make_by(
    platform: &Platform,
    service: &LiveService,
    request: &MigrateRequest,
    wanted: &SchemaVersions,
) -> Result<SchemaVersions, Stop> {
    let (mut made, mut last) = (None, None);
    for url in &service.internal_urls {
        match migrate_one(platform, url, request).await {
            Ok(Migrated {
                failed: Some(failed),
                ..
            }) => return Err(Stop::Retry(refused(&failed))),
            Ok(answer) if answer.schema_versions == *wanted => return Ok(answer.schema_versions),
            // A replica of another release, or one that does not know how to stop at a version.
            Ok(answer) => made = Some(answer.schema_versions),
            Err(error) => last = Some(next_replica(error)?),
        }
    }
    match (last, made) {
        (Some(problem), _) => Err(Stop::Retry(problem)),
        (None, Some(made)) => Ok(made),
        (None, None) => Err(Stop::Retry(none_newest(service))),
    }
}

/// What came of the one database of a request.
async fn migrate_one(
    platform: &Platform,
    url: &str,
    request: &MigrateRequest,
) -> Result<Migrated, ClientError> {
    let answer = platform.services.migrate(url, request).await?;
    Ok(answer.first)
}

async fn migrate_by(
    platform: &Platform,
    service: &LiveService,
    request: &MigrateRequest,
    wanted: &SchemaVersions,
) -> Result<SchemaVersions, Stop> {
    let mut last = None;
    for url in &service.internal_urls {
        match migrate_one(platform, url, request).await {
            Ok(Migrated {
                failed: Some(failed),
                ..
            }) => return Err(Stop::Retry(refused(&failed))),
            Ok(answer) if covers(&answer.schema_versions, wanted) => {
                return Ok(answer.schema_versions);
            }
            // A replica of the release before, while a new one is rolling out.
            Ok(_) => {}
            Err(error) => last = Some(next_replica(error)?),
        }
    }
    Err(Stop::Retry(last.unwrap_or_else(|| none_newest(service))))
}

fn refused(failed: &FailedMigration) -> Problem {
    let FailedMigration {
        owner,
        migration,
        message,
        statement,
        ..
    } = failed;
    let place = statement
        .as_ref()
        .map(|statement| format!(", in: {statement}"));
    let place = place.unwrap_or_default();
    let detail = format!("{owner}: {migration}: {message}{place}");
    let refusal = Refusal(failed.sqlstate.clone());
    Problem::new(Code::MigrationFailed)
        .detail(detail)
        .caused_by(refusal)
}

/// What a server refused a migration with.
#[derive(Debug, thiserror::Error)]
#[error("SQLSTATE {}", .0.as_deref().unwrap_or("unknown"))]
struct Refusal(Option<String>);

impl Refusal {
    /// Whether the same migration may go through in a moment: locks, deadlocks, room, time, a server that
    /// stops, or nobody knows.
    fn may_pass(&self) -> bool {
        let passing = ["08", "40", "53", "57", "58", "55P03", "25006"];
        self.0
            .as_deref()
            .is_none_or(|state| passing.iter().any(|passing| state.starts_with(passing)))
    }
}

fn none_newest(service: &LiveService) -> Problem {
    Problem::new(Code::NotReady).detail(format!(
        "No replica of {} brings the newest versions of all its schemas.",
        service.service
    ))
}

/// What the modules of a service have hooks for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Occasion<'a> {
    /// A tenant is new.
    Provision(&'a ProvisionRequest),
    /// A tenant gets another owner.
    Ownership(&'a OwnershipRequest),
}

/// Lets every service run its hooks in a tenant's database, by a replica of its newest release.
pub(crate) async fn run_hooks(
    platform: &Platform,
    services: &[LiveService],
    occasion: Occasion<'_>,
) -> Result<(), Stop> {
    for service in services {
        run_hooks_by(platform, service, occasion).await?;
    }
    Ok(())
}

async fn run_hooks_by(
    platform: &Platform,
    service: &LiveService,
    occasion: Occasion<'_>,
) -> Result<(), Stop> {
    let mut last = None;
    for url in &service.newest_urls {
        let ran = match occasion {
            Occasion::Provision(request) => platform.services.provision(url, request).await,
            Occasion::Ownership(request) => platform.services.ownership(url, request).await,
        };
        match ran {
            Ok(()) => return Ok(()),
            Err(error) => last = Some(next_replica(error)?),
        }
    }
    Err(Stop::Retry(last.unwrap_or_else(|| none_newest(service))))
}

/// What a failed call leaves to say when the other replicas fail as well; stops where they need
/// not be asked.
fn next_replica(error: ClientError) -> Result<Problem, Stop> {
    match &error {
        ClientError::Refused(document) => {
            let detail = document
                .detail
                .clone()
                .unwrap_or_else(|| document.title.clone());
            let problem = Problem::new(document.code).detail(detail).caused_by(error);
            if problem.code().is_retryable() {
                Ok(problem)
            } else {
                Err(Stop::Fail(problem))
            }
        }
        ClientError::Unreachable(_) | ClientError::Malformed { .. } => {
            Ok(Problem::new(Code::NotReady)
                .detail("A service that owns schemas does not answer.")
                .caused_by(error))
        }
        ClientError::Credential(_) => Err(Stop::Fail(Problem::internal(error))),
    }
}

/// Brings a copy of a tenant's data to where it is served: to the newest versions, unless a migration fails
/// on this data or a roll-out is halted; then whatever every service serves is enough. Gives the versions.
///
/// Whoever wants yesterday's data back wants it above all when today's migration fails; where the server
/// merely had no room or no time for it, it is tried as long as any step is.
pub(crate) async fn bring_to_serve(
    platform: &Platform,
    head: &Head,
    server: &Server,
    database: &DatabaseRef,
) -> Result<SchemaVersions, Stop> {
    let services = living(platform).await?;
    if rollouts::store::is_halted(&mut *platform.registry.acquire().await?).await? {
        let there = versions_in(platform, server, database, &services).await?;
        if serve(&services, &there) {
            return Ok(there);
        }
    }
    match migrate(platform, &services, database).await {
        Err(Stop::Retry(problem)) if fails_for_good(&problem, head) => {
            let there = versions_in(platform, server, database, &services).await?;
            if !serve(&services, &there) {
                return Err(Stop::Retry(problem));
            }
            let (database, cause) = (&database.name, kit::error::chain(&problem));
            tracing::warn!(%database, cause, "served with an older schema: a migration fails");
            Ok(there)
        }
        other => other,
    }
}

/// Whether a migration fails on the data, and not for what passes.
fn fails_for_good(problem: &Problem, head: &Head) -> bool {
    let refusal = problem.cause().and_then(|cause| cause.downcast_ref());
    problem.code() == Code::MigrationFailed
        && (head.is_last_try() || refusal.is_some_and(|refusal: &Refusal| !refusal.may_pass()))
}

/// Whether all services serve a tenant with these versions.
fn serve(services: &[LiveService], versions: &SchemaVersions) -> bool {
    let mut owned = services.iter().flat_map(|service| &service.owns);
    owned.all(|schema| {
        let there = versions.get(&schema.owner);
        there.is_some_and(|there| *there >= schema.minimum)
    })
}

/// The versions that a database has of what the services own.
async fn versions_in(
    platform: &Platform,
    server: &Server,
    database: &DatabaseRef,
    services: &[LiveService],
) -> Result<SchemaVersions, Stop> {
    let owned = services.iter().flat_map(|service| &service.owns);
    let owners: Vec<SchemaOwner> = owned.map(|schema| schema.owner.clone()).collect();
    let mut connection = server
        .connect_as(platform, ClusterRole::Schema, database)
        .await?;
    let versions = kit::migrate::versions(&mut connection, &owners).await?;
    connection.close().await?;
    Ok(versions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_no_word_on_the_data() {
        let may_pass = |state: Option<&str>| Refusal(state.map(str::to_owned)).may_pass();
        for state in ["55P03", "40P01", "53100", "57014", "57P01", "08006"] {
            assert!(may_pass(Some(state)), "{state}");
        }
        assert!(may_pass(None));
        for state in ["23514", "22012", "42P07", "55006", "P0001"] {
            assert!(!may_pass(Some(state)), "{state}");
        }
    }
}
