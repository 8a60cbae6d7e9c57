//! Looks at databases: what is expected on a cluster, and what differs in each tenant's.
//!
//! Deliberately keeps nothing: a look that is broken off begins anew. Invariants: a tenant whose
//! migrations run at the moment is not looked at; a tenant or a cluster that cannot be reached stops no
//! other's look.

use std::collections::BTreeMap;
use std::time::Duration;

use contract::operator::operation::Progress;
use contract::operator::rollout::{DriftFinding, DriftRepair, DriftReport, DriftRequest, Repair};
use contract::{ClusterName, SchemaVersions, TenantId};
use futures::StreamExt as _;
use futures::stream;
use kit::error::{Problem, chain};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::diff::{Catalog, Drifted, Kind, diff};
use super::store::{self, Candidate};
use crate::clusters::connections::{As, Server};
use crate::clusters::postgres::Name;
use crate::clusters::{services, spare};
use crate::operations::{Head, Stop, store as operations};
use crate::platform::Platform;

/// Tenants that are looked at at once.
const AT_ONCE: usize = 8;
/// The longest look at one tenant.
const LIMIT: Duration = Duration::from_secs(60);
/// The same where objects are made, indexes of big tables among them.
const LIMIT_OF_REPAIRS: Duration = Duration::from_secs(30 * 60);
/// What is listed at most.
const MOST_FINDINGS: usize = 1000;
/// Characters of a definition that are shown.
const SHOWN_CHARS: usize = 500;
/// Looks between two notes of the progress.
const NOTED_EVERY: u64 = 50;

/// The database that shows what is expected.
pub(crate) fn reference(head: &Head) -> Name {
    Name::Scratch(head.id.uuid())
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
    let total = u64::try_from(candidates.len()).unwrap_or(u64::MAX);
    let mut report = DriftReport::default();
    let mut rest = candidates.as_slice();
    while let Some(first) = rest.first() {
        let same = |candidate: &Candidate| candidate.cluster == first.cluster;
        let (here, others) = rest.split_at(rest.iter().take_while(|one| same(one)).count());
        rest = others;
        let Some(server) = platform.find_server(&first.cluster).await? else {
            // It was removed, so they are elsewhere by now.
            let tenants = here.iter().map(|one| one.tenant.clone());
            report.unreachable.extend(tenants);
            continue;
        };
        let expected = match expect(platform, head, (&server, first)).await {
            Ok(expected) => expected,
            Err(stop) if stop.is_unreachable() => {
                leave_out(&mut report, here, &stop);
                continue;
            }
            Err(stop) => return Err(stop),
        };
        let (current, behind): (Vec<_>, Vec<_>) = here
            .iter()
            .partition(|one| one.versions == expected.versions);
        report
            .behind
            .extend(behind.iter().map(|one| one.tenant.clone()));
        let looks: Vec<_> = current
            .into_iter()
            .map(|one| look(platform, one, &expected, request.repair))
            .collect();
        let mut looks = stream::iter(looks).buffer_unordered(AT_ONCE);
        while let Some((tenant, looked)) = looks.next().await {
            add(&mut report, tenant, looked);
            if report.compared.is_multiple_of(NOTED_EVERY) {
                note(platform, head, report.compared, total).await?;
            }
        }
    }
    Ok(report)
}

/// Names the tenants of a cluster that cannot be reached.
fn leave_out(report: &mut DriftReport, here: &[Candidate], stop: &Stop) {
    let cluster = here.first().map(|one| one.cluster.as_str());
    let error = stop.words();
    tracing::warn!(cluster, error, "a cluster's schemas cannot be looked at");
    let tenants = here.iter().map(|one| one.tenant.clone());
    report.unreachable.extend(tenants);
}

/// What is expected on a cluster.
struct Expected {
    cluster: ClusterName,
    versions: SchemaVersions,
    owners: Vec<String>,
    catalog: Catalog,
}

/// Makes a database with the newest schemas, looks at it and throws it away.
async fn expect(
    platform: &Platform,
    head: &Head,
    (server, first): (&Server, &Candidate),
) -> Result<Expected, Stop> {
    let name = reference(head);
    spare::make_empty(platform, server, &name, (&first.tenant, head.id)).await?;
    let database = server.database(&name, spare::copy_of(&name));
    let services = services::living(platform).await?;
    let versions = services::migrate(platform, &services, &database).await?;
    let owners: Vec<String> = versions.keys().map(ToString::to_string).collect();
    let mut connection = server.connect_as(platform, As::Schema, &database).await?;
    let catalog = store::catalog(&mut connection, &owners).await?;
    connection.close().await?;
    spare::drop_now(platform, server, &name).await?;
    Ok(Expected {
        cluster: first.cluster.clone(),
        versions,
        owners,
        catalog,
    })
}

async fn look(
    platform: &Platform,
    candidate: &Candidate,
    expected: &Expected,
    repair: DriftRepair,
) -> (TenantId, Result<Vec<DriftFinding>, Stop>) {
    let looking = look_inside(platform, candidate, expected, repair);
    let late = || Stop::Fail(Problem::internal("the database did not answer in time"));
    let limit = match repair {
        DriftRepair::None | DriftRepair::Grants => LIMIT,
        DriftRepair::Objects => LIMIT_OF_REPAIRS,
    };
    let looked = tokio::time::timeout(limit, looking)
        .await
        .unwrap_or_else(|_| Err(late()));
    (candidate.tenant.clone(), looked)
}

async fn look_inside(
    platform: &Platform,
    candidate: &Candidate,
    expected: &Expected,
    repair: DriftRepair,
) -> Result<Vec<DriftFinding>, Stop> {
    let server = platform.server(&expected.cluster).await?;
    let name = Name::Tenant(candidate.tenant.clone());
    let database = server.database(&name, candidate.copy);
    let mut connection = server.connect_as(platform, As::Schema, &database).await?;
    // A schema that is being migrated is neither the old nor the new one.
    kit::migrate::lock(&mut connection, Duration::ZERO)
        .await
        .map_err(|error| Stop::Fail(Problem::internal(error)))?;
    let found = store::catalog(&mut connection, &expected.owners).await?;
    let drifted = diff(&expected.catalog, &found);
    let tried = if drifted.iter().any(|one| is_mended(one, repair)) {
        Some(mend(&mut connection, expected, drifted.clone(), repair).await?)
    } else {
        None
    };
    connection.close().await?;
    Ok(drifted
        .into_iter()
        .map(|one| finding(&candidate.tenant, one, (repair, tried.as_ref())))
        .collect())
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
                let (object, error) = (&one.object, chain(&error));
                tracing::warn!(object, error, "something that differs is not mended");
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

fn add(report: &mut DriftReport, tenant: TenantId, looked: Result<Vec<DriftFinding>, Stop>) {
    match looked {
        Ok(findings) => {
            report.compared += 1;
            report.differing += u64::from(!findings.is_empty());
            let room = MOST_FINDINGS.saturating_sub(report.findings.len());
            let unlisted = findings.len().saturating_sub(room);
            report.unlisted += u64::try_from(unlisted).unwrap_or(u64::MAX);
            report.findings.extend(findings.into_iter().take(room));
        }
        Err(stop) => {
            let error = stop.words();
            tracing::warn!(tenant.id = %tenant, error, "a tenant's schema cannot be looked at");
            report.unreachable.push(tenant);
        }
    }
}

async fn note(platform: &Platform, head: &Head, done: u64, total: u64) -> Result<(), Stop> {
    let progress = Progress {
        done,
        total,
        unit: "tenants".to_owned(),
        note: None,
    };
    let mut registry = platform.registry.acquire().await?;
    operations::note_progress(&mut registry, (head.id, head.lease), &progress).await?;
    Ok(())
}
