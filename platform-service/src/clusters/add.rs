//! Adding an existing server as a cluster: checks, roles, row.
//!
//! Deliberately in one go and one at a time: roles that were made for an attempt that failed get new
//! passwords by the next one. Invariants: a server that is a cluster already, under whatever
//! address, is not touched; the administrator's password is dropped with the request.

use std::collections::BTreeMap;

use adapters::secret_store::{ClusterRole, SecretError, SecretSubject};
use contract::secret::{Secret, SecretRef};
use contract::tenant::{PLATFORM_ROLE, SCHEMA_ROLE, TlsMode};
use contract::{ClusterName, Code};
use kit::db::OnConstraint as _;
use kit::error::{Problem, Result, kept};
use serde::Deserialize;
use sqlx::{Connection as _, PgConnection};
use time::OffsetDateTime;
use uuid::Uuid;

use super::ServerWarning;
use super::address::{Address, blamed, host_rule, is_word, port_rule, words};
use super::capacity::Capacity;
use super::placement::ClusterStatus;
use super::postgres;
use super::requirements::{Demand, Failure};
use super::roles::{self, Inspection, Mark, Passwords, Replication};
use super::store::{self, ClusterRow};
use crate::audit::{self, Action, Actor};
use crate::platform::Platform;
use crate::tiers;

const MAX_REGION_CHARS: usize = 40;

/// An existing server that becomes a cluster.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "name": "main", "region": "eu-central-1", "host": "db-1.internal", "port": 5432,
    "tls": "verify-full", "admin_user": "postgres", "admin_password": "...",
    "connection_budget": 60, "max_databases": 800
}))]
pub(crate) struct NewCluster {
    /// Names it for ever.
    name: ClusterName,
    /// Where it stands: what tenants name as their region.
    #[schema(example = "eu-central-1", pattern = "^[!-~]{1,40}$")]
    region: String,
    /// Host name or address, as all services reach it.
    #[schema(min_length = 1)]
    host: String,
    /// TCP port.
    #[schema(minimum = 1, maximum = 65_535)]
    port: u16,
    /// How connections to it are protected.
    tls: TlsMode,
    /// A login that may make roles and databases; used now and then forgotten.
    #[schema(min_length = 1, max_length = 63)]
    admin_user: String,
    /// Its password.
    #[schema(value_type = String, format = Password)]
    admin_password: Secret,
    /// Server connections that all tenants on it may hold together.
    #[schema(minimum = 1, maximum = 100_000)]
    connection_budget: u32,
    /// Databases that it may hold; left out for no limit.
    #[schema(minimum = 1, maximum = 2_147_483_647)]
    max_databases: Option<u32>,
    /// Tiers that it is kept for; left out for every tier.
    #[schema(min_items = 1, max_items = 20)]
    tiers: Option<Vec<String>>,
    /// What a tenant may ask of its cluster: at most 20, each of 1 to 63 characters.
    #[serde(default)]
    labels: BTreeMap<String, String>,
    /// Share of new tenants relative to the other clusters of the region; 1 where it is left out.
    #[schema(minimum = 1, maximum = 1000)]
    weight: Option<u32>,
    /// Bytes that its databases may take; left out for no limit.
    #[schema(value_type = Option<i64>, minimum = 1)]
    max_disk_bytes: Option<u64>,
    /// The installation whose cluster the server was, where that one is gone for good: it loses its
    /// logins there, and its ready copies are dropped. The refusal without it names it.
    takes_over_from: Option<String>,
}

/// Checks a server, makes it a cluster and says what it should change.
pub(super) async fn add(
    platform: &Platform,
    actor: Actor,
    new: NewCluster,
) -> Result<(ClusterRow, Vec<ServerWarning>)> {
    check(&new)?;
    let registry_database =
        store::registry_database::registry_database(&mut *platform.registry.acquire().await?)
            .await?;
    let mut transaction = platform.registry.begin().await?;
    // It waits for the server, for as long as the request may take.
    kit::db::may_idle(&mut transaction, platform.settings.public.deadline.get()).await?;
    store::lock_adding(&mut transaction).await?;
    check_new(&mut transaction, &new).await?;
    for tier in new.tiers.iter().flatten() {
        tiers::check(&mut transaction, tier).await?;
    }

    let mut admin = log_in(&new).await?;
    let inspection = roles::inspect(&mut admin).await.map_err(unusable)?;
    let mark = Mark::new(&new.name, store::installation(&mut transaction).await?);
    check_unmarked(&mut transaction, &new, &inspection, &mark).await?;
    let demand = Demand {
        cluster: new.name.as_str(),
        budget: new.connection_budget,
        beside: store::beside::count(&mut transaction).await?,
        files: None,
    };
    refuse(inspection.failures(demand))?;
    let mut warnings = inspection.warnings(demand);
    let passwords = Passwords::random();
    roles::ensure(
        &mut admin,
        &inspection,
        &mark,
        &passwords,
        registry_database.as_ref(),
    )
    .await
    .map_err(unusable)?;
    address(&new)
        .admits(PLATFORM_ROLE, &passwords.platform)
        .await?;
    address(&new).admits(SCHEMA_ROLE, &passwords.schema).await?;
    warnings.extend(roles::look_back(&mut admin).await.map_err(unusable)?);
    warnings.extend(passwordless(&new).await);
    warnings.extend(roles::marking(&mut admin).await.map_err(unusable)?);
    let replication = roles::replication(&mut admin).await.map_err(unusable)?;
    let connections = postgres::connections(&mut admin).await.map_err(unusable)?;
    admin.close().await.map_err(unusable)?;

    let row = row(platform, new, &inspection, replication, &passwords).await?;
    store::insert(&mut transaction, &row)
        .await
        .on_constraint("cluster_key", || name_taken(&row.name))?;
    store::set_connections(&mut transaction, &row.name, connections).await?;
    let detail = serde_json::json!({
        "cluster": row.name, "region": row.region, "host": row.host, "port": row.port,
    });
    audit::record(&mut transaction, actor, Action::ClusterAdded, None, detail).await?;
    transaction.commit().await?;
    platform.clusters.nudge();
    Ok((row, warnings))
}

fn check(new: &NewCluster) -> Result<()> {
    let rules = [
        (
            "/region",
            "is 1 to 40 visible ASCII characters",
            is_word(&new.region, MAX_REGION_CHARS),
        ),
        host_rule(&new.host),
        port_rule(new.port),
        (
            "/admin_user",
            "is 1 to 63 characters",
            (1..=63).contains(&new.admin_user.len()),
        ),
    ];
    let capacity = Capacity {
        connection_budget: new.connection_budget,
        max_databases: new.max_databases,
        max_disk_bytes: new.max_disk_bytes,
        weight: new.weight.unwrap_or(1),
        tiers: new.tiers.as_deref(),
        labels: &new.labels,
    };
    kept(rules.into_iter().chain(capacity.rules()))
}

/// Names every check that failed.
pub(super) fn refuse(failures: Vec<Failure>) -> Result<()> {
    if failures.is_empty() {
        return Ok(());
    }
    Err(failures.into_iter().fold(
        Problem::new(Code::ValidationFailed),
        |problem, (field, detail)| problem.and_field(field, detail),
    ))
}

fn name_taken(name: &ClusterName) -> Problem {
    Problem::new(Code::Conflict).detail(format!("There is a cluster named {name} already."))
}

async fn check_new(registry: &mut PgConnection, new: &NewCluster) -> Result<()> {
    if store::find(registry, &new.name).await?.is_some() {
        return Err(name_taken(&new.name));
    }
    check_address(registry, &new.host, new.port).await
}

/// Refuses an address that a cluster has.
pub(super) async fn check_address(
    registry: &mut PgConnection,
    host: &str,
    port: u16,
) -> Result<()> {
    match store::at_address(registry, host, port).await? {
        Some(name) => Err(Problem::new(Code::Conflict)
            .detail(format!("This server is the cluster {name} already."))),
        None => Ok(()),
    }
}

/// Refuses a server that is a cluster already: one of ours, or one of another installation, which would
/// be locked out of it.
async fn check_unmarked(
    registry: &mut PgConnection,
    new: &NewCluster,
    inspection: &Inspection,
    ours: &Mark,
) -> Result<()> {
    let Some(found) = inspection.mark() else {
        return Ok(());
    };
    let refused = |detail: String| Err(Problem::new(Code::Conflict).detail(detail));
    if found.installation == ours.installation || found.names_nobody() {
        return match store::find(registry, &found.cluster).await? {
            Some(row) => refused(format!(
                "This server is the cluster {} already, under another address.",
                row.name
            )),
            None => Ok(()),
        };
    }
    let other = &found.installation;
    if new.takes_over_from.as_ref() == Some(other) {
        return Ok(());
    }
    refused(format!(
        "This server is the cluster {} of another installation, {other}, which would be locked out of its \
         tenants' databases. Only if that one is gone for good: send its id as takes_over_from.",
        found.cluster
    ))
}

async fn log_in(new: &NewCluster) -> Result<PgConnection> {
    let entered = address(new)
        .enter(&new.admin_user, &new.admin_password)
        .await;
    entered.map_err(|error| {
        let field = match kit::db::Fault::of(&error) {
            kit::db::Fault::LoginRefused => "/admin_password",
            _ => blamed(&error),
        };
        Problem::field(
            field,
            format!("the server cannot be entered: {}", words(&error)),
        )
    })
}

fn address(new: &NewCluster) -> Address<'_> {
    Address {
        host: &new.host,
        port: new.port,
        tls: new.tls,
    }
}

fn unusable(error: sqlx::Error) -> Problem {
    Problem::field(
        "/admin_user",
        format!("the server refused: {}", words(&error)),
    )
    .caused_by(error)
}

/// A server that lets a wrong password in has no walls between tenants.
async fn passwordless(new: &NewCluster) -> Option<ServerWarning> {
    address(new).admits_anybody().await.then(|| ServerWarning {
        about: "pg_hba.conf",
        detail: "The server lets us in with a wrong password: set scram-sha-256 for every \
                 address that the services come from, or nothing keeps tenants apart."
            .to_owned(),
    })
}

async fn row(
    platform: &Platform,
    new: NewCluster,
    inspection: &Inspection,
    replication: Replication,
    passwords: &Passwords,
) -> Result<ClusterRow> {
    let version = Uuid::now_v7().simple().to_string();
    let seal = async |role: ClusterRole, password: &Secret| -> Result<SecretRef, SecretError> {
        let subject = SecretSubject::Cluster(new.name.clone(), role);
        platform.seal.put(&subject, &version, password).await
    };
    let platform_credential = seal(ClusterRole::Platform, &passwords.platform)
        .await
        .map_err(Problem::internal)?;
    let schema_credential = seal(ClusterRole::Schema, &passwords.schema)
        .await
        .map_err(Problem::internal)?;
    Ok(ClusterRow {
        region: new.region,
        host: new.host,
        port: new.port,
        tls: new.tls,
        status: ClusterStatus::Active,
        connection_budget: new.connection_budget,
        max_databases: new.max_databases,
        tiers: new.tiers,
        labels: new.labels,
        weight: new.weight.unwrap_or(1),
        max_disk_bytes: new.max_disk_bytes,
        server_version: inspection.settings.version,
        can_replicate: replication == Replication::Possible,
        platform_credential,
        schema_credential,
        query_credential: None,
        created_at: OffsetDateTime::now_utc(),
        name: new.name,
    })
}
