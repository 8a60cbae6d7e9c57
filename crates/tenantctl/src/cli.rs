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

/// Run a fleet of tenants: their life, their data, the servers that hold them.
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
Begin with:
  tenantctl login --url http://127.0.0.1:8080
  tenantctl tenants list

The key comes from TENANTCTL_KEY, or from the profile that `login` keeps; it is never an argument.
Data goes to stdout, everything else to stderr.

Exit codes:
  0 done   1 failed   2 wrong use   3 not found   4 not allowed   5 conflict   6 not ready in time
  130 interrupted";

/// Flags that every command has.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Flags of every command")]
pub(crate) struct Globals {
    /// The profile to use instead of the current one.
    #[arg(
        long,
        global = true,
        env = "TENANTCTL_PROFILE",
        value_name = "NAME",
        hide_env = true
    )]
    pub(crate) profile: Option<String>,

    /// The address of platform-service, instead of the profile's.
    #[arg(long, global = true, env = "TENANTCTL_URL", hide_env = true, value_parser = url)]
    pub(crate) url: Option<String>,

    /// The form of the result.
    #[arg(
        short,
        long,
        global = true,
        value_name = "FORM",
        default_value = "table",
        hide_default_value = true
    )]
    pub(crate) output: Format,

    /// Wait for the end of what is begun (the default), or until every replica has heard of it.
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

    /// Begin it and do not wait.
    #[arg(long, global = true)]
    no_wait: bool,

    /// How long to wait; what was begun goes on after it.
    #[arg(
        long,
        global = true,
        value_name = "DURATION",
        default_value = "1h",
        value_parser = values::duration
    )]
    pub(crate) timeout: Duration,

    /// Do not ask before something is destroyed.
    #[arg(short, long, global = true)]
    pub(crate) yes: bool,

    /// No colours; so does the variable NO_COLOR.
    #[arg(long, global = true)]
    no_color: bool,
}

/// What `--wait` waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Wait {
    /// The end of the operation.
    Done,
    /// Its end, and that every replica has heard of it.
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
        Err("is an address such as https://platform.example.com".to_owned())
    }
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Tenants: list, make, change, hold back, delete.
    #[command(subcommand, alias = "tenant")]
    Tenants(tenants::Command),
    /// The PostgreSQL servers that hold tenants' databases.
    #[command(subcommand, alias = "cluster")]
    Clusters(clusters::Command),
    /// What is being done, and what was done.
    #[command(subcommand, alias = "operation")]
    Operations(operations::Command),
    /// Backups of tenants, and their schedule.
    #[command(subcommand, alias = "backup")]
    Backups(backups::Command),
    /// Roll-outs: the newest schema for many tenants, wave by wave.
    #[command(subcommand, alias = "rollout")]
    Rollouts(rollouts::Command),
    Query(Box<query::QueryTenants>),
    Psql(psql::Psql),
    Drift(Box<drift::Drift>),
    Doctor(doctor::Doctor),
    /// Databases, roles, secrets and objects that nobody claims.
    #[command(subcommand, alias = "finding")]
    Findings(findings::Command),
    /// Tiers: limits and features.
    #[command(subcommand, alias = "tier")]
    Tiers(tiers::Command),
    /// Operator keys.
    #[command(subcommand, alias = "key")]
    Keys(keys::Command),
    /// Who did what.
    #[command(subcommand)]
    Audit(audit::Command),
    /// The running processes of services.
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
