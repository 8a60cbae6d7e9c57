//! The command line: flags that every command has, and the commands.
//!
//! Deliberately the grammar alone. Invariant: every command says in its help what it does, with an
//! example that works.

use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::commands::{
    audit, backups, clusters, completion, doctor, drift, findings, keys, login, operations, psql,
    query, replicas, rollouts, tenants, tiers,
};
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{Format, Paint, Reporter};
use crate::values;

/// Operate a fleet of tenants: their life cycle, their data, and the servers that hold it.
#[derive(Debug, Parser)]
#[command(
    name = "tenantctl",
    version,
    arg_required_else_help = true,
    propagate_version = false,
    disable_help_subcommand = true,
    max_term_width = 100,
    after_help = AFTER_HELP
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) globals: Globals,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const AFTER_HELP: &str = "\
Getting started:
  tenantctl login --url http://127.0.0.1:8080
  tenantctl tenants list

The operator key comes from TENANTCTL_KEY or from the profile that `login` saved. It is never passed as an
argument. Results go to stdout, everything else to stderr.

Exit codes:
  0 success   1 failure   2 usage error   3 not found   4 not allowed   5 conflict   6 timeout or not ready
  130 interrupted";

/// Flags that every command has.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Globals {
    /// Use this profile instead of the current one.
    #[arg(
        long,
        global = true,
        env = "TENANTCTL_PROFILE",
        value_name = "NAME",
        hide_env = true
    )]
    pub(crate) profile: Option<String>,

    /// Use platform-service at this address instead of the profile's.
    #[arg(long, global = true, env = "TENANTCTL_URL", hide_env = true, value_parser = url)]
    pub(crate) url: Option<String>,

    /// Output format.
    #[arg(
        short,
        long,
        global = true,
        value_name = "FORMAT",
        default_value = "table",
        hide_default_value = true
    )]
    pub(crate) output: Format,

    /// Wait until the operation is done (the default), or until every replica has applied the change.
    #[arg(
        long,
        global = true,
        value_name = "WHAT",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "done",
        conflicts_with = "no_wait"
    )]
    wait: Option<Wait>,

    /// Start the operation and return at once.
    #[arg(long, global = true)]
    no_wait: bool,

    /// How long to wait. The operation continues after a timeout.
    #[arg(
        long,
        global = true,
        value_name = "DURATION",
        default_value = "1h",
        value_parser = values::duration
    )]
    pub(crate) timeout: Duration,

    /// Do not ask for confirmation.
    #[arg(short, long, global = true)]
    pub(crate) yes: bool,

    /// Disable colours. Setting NO_COLOR does the same.
    #[arg(long, global = true)]
    no_color: bool,
}

/// What `--wait` waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Wait {
    /// The operation is done.
    Done,
    /// The operation is done, and every replica has applied the change.
    Replicas,
}

/// How far a command follows what it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// It is recorded.
    Begun,
    /// It is over.
    Done,
    /// It is over, and every replica has heard of it.
    Replicas,
}

impl Globals {
    /// How far to follow what is begun.
    pub(crate) fn until(&self) -> Until {
        match (self.no_wait, self.wait) {
            (true, _) => Until::Begun,
            (false, Some(Wait::Replicas)) => Until::Replicas,
            (false, Some(Wait::Done) | None) => Until::Done,
        }
    }

    /// Where results and messages go.
    pub(crate) fn reporter(&self) -> Reporter {
        let unwanted =
            self.no_color || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let paint = if unwanted {
            Paint::Plain
        } else {
            Paint::Coloured
        };
        Reporter::new(self.output, paint)
    }
}

/// An address that can be used as it is.
pub(crate) fn url(text: &str) -> Result<String, String> {
    let is_http = text.starts_with("http://") || text.starts_with("https://");
    let has_host = text.split("//").nth(1).is_some_and(|rest| !rest.is_empty());
    if is_http && has_host && !text.contains(['@', '?', '#', ' ']) {
        Ok(text.trim_end_matches('/').to_owned())
    } else {
        Err("expected an address such as https://platform.example.com".to_owned())
    }
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Manage tenants: list, create, update, suspend, delete and more.
    #[command(subcommand, alias = "tenant")]
    Tenants(tenants::Command),
    /// Manage clusters: the PostgreSQL servers that hold tenant databases.
    #[command(subcommand, alias = "cluster")]
    Clusters(clusters::Command),
    /// Show, watch, retry and cancel operations.
    #[command(subcommand, alias = "operation")]
    Operations(operations::Command),
    /// Manage backups of tenants and their schedules.
    #[command(subcommand, alias = "backup")]
    Backups(backups::Command),
    /// Migrate many tenants to the newest schema, wave by wave.
    #[command(subcommand, alias = "rollout")]
    Rollouts(rollouts::Command),
    Query(Box<query::QueryTenants>),
    Psql(psql::Psql),
    Drift(Box<drift::Drift>),
    Doctor(doctor::Doctor),
    /// Find and remove orphaned databases, roles, secrets and objects.
    #[command(subcommand, alias = "finding")]
    Findings(findings::Command),
    /// Manage tiers: their limits and features.
    #[command(subcommand, alias = "tier")]
    Tiers(tiers::Command),
    /// Manage operator keys and the keys of the platform.
    #[command(subcommand, alias = "key")]
    Keys(keys::Command),
    /// Show the audit log.
    #[command(subcommand)]
    Audit(audit::Command),
    /// Show the running replicas of the services.
    #[command(subcommand, alias = "replica")]
    Replicas(replicas::Command),
    Login(login::Login),
    Logout(login::Logout),
    Use(login::Use),
    Profiles(login::List),
    Completion(completion::Completion),
    #[command(hide = true)]
    CompleteTenants(completion::CompleteTenants),
}

impl Command {
    /// Whether it changes what replicas know of tenants, and can wait until they have heard of it.
    pub(crate) fn is_heard_of(&self) -> bool {
        match self {
            Self::Tenants(command) => command.is_heard_of(),
            Self::Clusters(command) => matches!(command, clusters::Command::Drain(_)),
            Self::Backups(command) => matches!(
                command,
                backups::Command::Verify(_) | backups::Command::Restore(_)
            ),
            Self::Rollouts(command) => matches!(command, rollouts::Command::Try(_)),
            Self::Keys(command) => matches!(
                command,
                keys::Command::Reseal | keys::Command::RotateCredentials(_)
            ),
            Self::Tiers(command) => matches!(command, tiers::Command::Update(_)),
            Self::Drift(_) => true,
            _ => false,
        }
    }

    /// Whether Ctrl-C is for it, and does not end it.
    pub(crate) fn heeds_interrupts(&self) -> bool {
        matches!(self, Self::Psql(_))
    }

    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Tenants(command) => command.run(context).await,
            Self::Clusters(command) => command.run(context).await,
            Self::Operations(command) => command.run(context).await,
            Self::Backups(command) => command.run(context).await,
            Self::Rollouts(command) => command.run(context).await,
            Self::Query(command) => command.run(context).await,
            Self::Psql(command) => command.run(context).await,
            Self::Drift(command) => command.run(context).await,
            Self::Doctor(command) => command.run(context).await,
            Self::Findings(command) => command.run(context).await,
            Self::Tiers(command) => command.run(context).await,
            Self::Keys(command) => command.run(context).await,
            Self::Audit(command) => command.run(context).await,
            Self::Replicas(command) => command.run(context).await,
            Self::Login(command) => command.run(context).await,
            Self::Logout(command) => command.run(context),
            Self::Use(command) => command.run(context).await,
            Self::Profiles(command) => command.run(context),
            Self::Completion(command) => command.run(context),
            Self::CompleteTenants(command) => command.run(context).await,
        }
    }
}

#[cfg(test)]
mod tests;
