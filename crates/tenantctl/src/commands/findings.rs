//! What nobody claims: databases, roles, secrets, objects, slots.
//!
//! Deliberately removes nothing by name: a sweep removes what is old enough. Invariant: a sweep that
//! removes is confirmed.

use clap::{Args, Subcommand};
use contract::operator::upkeep::{FindingKind, KeepFinding, NewSweep};
use reqwest::Method;
use serde_json::json;

use crate::api::Query;
use crate::confirm;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{Column, plain, time};

const COLUMNS: &[Column<'_>] = &[
    plain("id", "/id"),
    plain("detail", "/detail"),
    plain("kept", "/kept"),
    time("first seen", "/first_seen_at"),
    time("last seen", "/last_seen_at"),
    time("removed after", "/removed_after"),
];

const REPORT: &[Column<'_>] = &[
    plain("found", "/found"),
    plain("removed", "/removed"),
    plain("failed", "/failed"),
];

/// What can be done with finds.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List what nobody claims, and when it is removed.
    #[command(after_help = "Example:
  tenantctl findings list --kind database")]
    List(List),
    /// Look now, and remove what is older than the grace time.
    #[command(after_help = "Examples:
  tenantctl findings sweep --dry-run
  tenantctl findings sweep")]
    Sweep(Sweep),
    /// Never remove this.
    #[command(after_help = "Example:
  tenantctl findings keep database/main/old:t_acme:3")]
    Keep(Named),
    /// Let sweeps remove it again.
    #[command(after_help = "Example:
  tenantctl findings release database/main/old:t_acme:3")]
    Release(Named),
}

/// Which finds.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Of this kind: database, role, secret, object or slot.
    #[arg(long)]
    kind: Option<FindingKind>,
}

/// A sweep.
#[derive(Debug, Args)]
pub(crate) struct Sweep {
    /// Show what would be removed.
    #[arg(long)]
    dry_run: bool,
}

/// One find.
#[derive(Debug, Args)]
pub(crate) struct Named {
    /// Its id: kind, place and name, with slashes between them.
    #[arg(value_name = "FINDING")]
    id: String,
}

impl Command {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::List(list) => {
                let query: Query = list
                    .kind
                    .map(|kind| ("kind", kind.as_str().to_owned()))
                    .into_iter()
                    .collect();
                let items = context
                    .api()?
                    .items("/v1/findings", &query, 0, "/id")
                    .await?;
                context.out.list(COLUMNS, &items)
            }
            Self::Sweep(sweep) => sweep.run(context).await,
            Self::Keep(named) => named.keep(context, true).await,
            Self::Release(named) => named.keep(context, false).await,
        }
    }
}

impl Sweep {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        if !self.dry_run {
            let consequence = "drops the databases, roles and slots and removes the secrets and \
                               objects that nobody has claimed for the grace time";
            confirm::destroy(context, "sweep", consequence)?;
        }
        let body = NewSweep {
            dry_run: self.dry_run,
        };
        let report = context
            .api()?
            .unhurried(Method::POST, "/v1/findings/sweep", Some(&json!(body)))
            .await?;
        context.out.item(REPORT, &report)
    }
}

impl Named {
    async fn keep(self, context: &Context, kept: bool) -> Result<(), Failure> {
        let body = KeepFinding { id: self.id, kept };
        let find = context
            .api()?
            .once(Method::POST, "/v1/findings/keep", &body)
            .await?;
        context.out.item(COLUMNS, &find)
    }
}
