//! Roll-outs of migrations: start, try, list, show, watch, pause, resume, abort, retry.
//!
//! Deliberately only the words of the commands and what is shown of a roll-out: what each does has a file of
//! its own. Invariant: one roll-out is shown the same wherever it is shown.

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
        time("began", "/created_at"),
        time("over", "/finished_at"),
    ];

    const FIELDS: "RolloutView" = [
        plain("roll-out", "/id"),
        plain("title", "/title"),
        state("state", "/state"),
        plain("halted because", "/halted_reason"),
        plain("brings", "/target"),
        plain("tenants", "/filter"),
        plain("waves", "/waves"),
        plain("wave", "/current_wave"),
        plain("at once per cluster", "/concurrency"),
        plain("halts past", "/halt_share"),
        plain("pending", "/tally/pending"),
        plain("running", "/tally/running"),
        plain("done", "/tally/done"),
        plain("skipped", "/tally/skipped"),
        plain("failed", "/tally/failed"),
        plain("operation", "/operation"),
        plain("by", "/created_by"),
        time("began", "/created_at"),
        time("over", "/finished_at"),
    ];
}

/// What can be done with roll-outs.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Bring the newest schema to tenants, wave by wave.
    #[command(after_help = "Examples:
  tenantctl rollouts start --title 'Release 42' --canary t_canary --wave tier=standard --wave percent=25
  tenantctl rollouts start --canary t_canary --wave percent=25 --dry-run
  tenantctl rollouts start --cluster main --at-once 8 --halt-share 0.02 --no-wait

Tenants that have the newest schema are skipped. Who is in no wave comes in a last one. When a canary
fails, or more than the halt share of those that were tried, it halts by itself. One or two failures
before 50 were tried are counted as of 50, or of all where there are fewer.")]
    Start(Box<start::Start>),
    /// Try the newest schema on a copy of a tenant's database, and throw the copy away.
    #[command(after_help = "Example:
  tenantctl rollouts try t_acme

The tenant is only read, and served meanwhile.")]
    Try(trial::Trial),
    /// List roll-outs, the newest first.
    #[command(after_help = "Examples:
  tenantctl rollouts list
  tenantctl rollouts list --state halted")]
    List(List),
    /// Show a roll-out and its tenants that failed.
    #[command(after_help = "Examples:
  tenantctl rollouts show op_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f
  tenantctl rollouts show op_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f --tenants pending -o ndjson
  tenantctl rollouts show op_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f --wave 1 --tenants failed")]
    Show(show::Show),
    /// Follow a roll-out until it is over, or stands still.
    #[command(after_help = "Example:
  tenantctl rollouts watch op_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f")]
    Watch(Named),
    /// Begin no further tenant, for now.
    #[command(after_help = "Example:
  tenantctl rollouts pause op_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f")]
    Pause(Named),
    /// Let a paused or halted roll-out go on.
    #[command(after_help = "Example:
  tenantctl rollouts resume op_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f")]
    Resume(Named),
    /// End a roll-out; tenants that are migrated stay so.
    #[command(after_help = "Example:
  tenantctl rollouts abort op_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f")]
    Abort(Named),
    /// Try the tenants that failed again.
    #[command(after_help = "Example:
  tenantctl rollouts retry op_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f")]
    Retry(Named),
}

/// One roll-out.
#[derive(Debug, Args)]
pub(crate) struct Named {
    /// Its id: op_ and 32 digits.
    #[arg(value_name = "ROLLOUT")]
    id: OperationId,
}

/// Which roll-outs.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// In this state.
    #[arg(long, value_parser = values::one_of::<RolloutState>(RolloutState::ALL.iter().map(|state| state.as_str())))]
    state: Option<RolloutState>,
    /// How many at most; 0 for all.
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
