//! Whether this process can do its work: `/livez`, and `/readyz`, which anybody may ask.
//!
//! Deliberately no more than that the registry answers and has the schema of this code. Invariant: however
//! many ask, one connection to the registry at a time looks, and not more often than a verdict is kept.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::routing::get;
use contract::Code;
use kit::error::Problem;
use tokio::sync::Mutex;

use crate::platform::Platform;
use crate::schema;

/// How long a verdict stands.
const KEPT: Duration = Duration::from_millis(500);
/// How long the registry has for its answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The verdict of the last look.
#[derive(Debug, Default)]
pub(crate) struct Readiness(Mutex<Option<(Instant, Verdict)>>);

#[derive(Debug, Clone)]
enum Verdict {
    Ready,
    Old,
    Unreachable(Arc<sqlx::Error>),
}

impl Readiness {
    /// What a look said a moment ago, or says now; who comes meanwhile waits for that one.
    async fn verdict(&self, platform: &Platform) -> Verdict {
        let mut kept = self.0.lock().await;
        if let Some((at, verdict)) = &*kept
            && at.elapsed() < KEPT
        {
            return verdict.clone();
        }
        let looked = tokio::time::timeout(PATIENCE, is_current(platform)).await;
        let verdict = match looked.unwrap_or(Err(sqlx::Error::PoolTimedOut)) {
            Ok(true) => Verdict::Ready,
            Ok(false) => Verdict::Old,
            Err(error) => Verdict::Unreachable(Arc::new(error)),
        };
        *kept = Some((Instant::now(), verdict.clone()));
        verdict
    }
}

async fn is_current(platform: &Platform) -> Result<bool, sqlx::Error> {
    let mut connection = platform.registry.acquire().await?;
    schema::is_current(&mut connection).await
}

/// `/livez` and `/readyz`.
pub(crate) fn router(platform: &Platform) -> Router {
    let ready = Router::new()
        .route("/readyz", get(ready))
        .with_state(platform.clone());
    kit::http::liveness().merge(ready)
}

async fn ready(State(platform): State<Platform>) -> Result<&'static str, Problem> {
    let not_ready = |detail: &'static str| Problem::new(Code::NotReady).detail(detail);
    if platform.leaving.is_cancelled() {
        return Err(not_ready("It is stopping."));
    }
    if !platform.runner.is_alive() {
        return Err(not_ready("The runner of operations has died."));
    }
    match platform.readiness.verdict(&platform).await {
        Verdict::Ready => Ok("ready"),
        Verdict::Old => Err(not_ready("The registry's schema is older than this code.")),
        Verdict::Unreachable(error) => {
            Err(not_ready("The registry does not answer.").caused_by(error))
        }
    }
}
