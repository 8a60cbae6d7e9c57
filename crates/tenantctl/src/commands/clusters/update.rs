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
    /// Status: a full cluster keeps its tenants and gets no new ones. `clusters drain` sets draining.
    #[arg(long, value_parser = values::one_of::<ClusterStatus>(["active", "full"]))]
    status: Option<ClusterStatus>,
    /// New host name or address at which all services reach it.
    #[arg(long)]
    host: Option<String>,
    /// TCP port.
    #[arg(long)]
    port: Option<u16>,
    /// TLS mode of connections.
    #[arg(
        long,
        value_parser = values::one_of::<TlsMode>(["disable", "require", "verify-full"])
    )]
    tls: Option<TlsMode>,
    /// A label, name=value; repeatable. Replaces all labels.
    #[arg(long = "label", value_name = "LABEL", value_parser = values::label)]
    labels: Vec<(String, String)>,
    /// Remove all labels.
    #[arg(long, conflicts_with = "labels")]
    no_labels: bool,
    /// Reserve it for this tier; repeatable. Replaces all tiers.
    #[arg(long = "tier")]
    tiers: Vec<String>,
    /// Accept every tier.
    #[arg(long, conflicts_with = "tiers")]
    any_tier: bool,
    /// Share of new tenants, relative to the other clusters in the region.
    #[arg(long)]
    weight: Option<u32>,
    /// Connection budget: server connections that all its tenants together may use.
    #[arg(long, value_name = "CONNECTIONS")]
    budget: Option<u32>,
    /// Maximum number of databases, or none for no limit.
    #[arg(long, value_name = "COUNT|none", value_parser = limit)]
    max_databases: Option<Limit>,
    /// Maximum disk space of its databases in GiB, or none for no limit.
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
        _ => Err("expected a number, or none".to_owned()),
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
