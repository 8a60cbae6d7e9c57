//! Beginning an operation and following it to its end.
//!
//! Deliberately the same for every kind. Invariants: a bar is drawn on a terminal only; whoever stops
//! waiting stops nothing else, and is told how to look again.

use std::io::IsTerminal as _;
use std::time::Duration;

use contract::OperationId;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use reqwest::StatusCode;
use serde::Serialize;
use serde_json::Value;
use tokio::time::Instant;
use uuid::Uuid;

use crate::api::Query;
use crate::cli::Until;
use crate::commands::operations;
use crate::context::Context;
use crate::failure::{Failure, Going, text};
use crate::output::{Column, on_one_line};

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
const FRAME: Duration = Duration::from_millis(120);
/// So long may the platform be away while something is followed: it restarts, and goes on.
const LONGEST_OUTAGE: Duration = Duration::from_secs(60);

/// Asks for an operation, waits as the command says, and shows it.
pub(crate) async fn begin<B: Serialize + Sync>(
    context: &Context,
    path: &str,
    body: &B,
) -> Result<(), Failure> {
    let view = begun(context, path, body).await?;
    shown(context, &view)
}

/// Asks for an operation and waits as the command says.
pub(crate) async fn begun<B: Serialize + Sync>(
    context: &Context,
    path: &str,
    body: &B,
) -> Result<Value, Failure> {
    let recorded = recorded(context, path, body).await?;
    recorded.followed(context, path, body).await
}

/// Asks what an operation would do, and begins none.
pub(crate) async fn preview<B: Serialize + Sync>(
    context: &Context,
    path: &str,
    body: &B,
) -> Result<Value, Failure> {
    let query: Query = vec![("dry_run", "true".to_owned())];
    let api = context.api()?;
    let (_, preview) = api.post(path, &query, body, Uuid::now_v7()).await?;
    Ok(preview)
}

/// An operation that was asked for.
pub(crate) struct Recorded {
    key: Uuid,
    view: Value,
}

/// Asks for an operation and waits for nothing.
pub(crate) async fn recorded<B: Serialize + Sync>(
    context: &Context,
    path: &str,
    body: &B,
) -> Result<Recorded, Failure> {
    let key = Uuid::now_v7();
    let query: Query = vec![("wait", "none".to_owned())];
    let (_, view) = context.api()?.post(path, &query, body, key).await?;
    Ok(Recorded { key, view })
}

impl Recorded {
    /// Waits as the command says.
    pub(crate) async fn followed<B: Serialize + Sync>(
        self,
        context: &Context,
        path: &str,
        body: &B,
    ) -> Result<Value, Failure> {
        let api = context.api()?;
        let view = settled(context, self.view).await?;
        heard(context, view, async |query| {
            api.post(path, &query, body, self.key).await
        })
        .await
    }
}

/// Waits until every replica has heard of what is done, if the command does. `again` is the same request
/// with another query: it begins nothing, and answers once every replica has heard.
pub(crate) async fn heard(
    context: &Context,
    view: Value,
    again: impl AsyncFn(Query) -> Result<(StatusCode, Value), Failure>,
) -> Result<Value, Failure> {
    if context.until() != Until::Replicas {
        return Ok(view);
    }
    let deadline = Instant::now() + context.timeout();
    loop {
        let (status, view) = again(vec![("wait", "replicas".to_owned())]).await?;
        if status != StatusCode::ACCEPTED {
            return Ok(view);
        }
        if Instant::now() >= deadline {
            let id = match text(&view, "/operation/id") {
                "" => text(&view, "/id"),
                id => id,
            };
            return Err(Failure::NotInTime(Going::operation(id)));
        }
    }
}

/// Changes what is not changed by an operation, waits as the command says, and shows what it is now.
pub(crate) async fn patched<B: Serialize + Sync>(
    context: &Context,
    path: &str,
    etag: Option<&str>,
    body: &B,
    fields: &[Column<'_>],
) -> Result<(), Failure> {
    let query: Query = match context.until() {
        Until::Replicas => vec![("wait", "replicas".to_owned())],
        Until::Begun | Until::Done => Query::new(),
    };
    let (status, changed) = context.api()?.patch(path, &query, etag, body).await?;
    context.out.item(fields, &changed)?;
    match status {
        StatusCode::ACCEPTED => Err(Failure::Unheard),
        _ => Ok(()),
    }
}

/// Waits for an operation, if the command waits.
pub(crate) async fn settled(context: &Context, view: Value) -> Result<Value, Failure> {
    match context.until() {
        Until::Begun => Ok(view),
        Until::Done | Until::Replicas => to_the_end(context, view).await,
    }
}

/// Shows an operation, and how to follow it where it goes on.
pub(crate) fn shown(context: &Context, view: &Value) -> Result<(), Failure> {
    operations::show(context, view)?;
    say_how_to_follow(context, view);
    Ok(())
}

/// Says how to follow an operation that goes on.
pub(crate) fn say_how_to_follow(context: &Context, view: &Value) {
    if !is_over(view) {
        let id = text(view, "/id");
        context.out.note(&format!(
            "It is still running; follow it with `tenantctl operations watch {id}`."
        ));
    }
}

/// Waits until an operation is over.
///
/// # Errors
/// It failed, it is not over in time, or the user stopped waiting.
pub(crate) async fn to_the_end(context: &Context, mut view: Value) -> Result<Value, Failure> {
    let deadline = Instant::now() + context.timeout();
    let bar = Bar::new();
    let mut pause = FIRST_PAUSE;
    let mut sight = Sight::default();
    loop {
        bar.show(&view);
        let id = text(&view, "/id").to_owned();
        match text(&view, "/state") {
            "done" => {
                context.follows_nothing();
                return Ok(view);
            }
            "undone" | "stuck" => return Err(Failure::Operation(Box::new(view))),
            _ => {}
        }
        let Ok(operation) = id.parse::<OperationId>() else {
            return Ok(view);
        };
        if Instant::now() >= deadline {
            return Err(Failure::NotInTime(Going::operation(&id)));
        }
        context.follows(Going::operation(&id));
        tokio::time::sleep(pause).await;
        pause = (pause * 3 / 2).min(LONGEST_PAUSE);
        let looked = context.api()?.operation(operation).await;
        if let Some(next) = sight.of(looked, Instant::now(), || Going::operation(&id))? {
            view = next;
        }
    }
}

/// Whether what is followed can be seen.
#[derive(Debug, Default)]
pub(crate) struct Sight {
    lost_at: Option<Instant>,
}

impl Sight {
    /// What a look at this moment has shown: nothing while the platform is away for a while.
    ///
    /// # Errors
    /// It is away for too long, or says that there is nothing to see.
    pub(crate) fn of<T>(
        &mut self,
        looked: Result<T, Failure>,
        now: Instant,
        going: impl FnOnce() -> Going,
    ) -> Result<Option<T>, Failure> {
        match looked {
            Ok(seen) => {
                self.lost_at = None;
                Ok(Some(seen))
            }
            Err(failure) if failure.passes() => {
                let lost_at = *self.lost_at.get_or_insert(now);
                if now.duration_since(lost_at) < LONGEST_OUTAGE {
                    return Ok(None);
                }
                Err(Failure::OutOfSight(going(), Box::new(failure)))
            }
            Err(failure) => Err(failure),
        }
    }
}

/// Whether nothing more happens to an operation by itself.
pub(crate) fn is_over(view: &Value) -> bool {
    matches!(text(view, "/state"), "done" | "undone" | "stuck")
}

/// How far something is: nothing where nobody looks.
pub(crate) struct Bar(ProgressBar);

impl Bar {
    pub(crate) fn new() -> Self {
        let bar = if std::io::stderr().is_terminal() {
            ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr())
        } else {
            ProgressBar::hidden()
        };
        bar.set_style(ProgressStyle::default_spinner());
        bar.enable_steady_tick(FRAME);
        Self(bar)
    }

    /// Shows where an operation stands.
    fn show(&self, view: &Value) {
        let number = |pointer| view.pointer(pointer).and_then(Value::as_u64);
        let what = format!("{} {}", text(view, "/kind"), text(view, "/step"));
        let note = match text(view, "/progress/note") {
            "" => text(view, "/failure/detail"),
            note => note,
        };
        match (number("/progress/done"), number("/progress/total")) {
            (Some(done), Some(total)) if total > 0 => {
                self.counted(
                    done,
                    total,
                    text(view, "/progress/unit"),
                    &format!("{what} {note}"),
                );
            }
            _ => {
                self.said(&format!("{what} {note}"));
            }
        }
    }

    /// Shows what is being done, where nobody knows how much there is of it.
    pub(crate) fn said(&self, words: &str) {
        self.0.set_message(on_one_line(words).into_owned());
    }

    /// Shows how many are done.
    pub(crate) fn counted(&self, done: u64, total: u64, unit: &str, note: &str) {
        let template = match unit {
            "bytes" => "{spinner} [{bar:30}] {bytes}/{total_bytes} {eta} {msg}",
            _ => "{spinner} [{bar:30}] {pos}/{len} {prefix} {eta} {msg}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.0.set_style(style.progress_chars("=> "));
        }
        self.0.set_prefix(unit.to_owned());
        self.0.set_length(total);
        self.0.set_position(done);
        self.0.set_message(on_one_line(note).into_owned());
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests;
