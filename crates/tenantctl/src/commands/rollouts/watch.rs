//! A rollout that is steered, and followed until nothing more happens by itself.
//!
//! Deliberately a rollout goes on without this program: it steers and looks. Invariant: a watch that ends says
//! whether every tenant has the newest schema, in its exit code too.

use serde_json::{Value, json};
use tokio::time::{Duration, Instant};
use uuid::Uuid;

use super::{FIELDS, Named};
use crate::api::Query;
use crate::cli::Until;
use crate::context::Context;
use crate::failure::{Failure, Going, text};
use crate::follow::{Bar, Sight};
use crate::output::counted;

const PAUSE: Duration = Duration::from_millis(400);

impl Named {
    /// Tells a rollout one word, and follows it where it goes on.
    pub(super) async fn steer(&self, context: &Context, verb: &str) -> Result<(), Failure> {
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
    pub(super) async fn follow(&self, context: &Context) -> Result<(), Failure> {
        if context.until() != Until::Begun {
            return self.watch(context).await;
        }
        context.out.item(FIELDS, &self.view(context).await?)?;
        let id = self.id;
        context.out.note(&format!(
            "It is still running; follow it with `tenantctl rollouts watch {id}`."
        ));
        Ok(())
    }

    /// Shows how far it is until nothing more happens by itself.
    pub(super) async fn watch(&self, context: &Context) -> Result<(), Failure> {
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
            what: "rollout",
            id: self.id.to_string(),
            command: "rollouts watch",
        }
    }

    /// Whether a rollout that stands still did what it should.
    fn judge(&self, view: &Value) -> Result<(), Failure> {
        let id = self.id;
        let failed = view["tally"]["failed"].as_u64().unwrap_or(0);
        let look = format!("see which tenants failed and why with `tenantctl rollouts show {id}`");
        let (what, next) = match text(view, "/state") {
            "halted" => (
                format!("the rollout halted: {}", text(view, "/halted_reason")),
                vec![
                    look,
                    format!("fix the cause, then run `tenantctl rollouts retry {id}`"),
                    format!(
                        "or continue with the other tenants with `tenantctl rollouts resume {id}`"
                    ),
                ],
            ),
            "paused" => (
                "the rollout is paused".to_owned(),
                vec![format!("continue it with `tenantctl rollouts resume {id}`")],
            ),
            "aborted" => ("the rollout was aborted".to_owned(), Vec::new()),
            _ if failed > 0 => (
                format!("{} failed; all others are done", counted(failed, "tenant")),
                vec![
                    look,
                    format!("fix the cause, then run `tenantctl rollouts retry {id}`"),
                ],
            ),
            _ => return Ok(()),
        };
        Err(Failure::Found { what, next })
    }
}
