//! A change of a cluster.
//!
//! Deliberately what is not named stays. Invariant: a limit is taken away only by the word none.

use clap::Args;
use contract::operator::cluster::{ClusterPatch, ClusterStatus};
use contract::tenant::TlsMode;
use reqwest::Method;

use super::{FIELDS, Named};
use crate::context::Context;
use crate::failure::Failure;
use crate::values;

/// What to change; what is left out stays.
#[derive(Debug, Args)]
pub(crate) struct Update {
    #[command(flatten)]
    cluster: Named,
    #[command(flatten)]
    change: Change,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
struct Change {
    /// full: it keeps what it has and gets no more; a drain sets draining by itself.
    #[arg(long, value_parser = values::one_of::<ClusterStatus>(["active", "full"]))]
    status: Option<ClusterStatus>,
    /// Where its server is reached now: host name or address, as all services reach it.
    #[arg(long)]
    host: Option<String>,
    /// TCP port.
    #[arg(long)]
    port: Option<u16>,
    /// How connections are protected.
    #[arg(
        long,
        value_parser = values::one_of::<TlsMode>(["disable", "require", "verify-full"])
    )]
    tls: Option<TlsMode>,
    /// A label, name=value; several times for several. Replaces all labels.
    #[arg(long = "label", value_name = "LABEL", value_parser = values::label)]
    labels: Vec<(String, String)>,
    /// Takes all labels away.
    #[arg(long, conflicts_with = "labels")]
    no_labels: bool,
    /// Keep it for this tier; several times for several. Replaces all tiers.
    #[arg(long = "tier")]
    tiers: Vec<String>,
    /// Take every tier.
    #[arg(long, conflicts_with = "tiers")]
    any_tier: bool,
    /// Its share of new tenants, relative to the others of the region.
    #[arg(long)]
    weight: Option<u32>,
    /// Server connections that all tenants on it may hold together.
    #[arg(long, value_name = "CONNECTIONS")]
    budget: Option<u32>,
    /// Databases that it may hold, or none for no limit.
    #[arg(long, value_name = "COUNT|none", value_parser = limit)]
    max_databases: Option<Limit>,
    /// GiB that its databases may take, or none for no limit.
    #[arg(long, value_name = "GIB|none", value_parser = limit)]
    max_disk_gib: Option<Limit>,
}

/// A number, or no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Limit(Option<u32>);

fn limit(text: &str) -> Result<Limit, String> {
    match (text, text.parse()) {
        ("none", _) => Ok(Limit(None)),
        (_, Ok(number)) => Ok(Limit(Some(number))),
        _ => Err("is a number, or none".to_owned()),
    }
}

impl Update {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        const GIB: u64 = 1 << 30;
        let change = self.change;
        let labels = (!change.labels.is_empty() || change.no_labels)
            .then(|| change.labels.into_iter().collect());
        let tiers = match change.tiers {
            tiers if !tiers.is_empty() => Some(Some(tiers)),
            _ => change.any_tier.then_some(None),
        };
        let patch = ClusterPatch {
            status: change.status,
            host: change.host,
            port: change.port,
            tls: change.tls,
            labels,
            tiers,
            weight: change.weight,
            connection_budget: change.budget,
            max_databases: change.max_databases.map(|limit| limit.0),
            max_disk_bytes: change
                .max_disk_gib
                .map(|limit| limit.0.map(|gib| u64::from(gib) * GIB)),
        };
        let api = context.api()?;
        let path = self.cluster.path();
        let changed = api.once(Method::PATCH, &path, &patch).await?;
        context.out.item(FIELDS, &changed)
    }
}
