//! Names that a request for many tenants gives: of tenants, of a tier, of clusters.
//!
//! Deliberately only asks whether there is such a thing. Invariant: a name that nothing has is refused
//! where it stands; work on nobody is never done in its place.

use contract::operator::fleet::Selection;
use contract::operator::rollout::{RolloutRequest, Wave};
use contract::{ClusterName, TenantId};
use kit::error::{Problem, Result};
use sqlx::PgConnection;

use super::store;
use crate::{clusters, tiers};

/// Refuses a selection that names what there is not.
///
/// # Errors
/// `validation-failed` with the field.
pub(crate) async fn selection(connection: &mut PgConnection, wanted: &Selection) -> Result<()> {
    if let Some(tier) = &wanted.tier {
        tiers::check_at(&mut *connection, "/filter/tier", tier).await?;
    }
    if let Some(name) = &wanted.cluster {
        cluster(&mut *connection, "/filter/cluster", name).await?;
    }
    tenants(connection, "/filter/ids", &wanted.ids).await
}

/// Refuses a roll-out of which a wave names what there is not: a canary that nobody is tries nothing.
///
/// # Errors
/// `validation-failed` with the field.
pub(crate) async fn rollout(connection: &mut PgConnection, wanted: &RolloutRequest) -> Result<()> {
    selection(&mut *connection, &wanted.filter).await?;
    for (number, wave) in wanted.waves.iter().enumerate() {
        let at = |what: &str| format!("/waves/{number}/{what}");
        match wave {
            Wave::Tenants(ids) => tenants(&mut *connection, &at("tenants"), ids).await?,
            Wave::Tier(name) => tiers::check_at(&mut *connection, &at("tier"), name).await?,
            Wave::Cluster(name) => cluster(&mut *connection, &at("cluster"), name).await?,
            Wave::Percent(_) => {}
        }
    }
    Ok(())
}

async fn tenants(connection: &mut PgConnection, pointer: &str, ids: &[TenantId]) -> Result<()> {
    match store::first_unknown(connection, ids).await? {
        Some(at) => Err(Problem::field(format!("{pointer}/{at}"), "is no tenant")),
        None => Ok(()),
    }
}

async fn cluster(connection: &mut PgConnection, pointer: &str, name: &ClusterName) -> Result<()> {
    match clusters::store::find(connection, name).await? {
        Some(_) => Ok(()),
        None => Err(Problem::field(pointer.to_owned(), "is no cluster")),
    }
}
