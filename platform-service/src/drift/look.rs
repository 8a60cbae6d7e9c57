//! Looks at databases: what differs in each tenant's from what is expected of its versions.
//!
//! Deliberately keeps nothing: a look that is broken off begins anew. Invariants: a tenant whose
//! migrations run at the moment is not looked at, and one is held against what its own history says,
//! whatever the registry believes; a tenant or a cluster that cannot be reached stops no other's look.

use std::collections::BTreeMap;
use std::time::Duration;

use contract::operator::operation::Progress;
use contract::operator::rollout::{
    DriftFinding, DriftRepair, DriftReport, DriftRequest, Incomparable, NotCompared, Repair,
};
use contract::{ClusterName, SchemaVersions, TenantId};
use futures::StreamExt as _;
use futures::stream;
use kit::error::{Problem, chain};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::diff::{Drifted, Kind, diff};
use super::reference::{Expected, References, Without};
use super::store::{self, Candidate, SaidBy};
use crate::clusters::connections::{ClusterRole, Server};
use crate::clusters::postgres::Name;
use crate::operations::{Head, store as operations};
use crate::platform::Platform;
use crate::stop::Stop;

/// Tenants that are looked at at once.
const AT_ONCE: usize = 8;
/// The longest look at one tenant.
const LIMIT: Duration = Duration::from_secs(60);
/// The same where objects are made, indexes of big tables among them.
const LIMIT_OF_REPAIRS: Duration = Duration::from_secs(30 * 60);
/// The longest wait for the lock of who migrates. The session of the look before may have it still; a migration
/// that lasts is not waited for.
const PASSING: Duration = Duration::from_secs(2);
/// What is listed at most.
const MOST_FINDINGS: usize = 1000;
/// Characters of a definition that are shown.
const SHOWN_CHARS: usize = 500;
/// Looks between two notes of the progress.
const NOTED_EVERY: u64 = 50;

/// A look at tenants.
struct Look<'a> {
    platform: &'a Platform,
    head: &'a Head,
    repair: DriftRepair,
    total: u64,
}

/// Compares the selected tenants, and mends what is asked for.
pub(crate) async fn compare(
    platform: &Platform,
    head: &Head,
    request: &DriftRequest,
) -> Result<DriftReport, Stop> {
    let candidates = {
        let mut registry = platform.registry.acquire().await?;
        store::candidates(&mut registry, &request.filter).await?
    };
    let look = Look {
        platform,
        head,
        repair: request.repair,
        total: u64::try_from(candidates.len()).unwrap_or(u64::MAX),
    };
    let mut clusters: BTreeMap<ClusterName, Vec<Candidate>> = BTreeMap::new();
    for one in candidates {
        clusters.entry(one.cluster.clone()).or_default().push(one);
    }
    let mut report = DriftReport::default();
    for (cluster, here) in clusters {
        match platform.find_server(&cluster).await? {
            Some(server) => visit(&look, &server, here, &mut report).await?,
            // It was removed, so they are elsewhere by now.
            None => (report.unreachable).extend(here.into_iter().map(|one| one.tenant)),
        }
    }
    report.unreachable.sort();
    report
        .not_compared
        .sort_by(|one, next| one.tenant.cmp(&next.tenant));
    Ok(report)
}

/// Looks at the tenants of a cluster, those of the same versions together.
async fn visit(
    look: &Look<'_>,
    server: &Server,
    here: Vec<Candidate>,
    report: &mut DriftReport,
) -> Result<(), Stop> {
    let mut references = References::new(look.platform, look.head, server).await?;
    let mut groups = by_versions(here);
    let mut others = Vec::new();
    loop {
        let Some(group) = groups.pop() else {
            if others.is_empty() {
                return Ok(());
            }
            groups = by_versions(std::mem::take(&mut others));
            continue;
        };
        let Some(first) = group.first() else { continue };
        match references.of(&first.versions, &first.tenant).await {
            Ok(expected) => others.extend(look_at(look, &group, expected, report).await?),
            Err(Without::Incomparable(reason)) => {
                let named = group
                    .into_iter()
                    .map(|one| not_compared(one.tenant, reason));
                report.not_compared.extend(named);
            }
            Err(Without::Stop(stop)) if stop.is_unusable() => {
                let (cluster, cause) = (first.cluster.as_str(), stop.words());
                tracing::warn!(cluster, cause, "a cluster's schemas cannot be looked at");
                let left = group.into_iter().chain(groups.into_iter().flatten());
                let left = left.chain(others).map(|one| one.tenant);
                report.unreachable.extend(left);
                return Ok(());
            }
            Err(Without::Stop(stop)) => return Err(stop),
        }
    }
}

/// Tenants of the same versions together, the most of them last.
fn by_versions(candidates: Vec<Candidate>) -> Vec<Vec<Candidate>> {
    let mut groups: BTreeMap<SchemaVersions, Vec<Candidate>> = BTreeMap::new();
    for one in candidates {
        groups.entry(one.versions.clone()).or_default().push(one);
    }
    let mut groups: Vec<_> = groups.into_values().collect();
    groups.sort_by_key(Vec::len);
    groups
}

/// Looks at tenants of the same versions; gives those that turn out to have others.
async fn look_at(
    look: &Look<'_>,
    group: &[Candidate],
    expected: &Expected,
    report: &mut DriftReport,
) -> Result<Vec<Candidate>, Stop> {
    let mut others = Vec::new();
    let looks: Vec<_> = group
        .iter()
        .map(|one| look_in_time(look, one, expected))
        .collect();
    let mut looks = stream::iter(looks).buffer_unordered(AT_ONCE);
    while let Some((one, looked)) = looks.next().await {
        match (looked, one.said_by) {
            (Ok(Looked::Found(findings)), _) => add(report, findings),
            (Ok(Looked::Other(versions)), SaidBy::Registry) => others.push(Candidate {
                versions,
                said_by: SaidBy::Database,
                ..one.clone()
            }),
            (Ok(Looked::Other(_)), SaidBy::Database) => {
                let named = not_compared(one.tenant.clone(), Incomparable::Changed);
                report.not_compared.push(named);
            }
            (Err(stop), _) => {
                let (tenant, cause) = (&one.tenant, stop.words());
                tracing::warn!(tenant.id = %tenant, cause, "a tenant's schema cannot be looked at");
                report.unreachable.push(tenant.clone());
            }
        }
        if report.compared.is_multiple_of(NOTED_EVERY) {
            note(look, report.compared).await?;
        }
    }
    Ok(others)
}

fn not_compared(tenant: TenantId, reason: Incomparable) -> NotCompared {
    NotCompared { tenant, reason }
}

/// What a look at a tenant showed.
enum Looked {
    Found(Vec<DriftFinding>),
    /// It has other versions than what it was to be held against.
    Other(SchemaVersions),
}

async fn look_in_time<'a>(
    look: &Look<'_>,
    candidate: &'a Candidate,
    expected: &Expected,
) -> (&'a Candidate, Result<Looked, Stop>) {
    let looking = look_inside(look.platform, candidate, expected, look.repair);
    let late = || Stop::Fail(Problem::internal("the database did not answer in time"));
    let limit = match look.repair {
        DriftRepair::None | DriftRepair::Grants => LIMIT,
        DriftRepair::Objects => LIMIT_OF_REPAIRS,
    };
    let looked = tokio::time::timeout(limit, looking)
        .await
        .unwrap_or_else(|_| Err(late()));
    (candidate, looked)
}

async fn look_inside(
    platform: &Platform,
    candidate: &Candidate,
    expected: &Expected,
    repair: DriftRepair,
) -> Result<Looked, Stop> {
    let server = platform.server(&candidate.cluster).await?;
    let name = Name::Tenant(candidate.tenant.clone());
    let database = server.database(&name, candidate.copy);
    let mut connection = server
        .connect_as(platform, ClusterRole::Schema, &database)
        .await?;
    // A schema that is being migrated is neither the old nor the new one.
    kit::migrate::lock(&mut connection, PASSING)
        .await
        .map_err(|error| Stop::Fail(Problem::internal(error)))?;
    // Only under the lock they stay what they are: what other versions expect would mend it to pieces.
    let noted = kit::migrate::versions(&mut connection, &expected.histories).await?;
    let mut versions = candidate.versions.clone();
    versions.extend(noted);
    if versions != candidate.versions {
        connection.close().await?;
        return Ok(Looked::Other(versions));
    }
    let found = store::catalog(&mut connection, &expected.owners).await?;
    let drifted = diff(&expected.catalog, &found);
    let tried = if drifted.iter().any(|one| is_mended(one, repair)) {
        Some(mend(&mut connection, expected, drifted.clone(), repair).await?)
    } else {
        None
    };
    connection.close().await?;
    let findings = drifted
        .into_iter()
        .map(|one| finding(&candidate.tenant, one, (repair, tried.as_ref())))
        .collect();
    Ok(Looked::Found(findings))
}

/// Whether something is mended that differs.
fn is_mended(drifted: &Drifted, repair: DriftRepair) -> bool {
    let asked = match repair {
        DriftRepair::None => false,
        DriftRepair::Grants => drifted.kind == Kind::Right,
        DriftRepair::Objects => true,
    };
    asked && drifted.mend.is_some()
}

/// What came of mending.
struct Tried {
    /// What still differs.
    left: Vec<Drifted>,
    /// What the server said of statements that it refused, by object.
    refused: BTreeMap<String, String>,
}

/// Mends what is asked for, each by its own statement. What one needs
/// may be made by another: as long as there is less to mend than before, the rest is tried again.
async fn mend(
    connection: &mut PgConnection,
    expected: &Expected,
    drifted: Vec<Drifted>,
    repair: DriftRepair,
) -> Result<Tried, Stop> {
    let mut left = drifted;
    let mut refused = BTreeMap::new();
    loop {
        let before = left.len();
        for one in left.iter().filter(|one| is_mended(one, repair)) {
            let statement = one.mend.as_deref().unwrap_or_default();
            if let Err(error) = run(connection, statement).await {
                let said = kit::db::said(&error).unwrap_or_else(|| "it broke off".to_owned());
                refused.insert(one.object.clone(), said);
                let (object, cause) = (&one.object, chain(&error));
                tracing::warn!(object, cause, "something that differs is not mended");
            }
        }
        let after = store::catalog(connection, &expected.owners).await?;
        left = diff(&expected.catalog, &after);
        if left.len() >= before || !left.iter().any(|one| is_mended(one, repair)) {
            return Ok(Tried { left, refused });
        }
    }
}

async fn run(connection: &mut PgConnection, statement: &str) -> Result<(), sqlx::Error> {
    let bounded = format!("set lock_timeout = '5s'; set statement_timeout = '10min'; {statement}");
    sqlx::raw_sql(AssertSqlSafe(bounded))
        .execute(connection)
        .await?;
    Ok(())
}

fn finding(
    tenant: &TenantId,
    drifted: Drifted,
    (repair, tried): (DriftRepair, Option<&Tried>),
) -> DriftFinding {
    let (repair, reason) = match tried {
        Some(Tried { left, refused }) if is_mended(&drifted, repair) => {
            if left.iter().any(|one| one.object == drifted.object) {
                let said = refused.get(&drifted.object).cloned();
                let anyhow =
                    || "its statement went through, and it differs all the same".to_owned();
                (Repair::Failed, Some(said.unwrap_or_else(anyhow)))
            } else {
                (Repair::Mended, None)
            }
        }
        _ => (Repair::Left, None),
    };
    let shown = |text: String| text.chars().take(SHOWN_CHARS).collect();
    DriftFinding {
        tenant: tenant.clone(),
        object: drifted.object,
        difference: drifted.difference,
        expected: drifted.expected.map(shown),
        found: drifted.found.map(shown),
        repair,
        reason,
        mend: drifted.mend,
    }
}

fn add(report: &mut DriftReport, findings: Vec<DriftFinding>) {
    report.compared += 1;
    report.differing += u64::from(!findings.is_empty());
    let room = MOST_FINDINGS.saturating_sub(report.findings.len());
    let unlisted = findings.len().saturating_sub(room);
    report.unlisted += u64::try_from(unlisted).unwrap_or(u64::MAX);
    report.findings.extend(findings.into_iter().take(room));
}

async fn note(look: &Look<'_>, done: u64) -> Result<(), Stop> {
    let progress = Progress {
        done,
        total: look.total,
        unit: "tenants".to_owned(),
        note: None,
    };
    let mut registry = look.platform.registry.acquire().await?;
    let lease = (look.head.id, look.head.lease);
    operations::note_progress(&mut registry, lease, &progress).await?;
    Ok(())
}
