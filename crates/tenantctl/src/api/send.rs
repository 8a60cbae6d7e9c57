//! A request on its way: retries and refusals.
//!
//! Deliberately few tries with growing pauses: whoever typed the command waits. Invariant: what may have had an
//! effect is never sent again, unless it has one effect however often it comes.

use std::time::Duration;

use reqwest::{RequestBuilder, Response, StatusCode, header};

use super::{Api, Route};
use crate::failure::{Failure, Refusal};

const TRIES: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Whether a request may be sent again when its answer is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// It has one effect, however often it comes.
    Safe,
    /// Only when it was never taken in.
    Unsent,
}

impl Api {
    pub(super) async fn send(
        &self,
        route: &Route,
        request: RequestBuilder,
        repeat: Repeat,
    ) -> Result<Response, Failure> {
        let mut tries = 1;
        let mut pause = FIRST_PAUSE;
        loop {
            let last = tries == TRIES;
            let Some(attempt) = request.try_clone().filter(|_| !last) else {
                let sent = request.send().await.map_err(|source| self.silent(source));
                return self.checked(route, sent?).await;
            };
            match attempt.send().await {
                Ok(response) if may_help(&response) && repeat == Repeat::Safe => {
                    tokio::time::sleep(asked_pause(&response).unwrap_or(pause)).await;
                }
                Ok(response) => return self.checked(route, response).await,
                Err(error) if error.is_connect() && tries >= 2 => return Err(self.silent(error)),
                Err(error) if error.is_connect() || repeat == Repeat::Safe => {
                    tokio::time::sleep(pause).await;
                }
                Err(error) => return Err(self.silent(error)),
            }
            tries += 1;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn checked(&self, route: &Route, response: Response) -> Result<Response, Failure> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let bytes = response
            .bytes()
            .await
            .map_err(|source| self.silent(source))?;
        match serde_json::from_slice::<Refusal>(&bytes) {
            Ok(refusal) if !refusal.code.is_empty() => Err(Failure::Refused {
                route: route.clone(),
                refusal: Box::new(Refusal {
                    status: status.as_u16(),
                    ..refusal
                }),
                close: Vec::new(),
            }),
            _ => Err(self.strange(status)),
        }
    }
}

/// Whether the same request may succeed in a moment.
fn may_help(response: &Response) -> bool {
    matches!(
        response.status(),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
    )
}

fn asked_pause(response: &Response) -> Option<Duration> {
    let seconds = response.headers().get(header::RETRY_AFTER)?;
    let seconds: u64 = seconds.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_PAUSE))
}
