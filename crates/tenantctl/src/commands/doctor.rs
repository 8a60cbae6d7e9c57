//! The doctor: what is wrong with the platform and its clusters, and what mends it.
//!
//! Deliberately judges nothing itself: the platform does. Invariant: the exit code is 1 when
//! something is bad.

use clap::Args;
use contract::ClusterName;
use serde_json::Value;

use crate::api::Query;
use crate::context::Context;
use crate::failure::{Failure, text};
use crate::output::{Format, columns, on_one_line, plain, state};

columns! {
    const COLUMNS: "Diagnosis" = [
        state("verdict", "/verdict"),
        plain("where", "/place"),
        plain("check", "/check"),
        plain("found", "/found"),
    ];
}

/// Check the platform and every cluster, and say how to fix what is wrong.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tenantctl doctor
  tenantctl doctor --cluster main --all
  tenantctl doctor -o ndjson | jq -r 'select(.verdict != \"ok\") | .mend'

If a check is bad, the exit code is 1. Warnings alone do not change the exit code.")]
pub(crate) struct Doctor {
    /// Check only this cluster.
    #[arg(long)]
    cluster: Option<ClusterName>,
    /// Also show the checks that passed.
    #[arg(long)]
    all: bool,
}

impl Doctor {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let query: Query = self
            .cluster
            .map(|cluster| ("cluster", cluster.to_string()))
            .into_iter()
            .collect();
        let answer = context.api()?.get("/v1/doctor", &query).await?;
        let found = answer.as_array().cloned().unwrap_or_default();
        let count = |verdict: &str| found.iter().filter(|one| one["verdict"] == verdict).count();
        let (good, warned, bad) = (count("ok"), count("warn"), count("bad"));
        let shown: Vec<Value> = found
            .into_iter()
            .filter(|one| {
                self.all || context.out.format() != Format::Table || one["verdict"] != "ok"
            })
            .collect();
        if !shown.is_empty() {
            context.out.list(COLUMNS, &shown)?;
        }
        if context.out.format() == Format::Table {
            for one in shown.iter().filter(|one| one["verdict"] != "ok") {
                context.out.raw(&advice(one))?;
            }
        }
        context
            .out
            .note(&format!("{good} ok, {warned} warn, {bad} bad"));
        if bad == 0 {
            return Ok(());
        }
        Err(Failure::Found {
            what: format!("bad checks: {bad} of {}", good + warned + bad),
            next: vec!["fix them as described above, then run `tenantctl doctor` again".to_owned()],
        })
    }
}

/// Why something matters and what mends it.
fn advice(one: &Value) -> String {
    let mut words = format!(
        "\n{} at {}: {}\n",
        text(one, "/check"),
        on_one_line(text(one, "/place")),
        on_one_line(text(one, "/why"))
    );
    if !text(one, "/mend").is_empty() {
        words.push_str(&format!("  fix: {}\n", on_one_line(text(one, "/mend"))));
    }
    words
}
