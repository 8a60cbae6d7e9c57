//! What nobody claims: databases, roles, secrets, objects, slots.
//!
//! Deliberately leaves what is old enough to sweeps; one find by its name is for what only people may judge.
//! Invariant: what removes is confirmed.

use clap::{Args, Subcommand};
use contract::operator::upkeep::{FindingKind, KeepFinding, NewSweep};
use reqwest::Method;
use serde_json::json;

use crate::api::{Query, encoded};
use crate::confirm;
use crate::context::Context;
use crate::failure::{Failure, text};
use crate::output::{bytes, columns, plain, time};
use crate::values;

columns! {
    const COLUMNS: "FindingView" = [
        plain("id", "/id"),
        plain("detail", "/detail"),
        plain("kept", "/kept"),
        time("first seen", "/first_seen_at"),
        time("last seen", "/last_seen_at"),
        time("removed after", "/removed_after"),
    ];

    const REPORT: "SweepReport" = [
        plain("found", "/found"),
        plain("removed", "/removed"),
        plain("failed", "/failed"),
    ];

    const REMOVED: "RemovedFinding" = [
        plain("id", "/id"),
        plain("detail", "/detail"),
        plain("marker", "/marker"),
        bytes("size", "/size_bytes"),
    ];
}

/// What can be done with finds.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List orphaned things and when they will be removed.
    #[command(after_help = "Example:
  tenantctl findings list --kind database --place main")]
    List(List),
    /// Search for orphans now, and remove those older than the grace period.
    #[command(after_help = "Examples:
  tenantctl findings sweep --dry-run
  tenantctl findings sweep")]
    Sweep(Sweep),
    /// Permanently remove one finding, even one that sweeps leave because it may hold somebody's only data.
    #[command(after_help = "Examples:
  tenantctl findings remove database/main/t_lost --dry-run
  tenantctl findings remove database/main/t_lost

It is checked again first. The command is refused if anything uses it by now, if it is marked with
`findings keep`, or if somebody is connected to it. Asks for its name; --yes skips that.")]
    Remove(Remove),
    /// Mark a finding so that sweeps never remove it.
    #[command(after_help = "Example:
  tenantctl findings keep database/main/old:t_acme:3")]
    Keep(Named),
    /// Remove the mark, so that sweeps may remove the finding.
    #[command(after_help = "Example:
  tenantctl findings release database/main/old:t_acme:3")]
    Release(Named),
}

/// Which finds.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only findings of this kind.
    #[arg(long, value_parser = values::one_of::<FindingKind>(FindingKind::ALL.map(FindingKind::as_str)))]
    kind: Option<FindingKind>,
    /// Only findings at this place: the name of a cluster, secrets or objects.
    #[arg(long)]
    place: Option<String>,
}

/// A sweep.
#[derive(Debug, Args)]
pub(crate) struct Sweep {
    /// Show what would be removed, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

/// A find to be removed.
#[derive(Debug, Args)]
pub(crate) struct Remove {
    #[command(flatten)]
    find: Named,
    /// Show what would be removed, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

/// One find.
#[derive(Debug, Args)]
pub(crate) struct Named {
    /// The finding id: kind/place/name.
    #[arg(value_name = "FINDING")]
    id: String,
}

impl Command {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::List(list) => {
                let mut query = Query::new();
                query.extend(list.kind.map(|kind| ("kind", kind.as_str().to_owned())));
                query.extend(list.place.map(|place| ("place", place)));
                let items = context
                    .api()?
                    .items("/v1/findings", &query, 0, "/id")
                    .await?;
                context.out.list(COLUMNS, &items)
            }
            Self::Sweep(sweep) => sweep.run(context).await,
            Self::Remove(remove) => remove.run(context).await,
            Self::Keep(named) => named.keep(context, true).await,
            Self::Release(named) => named.keep(context, false).await,
        }
    }
}

impl Sweep {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        if !self.dry_run {
            let consequence = "permanently removes the databases, roles, slots, secrets and objects that have \
                               been orphaned for longer than the grace period";
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

impl Remove {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let api = context.api()?;
        let path = self.find.path();
        // What is refused is refused before the name is asked for.
        let dry = format!("{path}?dry_run=true");
        let seen = api.unhurried(Method::DELETE, &dry, None).await?;
        if self.dry_run {
            context.out.item(REMOVED, &seen)?;
            context.out.note("Nothing was changed.");
            return Ok(());
        }
        let (name, place) = (text(&seen, "/name"), text(&seen, "/place"));
        let consequence = format!(
            "permanently destroys the {} {name} at {place}: {}",
            text(&seen, "/kind"),
            text(&seen, "/detail")
        );
        confirm::destroy(context, name, &consequence)?;
        let path = format!("{path}?confirm={}", encoded(name));
        let removed = api.unhurried(Method::DELETE, &path, None).await?;
        context.out.item(REMOVED, &removed)
    }
}

impl Named {
    fn path(&self) -> String {
        format!("/v1/findings/{}", encoded(&self.id))
    }

    async fn keep(self, context: &Context, kept: bool) -> Result<(), Failure> {
        let path = self.path();
        let body = KeepFinding { id: self.id, kept };
        let find = context
            .api()?
            .once(Method::POST, "/v1/findings/keep", &body)
            .await
            .map_err(|failure| failure.about(&path))?;
        context.out.item(COLUMNS, &find)
    }
}
