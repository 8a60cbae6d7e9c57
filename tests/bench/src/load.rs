//! Load: so many clients, each with one connection and one open request, for a time.
//!
//! Deliberately one thread: the cores are shared with what is measured. Invariant: a client sends
//! its next request only when the last one was answered, so the number of open requests is the
//! number of clients.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use rand::RngExt as _;
use tokio::sync::Barrier;

use crate::client::{Client, Prepared};

/// What to send, and how.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    pub(crate) address: SocketAddr,
    pub(crate) clients: usize,
    pub(crate) lasts: Duration,
    /// Of each client, between an answer and its next request.
    pub(crate) pause: Duration,
    /// Picked from at random.
    pub(crate) requests: Arc<[Prepared]>,
}

/// What came back.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    pub(crate) answered: u64,
    pub(crate) errors: u64,
    /// The first of them, in words.
    pub(crate) first_error: Option<String>,
    pub(crate) elapsed: Duration,
    /// Of each answered request, in milliseconds.
    pub(crate) latencies: Vec<f64>,
}

impl Measured {
    pub(crate) fn per_second(&self) -> f64 {
        self.answered as f64 / self.elapsed.as_secs_f64().max(f64::EPSILON)
    }

    fn add(&mut self, other: Self) {
        self.answered += other.answered;
        self.errors += other.errors;
        self.first_error = self.first_error.take().or(other.first_error);
        self.latencies.extend(other.latencies);
    }
}

impl Load {
    /// Runs it on a thread of its own.
    pub(crate) async fn run(&self) -> anyhow::Result<Measured> {
        ensure!(!self.requests.is_empty(), "a load without requests");
        let load = self.clone();
        tokio::task::spawn_blocking(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(load.run_here())
        })
        .await
        .context("the load's thread")?
    }

    async fn run_here(self) -> anyhow::Result<Measured> {
        let over = Arc::new(AtomicBool::new(false));
        let start = Arc::new(Barrier::new(self.clients + 1));
        let clients: Vec<_> = (0..self.clients)
            .map(|_| {
                let (over, start) = (Arc::clone(&over), Arc::clone(&start));
                tokio::spawn(one_client(
                    self.address,
                    Arc::clone(&self.requests),
                    self.pause,
                    start,
                    over,
                ))
            })
            .collect();
        start.wait().await;
        let started = Instant::now();
        tokio::time::sleep(self.lasts).await;
        over.store(true, Ordering::Relaxed);
        let elapsed = started.elapsed();
        let mut measured = Measured::default();
        for client in clients {
            measured.add(client.await.context("a client")?);
        }
        measured.elapsed = elapsed;
        Ok(measured)
    }
}

/// A request that ends after the time is over is not counted, on either side; an error is.
async fn one_client(
    address: SocketAddr,
    requests: Arc<[Prepared]>,
    pause: Duration,
    start: Arc<Barrier>,
    over: Arc<AtomicBool>,
) -> Measured {
    let mut client = Client::new(address);
    let mut measured = Measured::default();
    let connected = client.connect().await;
    start.wait().await;
    if let Err(error) = connected {
        measured.errors += 1;
        measured.first_error = Some(format!("{error:#}"));
        return measured;
    }
    while !over.load(Ordering::Relaxed) {
        let number = rand::rng().random_range(0..requests.len());
        let Some(request) = requests.get(number) else {
            break;
        };
        if !pause.is_zero() {
            // Not all at the same moment.
            let about = rand::rng().random_range(0.5..1.5);
            tokio::time::sleep(pause.mul_f64(about)).await;
        }
        let sent = Instant::now();
        let error = match client.send(request).await {
            Ok(answer) if answer.status.is_success() => {
                if !over.load(Ordering::Relaxed) {
                    measured.answered += 1;
                    measured.latencies.push(sent.elapsed().as_secs_f64() * 1e3);
                }
                continue;
            }
            Ok(answer) => answer.words(),
            Err(error) => format!("{error:#}"),
        };
        measured.errors += 1;
        measured.first_error.get_or_insert(error);
    }
    measured
}
