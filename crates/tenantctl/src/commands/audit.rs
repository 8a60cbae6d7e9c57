//! The audit: who did what.
//!
//! Deliberately a list alone: nothing of it is ever changed. Invariant: the newest is shown first.

use clap::{Args, Subcommand};
use contract::TenantId;
use time::OffsetDateTime;

use crate::api::Query;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{columns, plain, time};
use crate::values;

columns! {
    const COLUMNS: "AuditEntry" = [
        plain("id", "/id"),
        time("at", "/at"),
        plain("who", "/actor_name").or("/actor"),
        plain("action", "/action"),
        plain("tenant", "/tenant"),
        plain("detail", "/detail"),
    ];
}

/// What can be done with the audit.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List who did what, newest first.
    #[command(after_help = "Examples:
  tenantctl audit list --tenant t_acme
  tenantctl audit list --actor opr_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f --since 24h
  tenantctl audit list --action psql.issued --since 2026-12-01T00:00:00Z --until 2027-01-01T00:00:00Z --limit 0 -o ndjson

A requested operation has the action KIND.begun, such as delete.begun. For its outcome, run
`tenantctl operations show` with the operation id from the detail.")]
    List(List),
}

/// Which entries.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only actions on this tenant.
    #[arg(long, value_parser = values::tenant)]
    tenant: Option<TenantId>,
    /// Only actions by this actor: platform, signup, or the id of an operator key.
    #[arg(long, value_name = "WHO")]
    actor: Option<String>,
    /// Only this action, such as suspend.begun.
    #[arg(long)]
    action: Option<String>,
    /// Only actions since then: a time, or how long ago.
    #[arg(long, value_name = "TIME", value_parser = values::past)]
    since: Option<OffsetDateTime>,
    /// Only actions before then: a time, or how long ago.
    #[arg(long, value_name = "TIME", value_parser = values::past)]
    until: Option<OffsetDateTime>,
    /// Show at most this many; 0 shows all.
    #[arg(long, default_value_t = 20)]
    limit: usize,
}

impl Command {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::List(list) => list.run(context).await,
        }
    }
}

impl List {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let mut query = Query::new();
        query.extend(self.tenant.map(|tenant| ("tenant", tenant.to_string())));
        query.extend(self.actor.map(|actor| ("actor", actor)));
        query.extend(self.action.map(|action| ("action", action)));
        query.extend(self.since.map(|since| ("since", values::written(since))));
        query.extend(self.until.map(|until| ("until", values::written(until))));
        context.list(COLUMNS, "/v1/audit", &query, self.limit).await
    }
}
