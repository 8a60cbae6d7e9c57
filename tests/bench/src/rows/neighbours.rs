//! What other tenants notice of one that asks for too much, of sick ones, and of clients that finish no head.
//!
//! Deliberately a load that leaves the cores room: what is looked at is how well tenants are kept apart, not how
//! two cores are shared out. Invariant: the load of the others is the same, quiet and disturbed, and they take turns.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures::future::try_join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::reads::all_reads;
use super::{First, Row, sides};
use crate::client::{Client, Prepared};
use crate::load::{Load, Measured};
use crate::report::{Figure, Goal, Round, Title};
use crate::stage::{BUDGET, CLUSTER, SECOND, Stage, Tenant, run};
use crate::stats::percentile;

const TENANTS: usize = 50;
const LASTS: Duration = Duration::from_secs(5);
/// The noisy tenant's tier allows so many requests a second; it sends ten times as many.
const NOISY_LIMIT: f64 = 200.0;
const NOISY_CLIENTS: usize = 20;
const NOISY_PAUSE: Duration = Duration::from_millis(9);
/// How far what is granted may be from the limit.
const GRANTED_WITHIN: f64 = 0.05;
/// Clients of each sick tenant.
const SICK_CLIENTS: usize = 4;
const SICK_PAUSE: Duration = Duration::from_millis(50);
const HALF_OPEN: usize = 1000;
/// Within this, a connection without a complete head is closed: the setting, and two seconds for a busy machine.
const CLOSED_WITHIN: Duration = Duration::from_secs(10);

/// One tenant at ten times the rate of its tier.
pub(super) async fn noisy(stage: &mut Stage) -> anyhow::Result<Figure> {
    let others = others(stage).await?;
    let noisy = stage.new_tenants(1).await?;
    for tenant in &noisy {
        let change = serde_json::json!({ "tier": "standard" });
        stage.change(&tenant.id, &change).await?;
    }
    let noise = Load {
        clients: NOISY_CLIENTS,
        pause: NOISY_PAUSE,
        requests: all_reads(&noisy)?,
        ..others.clone()
    };
    let mut seen = Seen::default();
    for number in 0..stage.options.rounds {
        for side in sides(number) {
            match side {
                First::Baseline => seen.quiet(others.run().await?),
                First::Ours => {
                    // What may be asked for at once is used up before.
                    let before = Load {
                        lasts: Duration::from_secs(1),
                        ..noise.clone()
                    };
                    before.run().await?;
                    let (others, noise) = tokio::try_join!(others.run(), noise.run())?;
                    seen.disturbed(others);
                    let granted = noise.per_second() / NOISY_LIMIT;
                    seen.failures += u64::from((granted - 1.0).abs() > GRANTED_WITHIN);
                    seen.notes.push(format!(
                        "the noisy one was granted {:.0}/s and refused {:.0}/s",
                        noise.per_second(),
                        noise.errors as f64 / noise.elapsed.as_secs_f64()
                    ));
                }
            }
        }
    }
    Ok(seen.figure(Title {
        row: Row::NoisyNeighbour.name(),
        measure: "a tenant at ten times its limit: p99 of 50 others",
        compared_with: "the same without it",
        unit: "ms",
        goal: Goal::RatioAtMost(1.25),
    }))
}

/// One tenant dropped, one locked, one on a server that swallows everything.
pub(super) async fn sick(stage: &mut Stage) -> anyhow::Result<Figure> {
    // Before there is a second cluster: all of them are on the first.
    let others = others(stage).await?;
    stage.second_cluster().await?;
    stage.only_placed_on(SECOND).await?;
    let swallowed = stage.new_tenants(1).await?.remove(0);
    stage.only_placed_on(CLUSTER).await?;
    let dropped = stage.new_tenants(1).await?.remove(0);
    let locked = stage.new_tenants(1).await?.remove(0);
    stage.placed_anywhere().await?;
    let statement = format!("drop database {} with (force)", dropped.id);
    run(&mut stage.connect("postgres").await?, statement).await?;
    let mut holder = stage.connect(&locked.id).await?;
    let mut seen = Seen::default();
    for number in 0..stage.options.rounds {
        for side in sides(number) {
            match side {
                First::Baseline => seen.quiet(others.run().await?),
                First::Ours => {
                    run(&mut holder, "begin; lock table entries.entry".to_owned()).await?;
                    let frozen = stage.freeze_second().await?;
                    let asking = Asking::begin(
                        others.address,
                        [
                            ("dropped", &dropped),
                            ("locked", &locked),
                            ("swallowed", &swallowed),
                        ],
                    )?;
                    let measured = others.run().await;
                    drop(frozen);
                    run(&mut holder, "rollback".to_owned()).await?;
                    seen.notes.push(asking.end().await?);
                    seen.disturbed(measured?);
                }
            }
        }
    }
    Ok(seen.figure(Title {
        row: Row::SickNeighbours.name(),
        measure: "a tenant dropped, one locked, one swallowed: p99 of 50 others",
        compared_with: "the same with nobody asking for them",
        unit: "ms",
        goal: Goal::RatioAtMost(1.2),
    }))
}

/// A thousand connections on which the head of a request never ends.
pub(super) async fn half_open(stage: &mut Stage) -> anyhow::Result<Figure> {
    let others = others(stage).await?;
    let mut seen = Seen::default();
    for number in 0..stage.options.rounds {
        for side in sides(number) {
            match side {
                First::Baseline => seen.quiet(others.run().await?),
                First::Ours => {
                    let opened = Instant::now();
                    let open = (0..HALF_OPEN).map(|_| half_a_head(others.address));
                    let open = try_join_all(open).await?;
                    seen.disturbed(others.run().await?);
                    let closed = try_join_all(open.into_iter().map(closed)).await?;
                    let first = *closed.iter().min().context("a connection")? - opened;
                    let last = *closed.iter().max().context("a connection")? - opened;
                    // Those that are closed too early disturb nobody.
                    seen.failures += u64::from(last > CLOSED_WITHIN || first < LASTS);
                    seen.notes.push(format!(
                        "{HALF_OPEN} were closed after {:.1} to {:.1} s",
                        first.as_secs_f64(),
                        last.as_secs_f64()
                    ));
                }
            }
        }
    }
    Ok(seen.figure(Title {
        row: Row::HalfOpen.name(),
        measure: "1,000 connections with half a head: p99 of 50 tenants",
        compared_with: "the same without them",
        unit: "ms",
        goal: Goal::RatioAtMost(1.25),
    }))
}

/// What the tenants do that have nothing to do with it.
pub(super) async fn others(stage: &mut Stage) -> anyhow::Result<Load> {
    stage.app(BUDGET, &[]).await?;
    let tenants = stage.tenants(TENANTS).await?;
    let load = Load {
        address: stage.app_address()?,
        clients: TENANTS,
        pause: Duration::from_millis(100),
        lasts: LASTS,
        requests: all_reads(&tenants)?,
    };
    // Each is known, and has its connection.
    load.run().await?;
    Ok(load)
}

#[derive(Default)]
struct Seen {
    quiet: Vec<f64>,
    disturbed: Vec<f64>,
    failures: u64,
    notes: Vec<String>,
}

impl Seen {
    fn quiet(&mut self, measured: Measured) {
        let p99 = self.take(measured);
        self.quiet.push(p99);
    }

    fn disturbed(&mut self, measured: Measured) {
        let p99 = self.take(measured);
        self.disturbed.push(p99);
    }

    fn take(&mut self, measured: Measured) -> f64 {
        self.failures += measured.errors;
        self.notes.extend(measured.first_error);
        percentile(&measured.latencies, 99)
    }

    fn figure(self, title: Title) -> Figure {
        let pairs = self.disturbed.into_iter().zip(self.quiet);
        let rounds = pairs
            .map(|(ours, baseline)| Round { ours, baseline })
            .collect();
        Figure::compared(title, rounds, self.failures, self.notes)
    }
}

/// Clients that go on asking for sick tenants.
struct Asking {
    over: Arc<AtomicBool>,
    clients: Vec<(&'static str, JoinHandle<Duration>)>,
}

impl Asking {
    fn begin(address: SocketAddr, sick: [(&'static str, &Tenant); 3]) -> anyhow::Result<Self> {
        let over = Arc::new(AtomicBool::new(false));
        let mut clients = Vec::new();
        for (what, tenant) in sick {
            let request = tenant.reads()?.into_iter().next().context("an entry")?;
            for _ in 0..SICK_CLIENTS {
                let asked = keep_asking(address, request.clone(), Arc::clone(&over));
                clients.push((what, tokio::spawn(asked)));
            }
        }
        Ok(Self { over, clients })
    }

    /// The slowest answer for each, in words.
    async fn end(self) -> anyhow::Result<String> {
        self.over.store(true, Ordering::Relaxed);
        let mut slowest: Vec<(&str, Duration)> = Vec::new();
        for (what, client) in self.clients {
            let time = client.await?;
            match slowest.iter_mut().find(|(known, _)| *known == what) {
                Some((_, longest)) => *longest = (*longest).max(time),
                None => slowest.push((what, time)),
            }
        }
        let words: Vec<String> = slowest
            .into_iter()
            .map(|(what, time)| format!("{what} {:.2} s", time.as_secs_f64()))
            .collect();
        Ok(format!("slowest answers: {}", words.join(", ")))
    }
}

/// Gives the longest that an answer took, also one that was no success.
async fn keep_asking(address: SocketAddr, request: Prepared, over: Arc<AtomicBool>) -> Duration {
    let mut client = Client::new(address);
    let mut slowest = Duration::ZERO;
    while !over.load(Ordering::Relaxed) {
        let sent = Instant::now();
        // Whether it was refused or cut off is the tests' business.
        drop(client.send(&request).await);
        slowest = slowest.max(sent.elapsed());
        tokio::time::sleep(SICK_PAUSE).await;
    }
    slowest
}

async fn half_a_head(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    stream
        .write_all(b"GET /v1/entries HTTP/1.1\r\nHost: localhost\r\nX-Ten")
        .await?;
    Ok(stream)
}

/// When the other side closed it.
async fn closed(mut stream: TcpStream) -> anyhow::Result<Instant> {
    let mut said = Vec::new();
    // A reset is an end as well.
    drop(tokio::time::timeout(CLOSED_WITHIN * 2, stream.read_to_end(&mut said)).await);
    Ok(Instant::now())
}
