//! Listening, serving and stopping.
//!
//! Deliberately its own accept loop: `axum::serve` waits for ever for the head of a request.
//! Invariants: a connection is bounded in time until its first request and between requests, their
//! number is bounded, and a drain ends at its deadline.

#[cfg(test)]
mod tests;

mod connection;
mod listener;
mod signal;
mod stream;

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::Router;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::Period;

pub use listener::{BindError, Listener};
pub use signal::shutdown_signal;

use connection::Connections;

/// Pause after an accept that failed for want of files or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The limits of a listener; a section of a service's settings.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServeLimits {
    /// Connections at once; further ones wait in the system's backlog.
    pub max_connections: usize,
    /// From connecting to the complete head of the first request.
    pub header_timeout: Period,
    /// From the end of the last response to the complete head of the next request: a head that comes
    /// slowly holds no more than a connection that idles. Also how long a client may take nothing of its
    /// answer.
    pub idle_timeout: Period,
    /// Requests at once on one HTTP/2 connection.
    pub max_http2_streams: u32,
}

impl ServeLimits {
    /// Bytes of the head of a request.
    pub const MAX_HEAD_BYTES: usize = 32 * 1024;
    /// Header fields of a request.
    pub const MAX_HEADERS: usize = 100;
}

impl Default for ServeLimits {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            header_timeout: Period::new(Duration::from_secs(8)),
            idle_timeout: Period::new(Duration::from_secs(90)),
            max_http2_streams: 256,
        }
    }
}

/// How a stop goes; a section of a service's settings.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DrainSettings {
    /// How long it goes on serving, not ready any more, before it takes no new connection.
    pub notice: Period,
    /// How long open requests, and what else is to be finished, are waited for.
    pub deadline: Period,
}

/// Stops a service from elsewhere.
#[derive(Debug, Clone)]
pub struct Stopper(CancellationToken);

impl Stopper {
    /// Stops what heeds this token.
    pub const fn new(token: CancellationToken) -> Self {
        Self(token)
    }

    /// Asks it to finish what is open and end.
    pub fn stop(&self) {
        self.0.cancel();
    }

    /// Stops it at the first signal to end.
    pub fn stop_on_signal(self) {
        tokio::spawn(async move {
            if let Err(error) = shutdown_signal().await {
                tracing::error!(cause = %error, "signals cannot be heard; stopping");
            }
            self.stop();
        });
    }
}

/// When and how fast to stop.
#[derive(Debug, Clone)]
pub struct Drain {
    /// Cancelled: the end begins.
    pub token: CancellationToken,
    /// From then on it goes on serving for so long, each answer being its connection's last: whoever sends
    /// requests here has time to see that it is not ready any more, and meets no closed port.
    pub notice: Duration,
    /// After that nothing is accepted and what is open is finished; what is open then is cut.
    pub end: DrainEnd,
}

/// When a stop has to be over: one instant for all that stops, which the first that asks sets. So a
/// supervisor has to wait for the notice and once for the deadline, however many parts there are.
#[derive(Debug, Clone)]
pub struct DrainEnd {
    deadline: Duration,
    at: Arc<OnceLock<Instant>>,
}

impl DrainEnd {
    /// So long after it is first asked.
    pub fn new(deadline: Duration) -> Self {
        Self {
            deadline,
            at: Arc::default(),
        }
    }

    /// The instant.
    pub fn at(&self) -> Instant {
        *self.at.get_or_init(|| Instant::now() + self.deadline)
    }
}

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainReport {
    /// Connections that were still open at the deadline.
    pub cut: usize,
}

/// Serves until the drain is over. Requests carry `axum::extract::ConnectInfo<SocketAddr>`.
pub async fn serve(
    listener: Listener,
    router: Router,
    limits: ServeLimits,
    drain: Drain,
) -> DrainReport {
    let places = Arc::new(Semaphore::new(limits.max_connections));
    let stopping = CancellationToken::new();
    let connections = Connections::new(router, limits, stopping.clone());
    let mut open = JoinSet::new();
    let mut over = pin!(async {
        drain.token.cancelled().await;
        connections.give_notice();
        tokio::time::sleep(drain.notice).await;
    });
    loop {
        tokio::select! {
            biased;
            () = over.as_mut() => break,
            Some(ended) = open.join_next() => report_panic(ended),
            accepted = accept(&listener, &places) => match accepted {
                Ok((stream, peer, place)) => {
                    let connection = connections.serve(stream, peer);
                    open.spawn(async move {
                        connection.await;
                        drop(place);
                    });
                }
                Err(error) => pause_after(&error).await,
            },
        }
    }
    drop(listener);
    stopping.cancel();
    let finished = tokio::time::timeout_at(drain.end.at(), async {
        while let Some(ended) = open.join_next().await {
            report_panic(ended);
        }
    });
    let cut = match finished.await {
        Ok(()) => 0,
        Err(_) => open.len(),
    };
    open.shutdown().await;
    DrainReport { cut }
}

type Accepted = (TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit);

/// A place first: what has no place stays in the backlog.
async fn accept(listener: &Listener, places: &Arc<Semaphore>) -> io::Result<Accepted> {
    let place = Arc::clone(places)
        .acquire_owned()
        .await
        .map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, place))
}

/// A client that is gone already is its own affair; anything else is a lack of the system.
async fn pause_after(error: &io::Error) {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    if !matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    ) {
        tracing::error!(cause = %error, "a connection could not be accepted");
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}

fn report_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(cause = %error, "a connection's task panicked");
    }
}
