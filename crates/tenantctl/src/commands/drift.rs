//! Drift: how tenants' schemas differ from what the migrations make.
//!
//! Deliberately mends nothing that it is not asked for. Invariant: the exit code is 1 when
//! something still differs, or was not compared.

use clap::Args;
use contract::operator::rollout::{DriftRepair, DriftRequest};
use serde_json::Value;

use super::selection::SelectionFlags;
use crate::confirm;
use crate::context::Context;
use crate::failure::Failure;
use crate::follow;
use crate::output::{Format, columns, plain, state};

columns! {
    const FIELDS: "DriftReport" = [
        plain("compared", "/compared"),
        plain("differing", "/differing"),
        plain("not looked at", "/unreachable"),
        plain("not listed", "/unlisted"),
    ];

    const NOT_COMPARED: "NotCompared" = [
        plain("tenant", "/tenant"),
        plain("why", "/reason"),
    ];

    const FINDINGS: "DriftFinding" = [
        plain("tenant", "/tenant"),
        plain("object", "/object"),
        state("difference", "/difference"),
        state("repair", "/repair"),
        plain("expected", "/expected"),
        plain("found", "/found"),
        plain("why", "/reason"),
        plain("mend", "/mend"),
    ];
}

/// Compare tenants' schemas with what the migrations of their versions make, and mend what differs.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tenantctl drift
  tenantctl drift --tenant t_acme --repair-grants
  tenantctl drift --tenant t_acme --repair-objects
  tenantctl drift --tier premium -o json

A tenant that is behind is compared with what the migrations up to its own versions make, and stays
behind. Who cannot be compared is named with the reason: `ahead` of every living service, `unowned` by
all of them, `not_made` by them in exactly these versions, `too_many_versions` on its cluster (the 16
combinations with the most tenants are compared), or `changed` meanwhile. Exit code 1 says that something
differs, or that somebody could not be looked at or compared; the statement that mends a difference
stands beside it, where there is one.")]
pub(crate) struct Drift {
    /// Mend rights on schemas, tables, columns, sequences and functions.
    #[arg(long)]
    repair_grants: bool,
    /// Mend rights and objects: make what is missing, replace or take away what holds no data, such as
    /// indexes, constraints, triggers, views and routines. Tables and columns that are extra or different
    /// stay as they are.
    #[arg(long, conflicts_with = "repair_grants")]
    repair_objects: bool,
    #[command(flatten)]
    selection: SelectionFlags,
}

impl Drift {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let repair = match (self.repair_grants, self.repair_objects) {
            (_, true) => DriftRepair::Objects,
            (true, false) => DriftRepair::Grants,
            (false, false) => DriftRepair::None,
        };
        if repair == DriftRepair::Objects {
            let consequence = "may take indexes, constraints, views and routines away that no migration \
                               made, in every tenant that is meant";
            let look = "without --repair-objects it shows what differs";
            confirm::unless_looked(context, "repair", consequence, look)?;
        }
        let body = DriftRequest {
            filter: self.selection.into(),
            repair,
        };
        let view = follow::begun(context, "/v1/drift", &body).await?;
        if !follow::is_over(&view) {
            return follow::shown(context, &view);
        }
        let report = &view["result"];
        let findings = list(report, "findings");
        match context.out.format() {
            Format::Ndjson => context.out.list(&[], findings)?,
            Format::Table | Format::Json => context.out.item(FIELDS, report)?,
        }
        context.out.part("what differs", FINDINGS, findings)?;
        let not_compared = list(report, "not_compared");
        context
            .out
            .part("not compared", NOT_COMPARED, not_compared)?;
        let left = findings
            .iter()
            .filter(|one| one["repair"] != "mended")
            .count();
        judge(left, report)
    }
}

fn list<'a>(report: &'a Value, part: &str) -> &'a [Value] {
    report[part].as_array().map_or(&[], Vec::as_slice)
}

fn judge(left: usize, report: &Value) -> Result<(), Failure> {
    let away = list(report, "unreachable").len() + list(report, "not_compared").len();
    if left == 0 && away == 0 {
        return Ok(());
    }
    Err(Failure::Found {
        what: format!("{left} things differ, and {away} tenants could not be compared"),
        next: vec![
            "--repair-grants mends rights, --repair-objects objects too; for the rest see the statements"
                .to_owned(),
        ],
    })
}
