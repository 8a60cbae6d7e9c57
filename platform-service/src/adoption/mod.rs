//! Adopting databases: what is looked at, judged and chosen before the operation that does it.
//!
//! Deliberately one request for the look and for the deed, so that what was tried is what is done.
//! Invariants: a look changes nothing; a database is adopted by one operation at a time, and only where
//! every check passes.

pub(crate) mod compare;
pub(crate) mod judge;
mod store;

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use contract::operator::adoption::{
    Adopted, AdoptionCheck, AdoptionPreview, CheckOutcome, NewAdoption,
};
use contract::operator::operation::OperationView;
use contract::{Code, SchemaVersions, TenantId};
use kit::error::{Problem, Result};
use kit::extract::{Json, Query};
use serde_json::json;
use sqlx::{Connection as _, PgConnection};
use utoipa_axum::router::OpenApiRouter;
use uuid::Uuid;

use self::compare::Compared;
use self::judge::{Looked, People, Verdict, Whose, judge, judge_compared};
use crate::clusters::connections::{ClusterRole, Server};
use crate::clusters::placement::{ClusterStatus, Needs, Unfit};
use crate::clusters::postgres::foreign::Found;
use crate::clusters::postgres::{Name, contents, foreign};
use crate::clusters::store::{self as clusters, ClusterRow};
use crate::clusters::{registry_database, spare};
use crate::operations::begin::{Begin, Planned, WaitQuery, begin};
use crate::operations::{AdoptPlan, Subject};
use crate::operators::{Operator, TenantsWrite};
use crate::platform::Platform;
use crate::registry::to_json;
use crate::replicas;
use crate::stop::Stop;
use crate::tenants::access::new_owner;
use crate::tenants::idempotency::MaybeIdempotencyKey;
use crate::tenants::intake::{Wanted, admit};
use crate::tenants::{NewTenant, rules, store as tenants};

/// Longest name of a database, in bytes.
const MAX_NAME_BYTES: usize = 63;

/// Adopt a database of a cluster as a tenant.
///
/// It is closed, everything in it is given to the platform's role, and it gets the tenant's name, role
/// and marker; then its schemas are brought up to date and it is served. Its data stays as it is. What
/// fails is given back as it was found. `dry_run` answers with what was found and what would be done.
#[utoipa::path(
    post,
    path = "/v1/tenants/adopt",
    operation_id = "tenants.adopt",
    tag = "tenants",
    params(WaitQuery),
    request_body = NewAdoption,
    responses(
        (status = 200, description = "The tenant is served; or what would happen, for a dry run.",
            body = Adopted),
        (status = 202, description = "It is under way.", body = OperationView,
            headers(("location" = String), ("retry-after" = u32))),
    )
)]
pub(crate) async fn adopt(
    operator: Operator<TenantsWrite>,
    State(platform): State<Platform>,
    Query(query): Query<WaitQuery>,
    key: MaybeIdempotencyKey,
    Json(new): Json<NewAdoption>,
) -> Result<Response> {
    if new.database.is_empty() || new.database.len() > MAX_NAME_BYTES {
        return Err(Problem::field("/database", "is 1 to 63 bytes"));
    }
    if new.dry_run {
        let preview = preview(&platform, &new).await?;
        return Ok(Json(Adopted::Preview(preview)).into_response());
    }
    let email = rules::email("/email", &new.email)?;
    let account = match new.password.clone() {
        Some(password) => Some(new_owner(&platform, &email, password).await?),
        None => None,
    };
    let asked = Begin {
        actor: operator.actor(),
        key,
        // The password is left out.
        request: json!({ "adopt": to_json(&new)? }),
        wait: query.wait,
    };
    let shared = platform.clone();
    begin(&platform, asked, move |db, id| {
        Box::pin(async move {
            let candidate = Candidate::look(&shared, db, &new).await?;
            if let Some(refusal) = candidate.verdict.refusal() {
                return Err(refusal);
            }
            let tenant = &candidate.tenant;
            let found = candidate.looked.facts.found.clone();
            let learned = (found, candidate.verdict.schemas.clone(), account);
            let place = (tenant, &new.cluster);
            // First of all: who waits for another request of this id must not hold the region's clusters.
            let plan = AdoptPlan::record(db, &shared, id, place, learned).await?;
            candidate.room(db, &new).await?;
            tenants::set_cluster(db, &tenant.id, &new.cluster).await?;
            Ok(Planned {
                subject: Subject::Tenant(tenant.id.clone()),
                plan: plan.into(),
                detail: json!({ "cluster": new.cluster, "database": new.database }),
            })
        })
    })
    .await
}

/// A database that somebody wants to adopt, and what was seen of it.
#[derive(Debug)]
struct Candidate {
    tenant: NewTenant,
    looked: Looked,
    verdict: Verdict,
}

impl Candidate {
    async fn look(platform: &Platform, db: &mut PgConnection, new: &NewAdoption) -> Result<Self> {
        let cluster = cluster(db, new).await?;
        let settings = &platform.settings.signup;
        let time_zone = new.time_zone.as_ref();
        let wanted = Wanted {
            slug: new.slug.as_deref(),
            company: &new.company,
            email: &new.email,
            tier: new.tier.as_ref().unwrap_or(&settings.default_tier),
            region: Some(&cluster.region),
            time_zone: time_zone.unwrap_or(&settings.default_time_zone),
            labels: &BTreeMap::new(),
        };
        let tenant = admit(db, wanted).await?;
        let looked = looked(platform, db, &cluster, &new.database).await?;
        let people = match new.password {
            Some(_) => People::NewOwner,
            None => People::Present,
        };
        Ok(Self {
            verdict: judge(&looked, &new.baseline, people),
            tenant,
            looked,
        })
    }

    /// Whether the cluster takes the tenant, and nobody else is adopting the database. Holds until the
    /// transaction ends.
    async fn room(&self, db: &mut PgConnection, new: &NewAdoption) -> Result<()> {
        let tenant = &self.tenant;
        let candidates = clusters::lock_candidates(db, &tenant.region).await?;
        let cluster = candidates.iter().find(|one| one.name == new.cluster);
        let cluster = cluster.ok_or_else(|| Problem::field("/cluster", "is no cluster"))?;
        let needs = Needs {
            region: &tenant.region,
            tier: &tenant.tier,
            labels: &BTreeMap::new(),
            // What is there takes no more room.
            bytes: 0,
        };
        if let Err(unfit) = cluster.judge(needs) {
            let detail = format!("The cluster {} does not take it: {unfit}.", new.cluster);
            return Err(Problem::new(Code::ClusterFull).detail(detail));
        }
        let oid = self.looked.facts.found.oid;
        if store::is_being_adopted(db, &new.cluster, oid).await? {
            let detail = "Another operation is adopting the database.";
            return Err(Problem::new(Code::Conflict).detail(detail));
        }
        Ok(())
    }

    /// What would be done, in order.
    fn actions(&self) -> Vec<String> {
        let (found, schemas) = (&self.looked.facts.found, &self.verdict.schemas);
        let things = self
            .looked
            .inside
            .as_ref()
            .map_or(0, |inside| inside.things);
        let mut actions = vec![
            format!("close {} to everybody and end its sessions", found.name),
            format!("take over {things} schemas, tables, routines and types"),
            format!(
                "rename {} to {}, which {} owns no more",
                found.name, self.tenant.id, found.owner
            ),
        ];
        for (owner, newest) in &self.looked.newest {
            let (said, there) = (schemas.baseline.get(owner), schemas.there.get(owner));
            actions.extend(said.map(|at| format!("{owner}: note version {at} as applied")));
            match there {
                None => actions.push(format!("{owner}: make version {newest}")),
                Some(at) if at < newest => {
                    actions.push(format!("{owner}: migrate from {at} to {newest}"));
                }
                Some(_) => {}
            }
        }
        actions
    }
}

async fn cluster(db: &mut PgConnection, new: &NewAdoption) -> Result<ClusterRow> {
    let cluster = clusters::find(db, &new.cluster).await?;
    let cluster = cluster.ok_or_else(|| Problem::field("/cluster", "is no cluster"))?;
    if cluster.status != ClusterStatus::Active {
        let detail = format!(
            "The cluster {} does not take it: {}.",
            new.cluster,
            Unfit::Status
        );
        return Err(Problem::new(Code::ClusterFull).detail(detail));
    }
    match &new.region {
        Some(region) if *region != cluster.region => {
            let detail = format!("The cluster stands in {}.", cluster.region);
            Err(Problem::new(Code::RegionLeft).detail(detail))
        }
        _ => Ok(cluster),
    }
}

/// Looks at a database, from outside and from inside as far as that is possible.
async fn looked(
    platform: &Platform,
    db: &mut PgConnection,
    cluster: &ClusterRow,
    database: &str,
) -> Result<Looked> {
    let newest = replicas::newest_versions(&replicas::store::live_services(db).await?);
    if newest.is_empty() {
        let detail = "No service that owns schemas is registered.";
        return Err(Problem::new(Code::NotReady).detail(detail));
    }
    // It waits for the server, for as long as the request may take.
    kit::db::may_idle(&mut *db, platform.settings.public.deadline.get()).await?;
    let server = platform
        .server(&cluster.name)
        .await
        .map_err(Stop::into_problem)?;
    let facts = {
        let mut connection = server.acquire().await?;
        foreign::facts(&mut connection, database).await?
    };
    let facts = facts.ok_or_else(|| {
        let detail = format!("{} has no database of this name.", cluster.name);
        Problem::new(Code::NotFound).detail(detail)
    })?;
    // Not in this transaction, which its refusal would end.
    let registry = registry_database(&mut *platform.registry.acquire().await?).await?;
    let is_registry = registry.is_some_and(|registry| {
        registry.name == database && (facts.server == 0 || registry.server == facts.server)
    });
    let whose = match database.parse::<TenantId>() {
        _ if is_registry => Whose::Registry,
        Ok(id) if tenants::find(db, &id).await?.is_some() => Whose::Tenant,
        _ => Whose::Foreign,
    };
    let inside = match facts.may_enter && facts.is_open && whose == Whose::Foreign {
        true => Some(inside(platform, &server, &facts.found, &newest).await?),
        false => None,
    };
    Ok(Looked {
        facts,
        inside,
        whose,
        newest,
    })
}

async fn inside(
    platform: &Platform,
    server: &Server,
    found: &Found,
    newest: &SchemaVersions,
) -> Result<contents::Inside> {
    let place = (found.oid, found.name.as_str());
    let connected = server
        .connect_foreign(platform, ClusterRole::Schema, place)
        .await;
    let mut connection = connected.map_err(Stop::into_problem)?;
    let owners: Vec<String> = newest.keys().map(ToString::to_string).collect();
    contents::only_read(&mut connection).await?;
    let inside = contents::look(&mut connection, &owners).await?;
    connection.close().await?;
    Ok(inside)
}

/// What an adoption would find and do.
async fn preview(platform: &Platform, new: &NewAdoption) -> Result<AdoptionPreview> {
    let mut transaction = platform.registry.begin().await?;
    let candidate = Candidate::look(platform, &mut transaction, new).await?;
    candidate.room(&mut transaction, new).await?;
    drop(transaction);
    let failed = |checks: &[AdoptionCheck]| {
        checks
            .iter()
            .any(|check| check.outcome == CheckOutcome::Failed)
    };
    let mut checks = candidate.verdict.checks.clone();
    let schemas = &candidate.verdict.schemas;
    if !failed(&checks) && !schemas.there.is_empty() {
        let compared = compared(platform, &candidate, new).await;
        checks.extend(judge_compared(&compared.map_err(Stop::into_problem)?));
    }
    let adoptable = !failed(&checks);
    Ok(AdoptionPreview {
        tenant: candidate.tenant.id.clone(),
        cluster: new.cluster.clone(),
        database: new.database.clone(),
        size_bytes: candidate.looked.facts.size_bytes,
        adoptable,
        checks,
        actions: match adoptable {
            true => candidate.actions(),
            false => Vec::new(),
        },
    })
}

/// Compares with a database that is gone afterwards.
async fn compared(
    platform: &Platform,
    candidate: &Candidate,
    new: &NewAdoption,
) -> Result<Compared, Stop> {
    let server = platform.server(&new.cluster).await?;
    let scratch = Name::Scratch(Uuid::now_v7());
    spare::ensure_empty(&server, &scratch).await?;
    let (found, schemas) = (&candidate.looked.facts.found, &candidate.verdict.schemas);
    let compared = compare::compare(platform, (&server, &scratch), found, schemas).await;
    spare::drop_now(platform, &server, &scratch).await?;
    compared
}

pub(crate) fn router() -> OpenApiRouter<Platform> {
    kit::operations!(adopt)
}
