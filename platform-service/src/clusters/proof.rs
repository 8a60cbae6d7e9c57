//! Proves that what answers at another address is the cluster that it is said to be.
//!
//! Deliberately holds no lock of the registry: a server that says nothing keeps nobody waiting but the
//! operator who named it. Invariant: a cluster is never given the address of a server that lacks a database
//! which the registry has there, nor while another server takes writes for the same tenants.

use std::collections::BTreeMap;
use std::time::Duration;

use adapters::secret_store::{ClusterRole, SecretSubject};
use contract::secret::{Secret, SecretRef};
use contract::tenant::{PLATFORM_ROLE, SCHEMA_ROLE, marker};
use contract::{ClusterName, Code};
use kit::error::{Problem, Result};
use sqlx::{Connection as _, PgConnection};

use super::add::refuse;
use super::address::{Address, blamed, is_refused_certificate, words};
use super::beside::Beside;
use super::postgres::inventory;
use super::postgres::server::{self, Running};
use super::requirements::{Demand, Failure};
use super::roles::{self, Inspection, Mark};
use super::store::{self, ClusterRow, moves};
use crate::platform::Platform;

/// How long the whole proof may take; every login has a bound of its own.
const PROOF_TIMEOUT: Duration = Duration::from_secs(20);
/// Databases that a refusal names.
const NAMED: usize = 3;

/// What was seen at an address at which a cluster's server answers.
#[derive(Debug)]
pub(super) struct Proof {
    /// The cluster as it was when this was looked at.
    before: ClusterRow,
    inspection: Inspection,
}

impl Proof {
    /// Whether it is still about the cluster as it is now, and its server has room for the budget.
    pub(super) fn holds(&self, now: &ClusterRow, budget: u32) -> Result<()> {
        let known = |row: &ClusterRow| {
            let credentials = [&row.platform_credential, &row.schema_credential];
            (
                row.host.clone(),
                row.port,
                row.tls,
                credentials.map(SecretRef::clone),
            )
        };
        if known(&self.before) != known(now) {
            return Err(changed_meanwhile());
        }
        fit(&self.inspection, &self.before.name, budget)
    }
}

/// Refuses a server that can be no cluster, or has no room for the budget.
fn fit(inspection: &Inspection, cluster: &ClusterName, budget: u32) -> Result<()> {
    let failures = inspection.failures(Demand {
        cluster: cluster.as_str(),
        budget,
        beside: Beside::default(),
        files: None,
    });
    // No other login is named here that could lack a right.
    let of_the_server = |(field, words): Failure| match field {
        "/admin_user" => ("/host", format!("the role {PLATFORM_ROLE} {words}")),
        field => (field, words),
    };
    refuse(failures.into_iter().map(of_the_server).collect())
}

/// Proves that a cluster's server answers at an address.
///
/// # Errors
/// It cannot be entered, is another server, lacks a database of a tenant, lets anybody in, or takes over
/// from one that still takes writes.
pub(super) async fn prove(
    platform: &Platform,
    before: ClusterRow,
    to: Address<'_>,
) -> Result<Proof> {
    let looked = async {
        let inspection = same_cluster(platform, &before, to).await?;
        Ok(Proof { before, inspection })
    };
    match tokio::time::timeout(PROOF_TIMEOUT, looked).await {
        Ok(proof) => proof,
        Err(_) => Err(Problem::field(
            "/host",
            "the server there takes too long to answer",
        )),
    }
}

async fn same_cluster(
    platform: &Platform,
    before: &ClusterRow,
    to: Address<'_>,
) -> Result<Inspection> {
    let opened = async |role, reference| {
        let subject = SecretSubject::Cluster(before.name.clone(), role);
        let password = platform.seal.open(&subject, reference).await;
        password.map_err(Problem::internal)
    };
    let password = opened(ClusterRole::Platform, &before.platform_credential).await?;
    let entered = to.enter(PLATFORM_ROLE, &password).await;
    let mut there = entered.map_err(|error| refused(&error))?;
    let inspection = roles::inspect(&mut there)
        .await
        .map_err(|error| refused(&error))?;
    // Whether it has room is said when the budget is known for certain.
    fit(&inspection, &before.name, 0)?;
    let (installation, expected) = {
        let mut registry = platform.registry.acquire().await?;
        let installation = store::installation(&mut registry).await?;
        (
            installation,
            moves::settled(&mut registry, &before.name).await?,
        )
    };
    let ours = Mark::new(&before.name, installation);
    let is_ours =
        |mark: Mark| mark == ours || (mark.cluster == ours.cluster && mark.names_nobody());
    if !inspection.mark().is_some_and(is_ours) {
        let rule = "the server there is not this cluster";
        return Err(Problem::field("/host", rule));
    }
    has_all(&mut there, &expected).await?;
    let running = server::running(&mut there)
        .await
        .map_err(|error| refused(&error))?;
    there.close().await.map_err(|error| refused(&error))?;
    let password_of_schemas = opened(ClusterRole::Schema, &before.schema_credential).await?;
    to.admits(SCHEMA_ROLE, &password_of_schemas).await?;
    if to.admits_anybody().await {
        let rule = "the server there lets us in with a wrong password: set scram-sha-256 in its pg_hba.conf";
        return Err(Problem::field("/host", rule));
    }
    nobody_else_writes(before.into(), &password, &running).await?;
    Ok(inspection)
}

/// Every database that the registry has on the cluster is there, and is the copy that is meant.
async fn has_all(there: &mut PgConnection, expected: &[(String, u32)]) -> Result<()> {
    let names: Vec<String> = expected.iter().map(|(name, _)| name.clone()).collect();
    let found = inventory::markers(there, &names).await;
    let found: BTreeMap<String, String> = found
        .map_err(|error| refused(&error))?
        .into_iter()
        .collect();
    let missing: Vec<&str> = expected
        .iter()
        .filter(|(name, copy)| found.get(name) != Some(&marker(name, *copy)))
        .map(|(name, _)| name.as_str())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let rule = format!(
        "the server there lacks databases that are served, or has other copies of them: {} of {}, {} for one",
        missing.len(),
        expected.len(),
        missing[..missing.len().min(NAMED)].join(", ")
    );
    Err(Problem::field("/host", rule))
}

/// The server at the old address is the same one, or takes no writes.
async fn nobody_else_writes(old: Address<'_>, password: &Secret, new: &Running) -> Result<()> {
    let looked = async {
        let mut there = old.enter(PLATFORM_ROLE, password).await?;
        let running = server::running(&mut there).await?;
        // What was asked is known.
        let _ = there.close().await;
        Ok::<_, sqlx::Error>(running)
    };
    let detail = match looked.await {
        Ok(old) if old == *new || old.is_standby => return Ok(()),
        Ok(_) => "The server at the old address is another one and still takes writes, which would be lost. \
                  Stop it, and ask again."
            .to_owned(),
        // One that is full, or stops, may still serve those who are in.
        Err(error) if is_an_answer(&error) => format!(
            "The server at the old address still answers ({}), and may take writes, which would be lost. \
             Stop it, and ask again.",
            words(&error)
        ),
        Err(_) => return Ok(()),
    };
    Err(Problem::new(Code::Conflict).detail(detail))
}

/// Whether a server said something, if only what makes no sense.
fn is_an_answer(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) => true,
        sqlx::Error::Io(error) => is_refused_certificate(error),
        _ => false,
    }
}

/// The cluster is not any more what was looked at.
pub(super) fn changed_meanwhile() -> Problem {
    let detail = "Somebody else changed how the cluster is reached. Look at it, and ask again.";
    Problem::new(Code::Conflict).detail(detail)
}

fn refused(error: &sqlx::Error) -> Problem {
    let rule = format!("the cluster cannot be entered there: {}", words(error));
    Problem::field(blamed(error), rule)
}
