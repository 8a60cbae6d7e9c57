//! Drives a roll-out: wave after wave, several tenants at once on each cluster.
//!
//! Deliberately keeps nothing that a kill would lose: whose turn it is and what came of it stand in the
//! registry. Invariants: a tenant's trouble stops nobody else's turn; a turn may come twice; when a
//! roll-out is paused or halts, no further call begins and those that run come to their end. A call that
//! is for several tenants begins no further one of them after the replica's budget (half a second, unless it
//! is set otherwise), nor after one that fails: so no more than one tenant of each call fails, and a stop comes
//! a budget and a migration of each service later at most.

mod calls;

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use contract::internal::Migrated;
use contract::operator::operation::Progress;
use contract::operator::rollout::{RolloutState, RolloutTally, RolloutView};
use contract::{ClusterName, OperationId, TenantId};
use futures::future::{Fuse, FusedFuture as _};
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use kit::error::Problem;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::line::Line;
use super::store;
use super::store::work::{self, End, Ended, Turn};
use super::waves::{Decision, Look, decide};
use crate::clusters::services;
use crate::operations::Head;
use crate::platform::Platform;
use crate::stop::Stop;

/// How often a roll-out that an operator has stopped is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How often a roll-out that runs looks whether an operator says something.
const WATCH: Duration = Duration::from_millis(250);
/// Turns whose end is written in one transaction, and how long the first of them waits for others.
const WRITTEN_AT_ONCE: usize = 200;
const WRITTEN_AFTER: Duration = Duration::from_millis(250);

/// Rolls out what is left of a roll-out; gives how many tenants stand where at its end.
pub(crate) async fn drive(
    platform: &Platform,
    head: &Head,
    id: OperationId,
) -> Result<RolloutTally, Stop> {
    work::give_back(&mut *platform.registry.acquire().await?, id, None).await?;
    loop {
        let gone = || Stop::Fail(Problem::internal("the roll-out has no row"));
        let (look, rollout) = {
            let mut registry = platform.registry.acquire().await?;
            store::end_cancelled(&mut registry, id, head.id).await?;
            let look = store::look(&mut registry, id).await?.ok_or_else(gone)?;
            let rollout = store::find(&mut registry, id).await?.ok_or_else(gone)?;
            (look, rollout)
        };
        match decide(&look) {
            Decision::Finish => return Ok(look.tally()),
            Decision::Wait(reason) => {
                return Err(Stop::Later {
                    wait: LOOK,
                    reason: reason.into(),
                });
            }
            Decision::Halt(reason) => {
                tracing::error!(rollout = %id, reason, "a roll-out has halted");
                let mut registry = platform.registry.acquire().await?;
                store::halt(&mut registry, id, &reason).await?;
            }
            Decision::Work(wave) => {
                Drive::new(platform, head, rollout, look, wave)
                    .run()
                    .await?
            }
        }
    }
}

/// The work on one wave.
struct Drive<'a> {
    platform: &'a Platform,
    head: &'a Head,
    rollout: RolloutView,
    /// How it stands with all that has ended, written or not.
    look: Mutex<Look>,
    wave: usize,
    /// No further turn begins.
    stopped: CancellationToken,
    /// Turns that were taken.
    taken: AtomicUsize,
    /// Calls of services, so that they go round their replicas.
    calls: AtomicUsize,
}

impl<'a> Drive<'a> {
    fn new(
        platform: &'a Platform,
        head: &'a Head,
        rollout: RolloutView,
        mut look: Look,
        wave: usize,
    ) -> Self {
        look.current = wave;
        Self {
            platform,
            head,
            rollout,
            look: Mutex::new(look),
            wave,
            stopped: CancellationToken::new(),
            taken: AtomicUsize::new(0),
            calls: AtomicUsize::new(0),
        }
    }

    async fn run(&self) -> Result<(), Stop> {
        let id = self.rollout.id;
        let clusters = {
            let mut registry = self.platform.registry.acquire().await?;
            store::enter(&mut registry, id, self.wave).await?;
            work::clusters(&mut registry, id, self.wave).await?
        };
        let (ended, ends) = mpsc::channel(WRITTEN_AT_ONCE);
        let clusters = clusters.iter().map(|cluster| {
            let ended = ended.clone();
            async move { self.work_on(cluster, ended).await }
        });
        let working = futures::future::try_join_all(clusters);
        // Ends when the last cluster's worker is done.
        drop(ended);
        let work = async { tokio::join!(working, self.write(ends)) };
        let (worked, written) = tokio::select! {
            done = work => done,
            lost = self.watch() => return Err(lost),
        };
        let mut registry = self.platform.registry.acquire().await?;
        work::give_back(&mut registry, id, None).await?;
        worked.and(written)?;
        if self.taken.load(Ordering::Relaxed) == 0 {
            return Err(Stop::Later {
                wait: LOOK,
                reason: "The tenants that are left are being moved or restored.".into(),
            });
        }
        Ok(())
    }

    /// Looks whether an operator says something; ends when that cannot be seen any more.
    async fn watch(&self) -> Stop {
        let id = self.rollout.id;
        loop {
            tokio::time::sleep(WATCH).await;
            let state = async {
                let mut registry = self.platform.registry.acquire().await?;
                store::end_cancelled(&mut registry, id, self.head.id).await?;
                store::state(&mut registry, id).await
            };
            match state.await {
                Ok(RolloutState::Running) => {}
                Ok(_) => self.stopped.cancel(),
                Err(error) => return error.into(),
            }
        }
    }

    /// Takes turns on a cluster until there are no more.
    async fn work_on(&self, cluster: &ClusterName, ended: mpsc::Sender<Ended>) -> Result<(), Stop> {
        let at_once = usize::from(self.rollout.concurrency);
        let mut running = FuturesUnordered::new();
        let mut line = Line::new(at_once);
        let mut services = Services::default();
        let mut supply = Supply::Open;
        let mut taking = pin!(Fuse::terminated());
        loop {
            if self.stopped.is_cancelled() {
                self.give_back(line.leave()).await?;
                supply = Supply::Over;
            }
            // Ahead of need and beside those that run: a call that ends finds the next turns waiting.
            if supply == Supply::Open
                && taking.is_terminated()
                && let Some(wanted) = line.wants()
            {
                taking.set(self.take(cluster, wanted).fuse());
            }
            while running.len() < at_once
                && let Some(turns) = line.next()
            {
                running.push(self.call(turns, Arc::clone(&services)));
            }
            if running.is_empty() && taking.is_terminated() {
                return Ok(());
            }
            let over = tokio::select! {
                Some(called) = running.next() => {
                    let early = line.learn(&called.call, called.left);
                    if !early.is_empty() {
                        self.give_back(early).await?;
                        supply = Supply::Open;
                    }
                    called.over
                }
                taken = &mut taking, if !taking.is_terminated() => {
                    let taken = taken?;
                    if taken.behind.is_empty() && taken.over.is_empty() {
                        supply = Supply::Over;
                    }
                    services = taken.services;
                    line.join(taken.behind);
                    taken.over
                }
                () = self.stopped.cancelled(), if !line.is_empty() => Vec::new(),
            };
            self.count(&over);
            for end in over {
                // The writer goes away with its error, which is told there.
                drop(ended.send(end).await);
            }
        }
    }

    /// Counts turns that have ended, and stops where the rules say so: before anybody has written it, since the
    /// next call would not wait for that.
    fn count(&self, over: &[Ended]) {
        let mut look = self.look();
        count(&mut look.tallies[self.wave], over);
        self.stop_by(&look);
    }

    fn stop_by(&self, look: &Look) {
        if !matches!(decide(look), Decision::Work(_)) {
            self.stopped.cancel();
        }
    }

    fn look(&self) -> MutexGuard<'_, Look> {
        self.look.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn give_back(&self, turns: Vec<Turn>) -> Result<(), Stop> {
        let tenants: Vec<TenantId> = turns.into_iter().map(|turn| turn.tenant).collect();
        if tenants.is_empty() {
            return Ok(());
        }
        let mut registry = self.platform.registry.acquire().await?;
        Ok(work::give_back(&mut registry, self.rollout.id, Some(&tenants)).await?)
    }

    async fn take(&self, cluster: &ClusterName, most: usize) -> Result<Taken, Stop> {
        let services: Services = services::live(self.platform).await?.into();
        let mut registry = self.platform.registry.acquire().await?;
        let at = (self.wave, cluster);
        let turns = work::take(&mut registry, self.rollout.id, at, most).await?;
        self.taken.fetch_add(turns.len(), Ordering::Relaxed);
        let (newest, behind): (Vec<Turn>, Vec<Turn>) = turns
            .into_iter()
            .partition(|turn| services::covers(&turn.versions, &self.rollout.target));
        let over = newest
            .into_iter()
            .map(|turn| self.over(turn, Migrated::default()));
        Ok(Taken {
            over: over.collect(),
            behind,
            services,
        })
    }

    /// Writes what came of the turns, and stops when an operator says so.
    async fn write(&self, mut ends: mpsc::Receiver<Ended>) -> Result<(), Stop> {
        let mut batch = Vec::with_capacity(WRITTEN_AT_ONCE);
        while let Some(end) = ends.recv().await {
            batch.push(end);
            let fill = async {
                // Who watches sees a failure at once.
                while batch.len() < WRITTEN_AT_ONCE && batch.last().is_some_and(Ended::is_done) {
                    match ends.recv().await {
                        Some(end) => batch.push(end),
                        None => break,
                    }
                }
            };
            // Full, over, or not full in time: all the same.
            let _ = tokio::time::timeout(WRITTEN_AFTER, fill).await;
            let state = self.write_batch(&batch).await.inspect_err(|_| {
                self.stopped.cancel();
            })?;
            batch.clear();
            let mut look = self.look();
            look.state = state;
            self.stop_by(&look);
        }
        Ok(())
    }

    async fn write_batch(&self, batch: &[Ended]) -> Result<RolloutState, Stop> {
        let progress = progress(&self.look().tally());
        let mut transaction = self.platform.registry.begin().await?;
        let held = (self.head.id, self.head.lease);
        crate::operations::store::note_progress(&mut transaction, held, &progress).await?;
        store::end_cancelled(&mut transaction, self.rollout.id, self.head.id).await?;
        let state = store::state(&mut transaction, self.rollout.id).await?;
        work::write(&mut transaction, self.rollout.id, batch).await?;
        transaction.commit().await?;
        self.platform.feed.ring();
        Ok(state)
    }
}

/// Whether more tenants wait for their turn.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Supply {
    Open,
    Over,
}

/// The services that own schemas, as of a moment.
type Services = Arc<[crate::replicas::LiveService]>;

/// Turns that were taken, with who can be called at that moment.
struct Taken {
    /// Of those that have the newest schema.
    over: Vec<Ended>,
    behind: Vec<Turn>,
    services: Services,
}

/// How far a roll-out is.
pub(crate) fn progress(tally: &RolloutTally) -> Progress {
    Progress {
        done: tally.ended(),
        total: tally.total(),
        unit: "tenants".to_owned(),
        note: (tally.failed > 0).then(|| format!("{} failed", tally.failed)),
    }
}

fn count(tally: &mut RolloutTally, batch: &[Ended]) {
    for ended in batch {
        let to = match ended.end {
            End::Done => &mut tally.done,
            End::Failed(_) | End::Unreachable(_) => &mut tally.failed,
            End::Later(_) => continue,
        };
        *to += 1;
        tally.pending = tally.pending.saturating_sub(1);
    }
}
