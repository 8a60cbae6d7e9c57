//! Rollouts of migrations: start, try, list, show, watch, pause, resume, abort, retry.
//!
//! Deliberately only the words of the commands and what is shown of a rollout: what each does has a file of
//! its own. Invariant: one rollout is shown the same wherever it is shown.

mod show;
mod start;
mod trial;
mod watch;

use clap::{Args, Subcommand};
use contract::OperationId;
use contract::operator::rollout::RolloutState;
use serde_json::Value;

use crate::api::Query;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::{columns, plain, state, time};
use crate::values;

columns! {
    const COLUMNS: "RolloutView" = [
        plain("id", "/id"),
        plain("title", "/title"),
        state("state", "/state"),
        plain("done", "/tally/done"),
        plain("skipped", "/tally/skipped"),
        plain("failed", "/tally/failed"),
        plain("pending", "/tally/pending"),
        time("started", "/created_at"),
        time("finished", "/finished_at"),
    ];

    const FIELDS: "RolloutView" = [
        plain("rollout", "/id"),
        plain("title", "/title"),
        state("state", "/state"),
        plain("halted because", "/halted_reason"),
        plain("target versions", "/target"),
        plain("tenants", "/filter"),
        plain("waves", "/waves"),
        plain("wave", "/current_wave"),
        plain("at once per cluster", "/concurrency"),
        plain("halt share", "/halt_share"),
        plain("pending", "/tally/pending"),
        plain("running", "/tally/running"),
        plain("done", "/tally/done"),
        plain("skipped", "/tally/skipped"),
        plain("failed", "/tally/failed"),
        plain("operation", "/operation"),
        plain("started by", "/created_by"),
        time("started", "/created_at"),
        time("finished", "/finished_at"),
    ];
}

/// What can be done with rollouts.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a rollout: migrate tenants to the newest schema, wave by wave.
    #[command(after_help = "Examples:
  tenantctl rollouts start --title 'Release 42' --canary t_canary --wave tier=standard --wave percent=25
  tenantctl rollouts start --canary t_canary --wave percent=25 --dry-run
  tenantctl rollouts start --cluster main --at-once 8 --halt-share 0.02 --no-wait

Tenants that already have the newest schema are skipped. Tenants that no wave selects form the last wave.
The rollout halts when a canary fails, or when the share of failed tenants exceeds --halt-share. The share
is of the tenants tried so far. Until 50 were tried, one or two failures count as a share of 50 tenants, or
of all tenants if there are fewer.")]
    Start(Box<start::Start>),
    /// Test the newest schema on a temporary copy of a tenant's database.
    #[command(after_help = "Example:
  tenantctl rollouts try t_acme

The tenant stays in service, and its database is only read.")]
    Try(trial::Trial),
    /// List rollouts, newest first.
    #[command(after_help = "Examples:
  tenantctl rollouts list
  tenantctl rollouts list --state halted")]
    List(List),
    /// Show a rollout and its failed tenants.
    #[command(after_help = "Examples:
  tenantctl rollouts show op_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f
  tenantctl rollouts show op_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f --tenants pending -o ndjson
  tenantctl rollouts show op_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f --wave 1 --tenants failed")]
    Show(show::Show),
    /// Follow a rollout until it ends, halts or is paused.
    #[command(after_help = "Example:
  tenantctl rollouts watch op_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f")]
    Watch(Named),
    /// Pause a rollout: migrate no further tenants for now.
    #[command(after_help = "Example:
  tenantctl rollouts pause op_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f")]
    Pause(Named),
    /// Resume a paused or halted rollout.
    #[command(after_help = "Example:
  tenantctl rollouts resume op_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f")]
    Resume(Named),
    /// Abort a rollout. Tenants that are already migrated stay migrated.
    #[command(after_help = "Example:
  tenantctl rollouts abort op_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f")]
    Abort(Named),
    /// Retry the failed tenants of a rollout.
    #[command(after_help = "Example:
  tenantctl rollouts retry op_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f")]
    Retry(Named),
}

/// One rollout.
#[derive(Debug, Args)]
pub(crate) struct Named {
    /// The rollout id: op_ followed by 32 hexadecimal digits.
    #[arg(value_name = "ROLLOUT")]
    id: OperationId,
}

/// Which rollouts.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Only rollouts in this state.
    #[arg(long, value_parser = values::one_of::<RolloutState>(RolloutState::ALL.iter().map(|state| state.as_str())))]
    state: Option<RolloutState>,
    /// Show at most this many; 0 shows all.
    #[arg(long, default_value_t = 20)]
    limit: usize,
}

impl Command {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Start(start) => start.run(context).await,
            Self::Try(trial) => trial.run(context).await,
            Self::List(list) => {
                let state = list.state.map(|state| ("state", state.as_str().to_owned()));
                let query = Query::from_iter(state);
                context
                    .list(COLUMNS, "/v1/rollouts", &query, list.limit)
                    .await
            }
            Self::Show(show) => show.run(context).await,
            Self::Watch(named) => named.watch(context).await,
            Self::Pause(named) => named.steer(context, "pause").await,
            Self::Resume(named) => named.steer(context, "resume").await,
            Self::Abort(named) => named.steer(context, "abort").await,
            Self::Retry(named) => named.steer(context, "retry-failed").await,
        }
    }
}

impl Named {
    fn path(&self) -> String {
        format!("/v1/rollouts/{}", self.id)
    }

    async fn view(&self, context: &Context) -> Result<Value, Failure> {
        context.api()?.get(&self.path(), &Query::new()).await
    }
}
