//! A rollout that is started.
//!
//! Deliberately goes on without this program. Invariant: a dry run begins nothing.

use clap::Args;
use contract::operator::rollout::{DEFAULT_CONCURRENCY, DEFAULT_HALT_SHARE, RolloutRequest, Wave};
use contract::{ClusterName, TenantId};
use serde_json::{Value, json};
use uuid::Uuid;

use super::Named;
use super::show::TENANTS;
use crate::api::Query;
use crate::commands::selection::SelectionFlags;
use crate::context::Context;
use crate::failure::{Failure, text};
use crate::follow;
use crate::output::{columns, plain};
use crate::values;

columns! {
    const PREVIEW: "RolloutPreview" = [
        plain("target versions", "/target"),
        plain("skipped", "/skipped"),
    ];
}

/// A rollout to be started.
#[derive(Debug, Args)]
pub(crate) struct Start {
    /// Title of the rollout.
    #[arg(long, default_value = "", hide_default_value = true)]
    title: String,
    /// A tenant of the first wave; repeatable. If one fails, the rollout halts.
    #[arg(long = "canary", value_name = "TENANT", value_parser = values::tenant)]
    canaries: Vec<TenantId>,
    /// The next wave: tier=NAME, cluster=NAME or percent=1..100; repeatable, in this order.
    #[arg(long = "wave", value_name = "RULE", value_parser = wave)]
    waves: Vec<Wave>,
    /// Number of tenants at the same time, per cluster: 1 to 64.
    #[arg(long, default_value_t = DEFAULT_CONCURRENCY)]
    at_once: u16,
    /// Halt when more than this share of tenants failed: 0 (at the first failure) to 1.
    #[arg(long, default_value_t = DEFAULT_HALT_SHARE)]
    halt_share: f64,
    /// Show the waves and their tenants, and change nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    selection: SelectionFlags,
}

fn wave(text: &str) -> Result<Wave, String> {
    let wrong = || "expected tier=NAME, cluster=NAME or percent=1..100".to_owned();
    let (rule, value) = text.split_once('=').ok_or_else(wrong)?;
    match rule {
        "tier" if !value.is_empty() => Ok(Wave::Tier(value.to_owned())),
        "cluster" => value
            .parse::<ClusterName>()
            .map(Wave::Cluster)
            .map_err(|error| error.to_string()),
        "percent" => match value.parse() {
            Ok(percent @ 1..=100) => Ok(Wave::Percent(percent)),
            _ => Err(wrong()),
        },
        _ => Err(wrong()),
    }
}

impl Start {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let canaries =
            Some(Wave::Tenants(self.canaries)).filter(|wave| *wave != Wave::Tenants(Vec::new()));
        let body = RolloutRequest {
            title: self.title,
            filter: self.selection.into(),
            waves: canaries.into_iter().chain(self.waves).collect(),
            concurrency: self.at_once,
            halt_share: self.halt_share,
        };
        if self.dry_run {
            let preview = follow::preview(context, "/v1/rollouts", &body).await?;
            return show_waves(context, &preview);
        }
        let query: Query = vec![("wait", "none".to_owned())];
        let api = context.api()?;
        let (_, begun) = api
            .post("/v1/rollouts", &query, &body, Uuid::now_v7())
            .await?;
        let id = text(&begun, "/id").parse().map_err(|_| Failure::Strange {
            server: api.server().to_owned(),
            status: 200,
        })?;
        Named { id }.follow(context).await
    }
}

/// Shows who would be in which wave.
fn show_waves(context: &Context, preview: &Value) -> Result<(), Failure> {
    context.out.item(PREVIEW, preview)?;
    let none = Vec::new();
    let waves = preview["waves"].as_array().unwrap_or(&none);
    for wave in waves {
        let rule = match &wave["rule"] {
            Value::Null => "all other tenants".to_owned(),
            rule => rule.to_string(),
        };
        let tenants = wave["tenants"].as_array().unwrap_or(&none);
        let title = format!("wave {}, {rule}: {} tenants", wave["wave"], tenants.len());
        let rows: Vec<Value> = tenants.iter().map(|id| json!({ "tenant": id })).collect();
        context.out.part(&title, &TENANTS[..1], &rows)?;
    }
    context.out.note("Nothing was changed.");
    Ok(())
}
