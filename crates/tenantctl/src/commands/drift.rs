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
use crate::output::{Format, columns, counted, plain, state};

columns! {
    const FIELDS: "DriftReport" = [
        plain("compared", "/compared"),
        plain("differing", "/differing"),
        plain("unreachable", "/unreachable"),
        plain("not listed", "/unlisted"),
    ];

    const NOT_COMPARED: "NotCompared" = [
        plain("tenant", "/tenant"),
        plain("reason", "/reason"),
    ];

    const FINDINGS: "DriftFinding" = [
        plain("tenant", "/tenant"),
        plain("object", "/object"),
        state("difference", "/difference"),
        state("repair", "/repair"),
        plain("expected", "/expected"),
        plain("found", "/found"),
        plain("reason", "/reason"),
        plain("fix", "/mend"),
    ];
}

/// Find differences between tenants' schemas and their migrations, and repair them.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tenantctl drift
  tenantctl drift --tenant t_acme --repair-grants
  tenantctl drift --tenant t_acme --repair-objects
  tenantctl drift --tier premium -o json

Each tenant is compared with what the migrations up to its own versions create; a tenant that is behind
stays behind. Tenants that cannot be compared are listed with a reason: `ahead` (newer than every running
service), `unowned` (no running service owns a schema of it), `not_made` (the running services could not
create exactly its versions), `too_many_versions` (on each cluster, the 16 combinations with the most
tenants are compared), or `changed` (migrated meanwhile). If anything differs, or a tenant could not be
compared, the exit code is 1. Each difference is shown with the SQL statement that repairs it, if there is
one.")]
pub(crate) struct Drift {
    /// Repair privileges on schemas, tables, columns, sequences and functions.
    #[arg(long)]
    repair_grants: bool,
    /// Repair privileges and objects: create missing objects, and replace or drop objects without data, such
    /// as indexes, constraints, triggers, views and routines. Extra or different tables and columns stay as
    /// they are.
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
            let consequence = "may drop indexes, constraints, views and routines that no migration created, \
                               in every selected tenant";
            let look = "see what differs by leaving out --repair-objects";
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
        context.out.part("differences", FINDINGS, findings)?;
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
        what: format!(
            "{}, and {} not compared",
            counted(left, "difference"),
            counted(away, "tenant")
        ),
        next: vec![
            "--repair-grants repairs privileges, --repair-objects also objects; for the rest, run the statements shown"
                .to_owned(),
        ],
    })
}
