//! Roll-outs of migrations: start, list, show, watch, pause, resume, abort, retry.
//!
//! Deliberately a roll-out goes on without this program: it steers and looks. Invariant: a watch that
//! ends says whether every tenant has the newest schema, in its exit code too.

use clap::{Args, Subcommand};
use contract::operator::rollout::{
    DEFAULT_CONCURRENCY, DEFAULT_HALT_SHARE, RolloutRequest, RolloutState, RolloutTrialRequest,
    TenantProgress, Wave,
};
use contract::{ClusterName, OperationId, TenantId};
use serde_json::{Value, json};
use tokio::time::{Duration, Instant};
use uuid::Uuid;

use super::selection::SelectionFlags;
use crate::api::Query;
use crate::cli::Until;
use crate::context::Context;
use crate::failure::{Failure, Going, text};
use crate::follow::{self, Bar, Sight};
use crate::output::{Column, plain, state, time};
use crate::values;

const COLUMNS: &[Column<'_>] = &[
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

const FIELDS: &[Column<'_>] = &[
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

const TENANTS: &[Column<'_>] = &[
    plain("tenant", "/tenant"),
    plain("wave", "/wave"),
    plain("cluster", "/cluster"),
    state("state", "/state"),
    plain("times", "/attempts"),
    plain("migration", "/failure/migration"),
    plain("sqlstate", "/failure/sqlstate"),
    plain("message", "/failure/message"),
    plain("statement", "/failure/statement"),
];

const PREVIEW: &[Column<'_>] = &[plain("brings", "/target"), plain("skipped", "/skipped")];

const TRIAL: &[Column<'_>] = &[
    plain("before", "/before"),
    plain("after", "/after"),
    plain("milliseconds", "/milliseconds"),
    plain("failed", "/failed/migration"),
    plain("sqlstate", "/failed/sqlstate"),
    plain("message", "/failed/message"),
    plain("statement", "/failed/statement"),
];

const PAUSE: Duration = Duration::from_millis(400);
/// How many failures are shown without being asked for.
const SHOWN: usize = 20;

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
    Start(Box<Start>),
    /// Try the newest schema on a copy of a tenant's database, and throw the copy away.
    #[command(after_help = "Example:
  tenantctl rollouts try t_acme

The tenant is only read, and served meanwhile.")]
    Try(Trial),
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
    Show(Show),
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

/// A roll-out to be started.
#[derive(Debug, Args)]
pub(crate) struct Start {
    /// What people call it.
    #[arg(long, default_value = "", hide_default_value = true)]
    title: String,
    /// A tenant of the first wave; when one fails, the roll-out halts.
    #[arg(long = "canary", value_name = "TENANT", value_parser = crate::values::tenant)]
    canaries: Vec<TenantId>,
    /// A further wave: tier=NAME, cluster=NAME or percent=1..100; in the order in which they come.
    #[arg(long = "wave", value_name = "RULE", value_parser = wave)]
    waves: Vec<Wave>,
    /// Tenants at once per cluster: 1 to 64.
    #[arg(long, default_value_t = DEFAULT_CONCURRENCY)]
    at_once: u16,
    /// Halt past this share of failures: 0 (at the first) to 1.
    #[arg(long, default_value_t = DEFAULT_HALT_SHARE)]
    halt_share: f64,
    /// Show who would be in which wave.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    selection: SelectionFlags,
}

/// A dry run.
#[derive(Debug, Args)]
pub(crate) struct Trial {
    /// Whose database is copied.
    #[arg(value_name = "TENANT", value_parser = crate::values::tenant)]
    tenant: TenantId,
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

/// What to show of a roll-out.
#[derive(Debug, Args)]
pub(crate) struct Show {
    #[command(flatten)]
    named: Named,
    /// List the tenants in this state instead.
    #[arg(
        long,
        value_name = "STATE",
        value_parser = values::one_of::<TenantProgress>(TenantProgress::ALL.iter().map(|state| state.as_str()))
    )]
    tenants: Option<TenantProgress>,
    /// List the tenants of this wave instead, from 0; with --tenants those that fit both.
    #[arg(long, value_name = "NUMBER")]
    wave: Option<u16>,
}

fn wave(text: &str) -> Result<Wave, String> {
    let wrong = || "is tier=NAME, cluster=NAME or percent=1..100".to_owned();
    let (rule, value) = text.split_once('=').ok_or_else(wrong)?;
    match rule {
        "tier" if !value.is_empty() => Ok(Wave::Tier(value.to_owned())),
        "cluster" => value
            .parse::<ClusterName>()
            .map(Wave::Cluster)
            .map_err(|error| error.to_string()),
        "percent" => match value.parse() {
            Ok(percent @ 1..=100) => Ok(Wave::Percent(percent)),
            _ => Err(wrong()),
        },
        _ => Err(wrong()),
    }
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

impl Start {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let canaries =
            Some(Wave::Tenants(self.canaries)).filter(|wave| *wave != Wave::Tenants(Vec::new()));
        let body = RolloutRequest {
            title: self.title,
            filter: self.selection.into(),
            waves: canaries.into_iter().chain(self.waves).collect(),
            concurrency: self.at_once,
            halt_share: self.halt_share,
        };
        if self.dry_run {
            let preview = follow::preview(context, "/v1/rollouts", &body).await?;
            return show_waves(context, &preview);
        }
        let query: Query = vec![("wait", "none".to_owned())];
        let api = context.api()?;
        let (_, begun) = api
            .post("/v1/rollouts", &query, &body, Uuid::now_v7())
            .await?;
        let id = text(&begun, "/id").parse().map_err(|_| Failure::Strange {
            server: api.server().to_owned(),
            status: 200,
        })?;
        Named { id }.follow(context).await
    }
}

/// Shows who would be in which wave.
fn show_waves(context: &Context, preview: &Value) -> Result<(), Failure> {
    context.out.item(PREVIEW, preview)?;
    let none = Vec::new();
    let waves = preview["waves"].as_array().unwrap_or(&none);
    for wave in waves {
        let rule = match &wave["rule"] {
            Value::Null => "all others".to_owned(),
            rule => rule.to_string(),
        };
        let tenants = wave["tenants"].as_array().unwrap_or(&none);
        let title = format!("wave {}, {rule}: {} tenants", wave["wave"], tenants.len());
        let rows: Vec<Value> = tenants.iter().map(|id| json!({ "tenant": id })).collect();
        context.out.part(&title, &TENANTS[..1], &rows)?;
    }
    context.out.note("Nothing was changed.");
    Ok(())
}

impl Trial {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let body = RolloutTrialRequest {
            tenant: self.tenant,
        };
        let view = follow::begun(context, "/v1/rollouts/trial", &body).await?;
        if !follow::is_over(&view) {
            return follow::shown(context, &view);
        }
        let came = &view["result"];
        context.out.item(TRIAL, came)?;
        if came["failed"].is_null() {
            return Ok(());
        }
        Err(Failure::Found {
            what: format!("{} would fail", text(came, "/failed/migration")),
            next: vec!["mend the migration, or what the tenant has, and try again".to_owned()],
        })
    }
}

impl Show {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let id = self.named.id;
        if self.tenants.is_some() || self.wave.is_some() {
            let which = (self.tenants, self.wave);
            let tenants = self.named.tenants(context, which, 0).await?;
            return context.out.list(TENANTS, &tenants);
        }
        let view = self.named.view(context).await?;
        context.out.item(FIELDS, &view)?;
        let failed = self
            .named
            .tenants(context, (Some(TenantProgress::Failed), None), SHOWN)
            .await?;
        context.out.part("tenants that failed", TENANTS, &failed)?;
        if failed.len() == SHOWN {
            context.out.note(&format!(
                "all of them: tenantctl rollouts show {id} --tenants failed"
            ));
        }
        Ok(())
    }
}

impl Named {
    fn path(&self) -> String {
        format!("/v1/rollouts/{}", self.id)
    }

    async fn view(&self, context: &Context) -> Result<Value, Failure> {
        context.api()?.get(&self.path(), &Query::new()).await
    }

    async fn tenants(
        &self,
        context: &Context,
        (state, wave): (Option<TenantProgress>, Option<u16>),
        limit: usize,
    ) -> Result<Vec<Value>, Failure> {
        let mut query = Query::new();
        query.extend(state.map(|state| ("state", state.as_str().to_owned())));
        query.extend(wave.map(|wave| ("wave", wave.to_string())));
        let path = format!("{}/tenants", self.path());
        context.api()?.items(&path, &query, limit, "/tenant").await
    }

    async fn steer(&self, context: &Context, verb: &str) -> Result<(), Failure> {
        let path = format!("{}/{verb}", self.path());
        let api = context.api()?;
        api.post(&path, &Query::new(), &json!({}), Uuid::now_v7())
            .await?;
        if matches!(verb, "resume" | "retry-failed") {
            return self.follow(context).await;
        }
        context.out.item(FIELDS, &self.view(context).await?)
    }

    /// Waits where the command waits.
    async fn follow(&self, context: &Context) -> Result<(), Failure> {
        if context.until() != Until::Begun {
            return self.watch(context).await;
        }
        context.out.item(FIELDS, &self.view(context).await?)?;
        let id = self.id;
        context.out.note(&format!(
            "It goes on; follow it with `tenantctl rollouts watch {id}`."
        ));
        Ok(())
    }

    /// Shows how far it is until nothing more happens by itself.
    async fn watch(&self, context: &Context) -> Result<(), Failure> {
        let deadline = Instant::now() + context.timeout();
        let bar = Bar::new();
        let (mut view, mut sight) = (self.view(context).await?, Sight::default());
        loop {
            let number = |state: &str| view["tally"][state].as_u64().unwrap_or(0);
            let ended = number("done") + number("failed") + number("skipped");
            let total = ended + number("pending") + number("running");
            let note = format!("wave {}, {} failed", view["current_wave"], number("failed"));
            bar.counted(ended, total, "tenants", &note);
            if text(&view, "/state") != "running" {
                break;
            }
            if Instant::now() >= deadline {
                return Err(Failure::NotInTime(self.going()));
            }
            context.follows(self.going());
            tokio::time::sleep(PAUSE).await;
            let looked = self.view(context).await;
            if let Some(next) = sight.of(looked, Instant::now(), || self.going())? {
                view = next;
            }
        }
        drop(bar);
        context.out.item(FIELDS, &view)?;
        self.judge(&view)
    }

    fn going(&self) -> Going {
        Going {
            what: "roll-out",
            id: self.id.to_string(),
            command: "rollouts watch",
        }
    }

    /// Whether a roll-out that stands still did what it should.
    fn judge(&self, view: &Value) -> Result<(), Failure> {
        let id = self.id;
        let failed = view["tally"]["failed"].as_u64().unwrap_or(0);
        let look = format!("see which, and why: `tenantctl rollouts show {id}`");
        let (what, next) = match text(view, "/state") {
            "halted" => (
                format!("the roll-out halted: {}", text(view, "/halted_reason")),
                vec![
                    look,
                    format!("mend the cause, then `tenantctl rollouts retry {id}`"),
                    format!("or go on with the others: `tenantctl rollouts resume {id}`"),
                ],
            ),
            "paused" => (
                "the roll-out is paused".to_owned(),
                vec![format!("`tenantctl rollouts resume {id}` lets it go on")],
            ),
            "aborted" => ("the roll-out was aborted".to_owned(), Vec::new()),
            _ if failed > 0 => (
                format!("{failed} tenants failed; all others are done"),
                vec![
                    look,
                    format!("mend the cause, then `tenantctl rollouts retry {id}`"),
                ],
            ),
            _ => return Ok(()),
        };
        Err(Failure::Found { what, next })
    }
}
