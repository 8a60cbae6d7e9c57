//! Tiers: list, update.
//!
//! Deliberately no making and no removing: tenants refer to a tier for good. Invariant: what is not
//! named stays as it is.

use std::collections::BTreeMap;

use clap::{ArgGroup, Args, Subcommand};
use contract::operator::tier::TierPatch;

use crate::api::Query;
use crate::context::Context;
use crate::failure::Failure;
use crate::follow;
use crate::output::{columns, plain};

columns! {
    const COLUMNS: "TierView" = [
        plain("name", "/name"),
        plain("title", "/title"),
        plain("weight", "/weight"),
        plain("limits", "/limits"),
        plain("features", "/features"),
        plain("retention days", "/retention_days"),
        plain("self-service", "/self_service"),
    ];
}

/// What can be done with tiers.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the tiers, smallest first.
    #[command(after_help = "Example:
  tenantctl tiers list")]
    List,
    /// Change what a tier grants to its tenants.
    #[command(after_help = "Examples:
  tenantctl tiers update standard --limit users=75 --limit storage_bytes=unlimited
  tenantctl tiers update premium --feature map --no-feature entries --wait=replicas
  tenantctl tiers update standard --retention-days 45
  tenantctl tiers update premium --self-service false

Overrides of a tenant stay in force. A tenant that exceeds a lowered limit keeps what it has, but cannot add
more.")]
    Update(Update),
}

/// Changes a tier.
#[derive(Debug, Args)]
pub(crate) struct Update {
    /// The tier, as in `tenantctl tiers list`.
    tier: String,
    #[command(flatten)]
    change: Change,
}

/// What to change.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("change")
    .args(["limits", "no_limits", "features", "no_features", "weight", "retention_days", "title", "self_service"])
    .required(true)
    .multiple(true))]
struct Change {
    /// Set a limit: name=number or name=unlimited; repeatable.
    #[arg(long = "limit", value_name = "LIMIT", value_parser = limit)]
    limits: Vec<(String, Option<i64>)>,
    /// Remove a limit: what it bounds is no longer granted; repeatable.
    #[arg(long = "no-limit", value_name = "NAME")]
    no_limits: Vec<String>,
    /// Turn on a feature; repeatable.
    #[arg(long = "feature", value_name = "NAME")]
    features: Vec<String>,
    /// Turn off a feature; repeatable.
    #[arg(long = "no-feature", value_name = "NAME")]
    no_features: Vec<String>,
    /// Share of contended resources, relative to other tiers: 1 to 1000.
    #[arg(long)]
    weight: Option<u32>,
    /// How long deleted tenants can be restored. Applies to tenants deleted from now on.
    #[arg(long, value_name = "DAYS")]
    retention_days: Option<u32>,
    /// Display name.
    #[arg(long)]
    title: Option<String>,
    /// Whether anybody can choose it at sign-up, or only operators can assign it.
    #[arg(long, value_name = "true|false")]
    self_service: Option<bool>,
}

fn limit(text: &str) -> Result<(String, Option<i64>), String> {
    let (name, most) = text.split_once('=').unwrap_or((text, ""));
    let most = match most {
        "unlimited" => Ok(None),
        number => number.parse().map(Some),
    };
    match most {
        Ok(most) if !name.is_empty() => Ok((name.to_owned(), most)),
        _ => Err("expected name=number or name=unlimited, such as users=75".to_owned()),
    }
}

impl Command {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::List => {
                let tiers = context.api()?.get("/v1/tiers", &Query::new()).await?;
                let items = tiers["data"].as_array().map_or(&[][..], Vec::as_slice);
                context.out.list(COLUMNS, items)
            }
            Self::Update(update) => update.run(context).await,
        }
    }
}

impl Update {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let Change {
            limits,
            no_limits,
            features,
            no_features,
            weight,
            retention_days,
            title,
            self_service,
        } = self.change;
        if let Some(both) = features.iter().find(|name| no_features.contains(name)) {
            let words = format!("{both} is named by both --feature and --no-feature");
            return Err(Failure::usage(words));
        }
        let on = features.into_iter().map(|name| (name, true));
        let off = no_features.into_iter().map(|name| (name, false));
        let patch = TierPatch {
            title,
            weight,
            limits: BTreeMap::from_iter(limits),
            dropped_limits: no_limits.into_iter().collect(),
            features: on.chain(off).collect(),
            retention_days,
            self_service,
        };
        let path = format!("/v1/tiers/{}", self.tier);
        follow::patched(context, &path, None, &patch, COLUMNS).await
    }
}
