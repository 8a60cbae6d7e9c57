//! How long a refusal at a door without a token takes: at least as long as any usual one, so that the
//! time tells nothing about a tenant or a user.
//!
//! Deliberately of refusals alone: whoever is let in does not wait, and learns nothing new by that.
//! Invariant: the time is counted from before anything is looked up.

#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::StatusCode;

/// Well above what hashing a password, a new connection and some statements take while a replica is
/// not overloaded; no hindrance to whoever mistyped.
pub(super) const LEAST: Duration = Duration::from_millis(200);

/// Keeps a refusal back for as long as it has to.
pub(super) async fn level(request: Request, next: Next) -> Response {
    let began = Instant::now();
    let response = next.run(request).await;
    let wait = wait_before(response.status(), began.elapsed());
    if !wait.is_zero() {
        tokio::time::sleep(wait).await;
    }
    response
}

/// How long an answer is kept back that took so long to make.
fn wait_before(status: StatusCode, spent: Duration) -> Duration {
    if status == StatusCode::UNAUTHORIZED {
        LEAST.saturating_sub(spent)
    } else {
        Duration::ZERO
    }
}
