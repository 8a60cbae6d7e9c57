//! Runs operations: the steps of each one after the other, many operations at once, each under a lease.
//!
//! Deliberately knows no step's work and decides nothing itself: [`super::outcome::next`] does. Steps that
//! only mean something to the registry commit together with the step before them. Invariants: nothing is
//! done without the lease, which is renewed while a step runs; what a step means to the registry commits
//! together with its log; a runner that dies loses nothing, because whoever leases next starts from the
//! log.

mod beside;

use std::sync::Arc;
use std::time::{Duration, Instant};

use contract::{Code, OperationId, TenantId};
use kit::error::{Problem, chain};
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::faults::{Fault, Faults};
use super::outcome::{Turn, Way, failure_of, next};
use super::parts::Parts;
use super::saga::Lane;
use super::store::{self, Due};
use super::{Operation, OperationState, Plan, Reserved, Step};
use crate::meter::Meter;
use crate::platform::Platform;
use crate::stop::Stop;

/// Operations whose steps one process does at the same time.
const AT_ONCE: usize = 32;
/// The same of those that move data or wait for others.
const LONG_AT_ONCE: usize = 6;
/// Reserved operations that wait for the runner; more are found when their lease is over.
const WAITING: usize = 1024;
/// How soon an operation is looked at again that cannot be read, and for how long others may go on with it.
const UNREADABLE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(15 * 60));
/// Pause before a write to the registry is tried again.
const WRITE_PAUSE: Duration = Duration::from_millis(100);

/// Hands operations to the runner of this process.
#[derive(Debug, Clone)]
pub(crate) struct RunnerHandle {
    jobs: mpsc::Sender<Job>,
    bell: Arc<Notify>,
    faults: Arc<Faults>,
}

/// What the runner receives.
#[derive(Debug)]
pub(crate) struct Inbox {
    jobs: mpsc::Receiver<Job>,
    bell: Arc<Notify>,
    faults: Arc<Faults>,
}

#[derive(Debug)]
struct Job {
    operation: Operation,
    tell: watch::Sender<OperationState>,
}

/// Both ends of a runner.
pub(crate) fn channel(faults: Faults) -> (RunnerHandle, Inbox) {
    let (sender, receiver) = mpsc::channel(WAITING);
    let bell = Arc::new(Notify::new());
    let faults = Arc::new(faults);
    let handle = RunnerHandle {
        jobs: sender,
        bell: Arc::clone(&bell),
        faults: Arc::clone(&faults),
    };
    (
        handle,
        Inbox {
            jobs: receiver,
            bell,
            faults,
        },
    )
}

impl RunnerHandle {
    /// Starts an operation now and waits for its end, but no longer than `wait`; gives where it
    /// stands then. It goes on when the caller does not wait any more.
    pub(crate) async fn run(&self, reserved: Reserved, wait: Duration) -> OperationState {
        let (tell, mut told) = watch::channel(OperationState::Running);
        let Reserved(operation) = reserved;
        if self.jobs.try_send(Job { operation, tell }).is_err() {
            return OperationState::Running;
        }
        // An end of either kind, in time or not, leaves the newest state in `told`.
        let over = told.wait_for(|state| state.is_over());
        let _ = tokio::time::timeout(wait, over).await;
        *told.borrow_and_update()
    }

    /// Whether the runner of this process still takes operations.
    pub(crate) fn is_alive(&self) -> bool {
        !self.jobs.is_closed()
    }

    /// Whether a step only means something to the registry, so that the transaction which records the
    /// operation can do it.
    pub(super) fn needs_no_act(&self, plan: &Plan, step: Step) -> bool {
        plan.needs_no_act(step) && !self.faults.touch(plan.kind(), step)
    }

    /// Tells the runner to look for operations that are due.
    pub(crate) fn nudge(&self) {
        self.bell.notify_one();
    }
}

/// Runs operations until the service stops; then finishes the steps that are running.
pub(crate) async fn run(platform: Platform, mut inbox: Inbox) {
    let runner = Runner {
        platform,
        faults: Arc::clone(&inbox.faults),
        quick: Arc::new(Semaphore::new(AT_ONCE)),
        long: Arc::new(Semaphore::new(LONG_AT_ONCE)),
        parts: Parts::default(),
        halted: CancellationToken::new(),
    };
    let tracker = TaskTracker::new();
    let mut tick = tokio::time::interval(runner.platform.settings.operations.check_every.get());
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = runner.platform.stopping.cancelled() => break,
            () = runner.halted.cancelled() => break,
            job = inbox.jobs.recv() => match job {
                Some(job) => { tracker.spawn(runner.clone().drive(job)); }
                None => break,
            },
            () = inbox.bell.notified() => runner.pick_up(&tracker).await,
            _ = tick.tick() => runner.pick_up(&tracker).await,
        }
    }
    tracker.close();
    tracker.wait().await;
}

#[derive(Clone)]
struct Runner {
    platform: Platform,
    faults: Arc<Faults>,
    quick: Arc<Semaphore>,
    long: Arc<Semaphore>,
    parts: Parts,
    /// Cancelled by a fault that kills the runner.
    halted: CancellationToken,
}

/// How an operation goes on.
enum Next {
    Now,
    After(Duration),
    /// After so long, or once a part of it has ended.
    Look(Duration),
    /// It is over, or another runner's.
    Never,
}

/// The runner died, as a fault wanted it.
struct Halted;

impl Runner {
    /// Leases what is due and starts it.
    async fn pick_up(&self, tracker: &TaskTracker) {
        for _ in 0..AT_ONCE {
            let leased = async {
                let mut registry = self.platform.registry.acquire().await?;
                store::lease_due(&mut registry, self.lease()).await
            };
            match leased.await {
                Ok(Some(Due::Leased(operation))) => {
                    let (tell, _) = watch::channel(operation.head.state);
                    let operation = *operation;
                    tracker.spawn(self.clone().drive(Job { operation, tell }));
                }
                Ok(Some(Due::Unreadable(held, error))) => self.lay_aside(held, &error).await,
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!(cause = chain(&error), "due operations cannot be leased");
                    return;
                }
            }
        }
    }

    /// Leaves an operation to those that can read it, for a time.
    async fn lay_aside(&self, held: (OperationId, Uuid), cause: &sqlx::Error) {
        let (id, _) = held;
        let words = "This release cannot read how far it is: it was begun by another one. Run that one until \
                     it is over, or look at what it has done and end it by hand.";
        let failure = failure_of(&Problem::new(Code::Conflict).detail(words));
        let cause = chain(cause);
        let laid = match self.platform.registry.acquire().await {
            Ok(mut registry) => store::lay_aside(&mut registry, held, UNREADABLE, &failure).await,
            Err(error) => Err(error),
        };
        match laid {
            Ok(true) => {
                tracing::error!(operation.id = %id, cause, "an operation that nobody can read is stuck")
            }
            Ok(false) => tracing::warn!(operation.id = %id, cause, "an operation cannot be read"),
            Err(error) => {
                let cause = chain(&error);
                tracing::warn!(operation.id = %id, cause, "an operation cannot be laid aside");
            }
        }
    }

    fn lease(&self) -> Duration {
        self.platform.settings.operations.lease.get()
    }

    async fn drive(self, job: Job) {
        let Job {
            mut operation,
            tell,
        } = job;
        let stopping = self.platform.stopping.clone();
        let parts = self.parts.watch(operation.head.id);
        let (leased, age) = (Instant::now(), operation.head.age);
        tokio::select! {
            biased;
            // Like a kill: nothing more is done or written.
            () = self.halted.cancelled() => {}
            () = async {
                loop {
                    operation.head.age = age + leased.elapsed();
                    let over = match self.advance(&mut operation).await {
                        // No timer: even one of no length takes a millisecond.
                        Ok(Next::Now) => stopping.is_cancelled(),
                        Ok(Next::After(pause)) => {
                            tokio::time::timeout(pause, stopping.cancelled()).await.is_ok()
                        }
                        Ok(Next::Look(pause)) => tokio::select! {
                            stopped = tokio::time::timeout(pause, stopping.cancelled()) => stopped.is_ok(),
                            () = parts.ended() => false,
                        },
                        Ok(Next::Never) => {
                            tell.send_replace(self.state(&operation).await);
                            break;
                        }
                        Err(Halted) => {
                            self.halted.cancel();
                            break;
                        }
                    };
                    if over {
                        self.give_back(&operation).await;
                        break;
                    }
                }
            } => {}
        }
    }

    /// Where an operation that this runner has done with stands.
    async fn state(&self, operation: &Operation) -> OperationState {
        let head = &operation.head;
        if head.state.is_over() {
            return head.state;
        }
        let found = async {
            let mut registry = self.platform.registry.acquire().await?;
            store::find(&mut registry, head.id).await
        };
        match found.await {
            Ok(Some(row)) => row.state,
            // Its row is gone, or the registry does not say: as it was last known, which is under way.
            // Who waits for it is told so, and asks again.
            Ok(None) | Err(_) => head.state,
        }
    }

    async fn give_back(&self, operation: &Operation) {
        let given = async {
            let mut registry = self.platform.registry.acquire().await?;
            store::give_back(&mut registry, &operation.head).await
        };
        if let Err(error) = given.await {
            // Its lease ends by itself.
            tracing::warn!(operation.id = %operation.head.id, cause = chain(&error), "not given back");
        }
    }

    /// Does or undoes the current step and writes what came of it.
    async fn advance(&self, operation: &mut Operation) -> Result<Next, Halted> {
        let held = (operation.head.id, operation.head.lease);
        let permits = match operation.plan.traits().lane {
            Lane::Quick => &self.quick,
            Lane::Long => &self.long,
        };
        let meter = Arc::new(Meter::default());
        let performed = async {
            let permit = permits.acquire().await;
            (
                permit,
                Arc::clone(&meter).watch(self.perform(operation)).await,
            )
        };
        let (_permit, outcome) = tokio::select! {
            biased;
            done = performed => done,
            // Also while it waits for its turn.
            () = beside::hold(&self.platform, held, self.lease()) => return Ok(Next::Never),
            never = beside::tell(&self.platform, held, &meter) => match never {},
        };
        let outcome = outcome?;
        if let Err(stop) = &outcome {
            report(operation, stop);
        }
        let (kind, step) = (operation.plan.kind(), operation.head.step);
        let state = operation.head.state;
        let next = self.write(operation, outcome, &meter).await;
        let halt = match state {
            OperationState::Unwinding => Fault::HaltAfterUndoLog,
            _ => Fault::HaltAfterLog,
        };
        if self.faults.has(kind, step, halt) {
            Err(Halted)
        } else {
            Ok(next)
        }
    }

    async fn perform(&self, operation: &mut Operation) -> Result<Result<(), Stop>, Halted> {
        let planted = || Ok(Err(Stop::Fail(Problem::internal("a planted fault"))));
        let Operation { head, plan } = operation;
        let (kind, step) = (plan.kind(), head.step);
        let has = |fault| self.faults.has(kind, step, fault);
        if head.state == OperationState::Unwinding {
            if has(Fault::HaltBeforeUndo) {
                return Err(Halted);
            }
            if has(Fault::FailUndo) {
                return planted();
            }
            let mut outcome = plan.undo(&self.platform, head).await;
            if has(Fault::RepeatUndo) && outcome.is_ok() {
                outcome = plan.undo(&self.platform, head).await;
            }
            return if has(Fault::HaltAfterUndo) {
                Err(Halted)
            } else {
                Ok(outcome)
            };
        }
        if Way::of(plan).is_cancelled(head) {
            return Ok(Err(Stop::Fail(Problem::new(Code::OperationCancelled))));
        }
        if has(Fault::HaltBeforeAct) {
            return Err(Halted);
        }
        if has(Fault::FailBeforeAct) {
            return planted();
        }
        let mut outcome = plan.act(&self.platform, head).await;
        if has(Fault::RepeatAct) && outcome.is_ok() {
            outcome = plan.act(&self.platform, head).await;
        }
        if has(Fault::HaltAfterAct) {
            return Err(Halted);
        }
        if has(Fault::FailAfterAct) {
            planted()
        } else {
            Ok(outcome)
        }
    }

    /// Writes what came of a step; tries again as long as the lease may last.
    async fn write(
        &self,
        operation: &mut Operation,
        outcome: Result<(), Stop>,
        meter: &Meter,
    ) -> Next {
        let began = Instant::now();
        let mut outcome = outcome;
        let mut following = Following::Joined;
        loop {
            match self.commit(operation, (&outcome, meter), following).await {
                Ok(next) => return next,
                // The step itself is to be written whatever became of those that follow.
                Err(Unwritten::Refused(_)) if following == Following::Joined => {
                    following = Following::Apart;
                }
                Err(Unwritten::Refused(stop)) => {
                    report(operation, &stop);
                    outcome = Err(stop);
                }
                Err(Unwritten::Unreachable(error)) => {
                    tracing::warn!(operation.id = %operation.head.id, cause = chain(&error), "not written");
                    if began.elapsed() >= self.lease() {
                        return Next::Never;
                    }
                    tokio::time::sleep(WRITE_PAUSE).await;
                }
            }
        }
    }

    /// Whether the step that comes next only means something to the registry, so that it can be
    /// done in the transaction that ends the one before.
    fn needs_no_act(&self, operation: &Operation, turn: &Turn) -> bool {
        let plan = &operation.plan;
        turn.state == OperationState::Running
            && turn.pause.is_none()
            && turn.step != operation.head.step
            && plan.needs_no_act(turn.step)
            && !self.faults.touch(plan.kind(), turn.step)
    }

    async fn commit(
        &self,
        operation: &mut Operation,
        (outcome, meter): (&Result<(), Stop>, &Meter),
        following: Following,
    ) -> Result<Next, Unwritten> {
        let way = Way::of(&operation.plan);
        let mut turn = next(&operation.head, &way, outcome);
        let mut meant = vec![operation.head.step];
        while following == Following::Joined && self.needs_no_act(operation, &turn) {
            meant.push(turn.step);
            turn = turn.and_done(&way);
        }
        let mut transaction = self.platform.registry.begin().await?;
        let copied = outcome.as_ref().ok().and_then(|()| meter.whole());
        let written =
            store::write(&mut transaction, operation, &turn, (self.lease(), copied)).await?;
        let Some(wish) = written else {
            return Ok(Next::Never);
        };
        let Operation { head, plan } = operation;
        if outcome.is_ok() {
            for step in meant {
                let recorded = match head.state {
                    OperationState::Unwinding => plan.forget(&mut transaction, head).await,
                    _ => plan.record(&mut transaction, head, step).await,
                };
                recorded.map_err(Unwritten::Refused)?;
            }
        }
        transaction.commit().await?;
        head.state = turn.state;
        head.step = turn.step;
        head.attempts = turn.attempts;
        head.failure = turn.failure;
        head.wish = wish;
        if plan.concerns_keepers() && (head.state.is_over() || turn.pause.is_some()) {
            // A copy was used up, or a template is waited for.
            self.platform.clusters.nudge();
        }
        if let Some(whole) = head.parent.filter(|_| head.state.is_over()) {
            self.parts.ended(whole);
        }
        if head.state == OperationState::Stuck {
            tracing::error!(
                operation.id = %head.id, tenant.id = head.subject.tenant().map(TenantId::as_str),
                kind = plan.kind().as_str(), step = head.step.as_str(),
                "an operation is stuck and needs somebody to look"
            );
        }
        Ok(match turn.pause {
            _ if head.state.is_over() => Next::Never,
            Some(pause) if matches!(outcome, Err(Stop::Later { .. })) => Next::Look(pause),
            Some(pause) => Next::After(pause),
            None => Next::Now,
        })
    }
}

/// Whether the steps that only mean something to the registry are written with the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Following {
    Joined,
    Apart,
}

/// Why progress was not written.
enum Unwritten {
    /// The step's own writes were refused: that is what came of the step.
    Refused(Stop),
    /// The registry did not answer as it should.
    Unreachable(sqlx::Error),
}

impl From<sqlx::Error> for Unwritten {
    fn from(error: sqlx::Error) -> Self {
        Self::Unreachable(error)
    }
}

fn report(operation: &Operation, stop: &Stop) {
    let head = &operation.head;
    let (id, tenant) = (head.id, head.subject.tenant().map(TenantId::as_str));
    let (kind, step) = (operation.plan.kind().as_str(), head.step.as_str());
    match stop {
        Stop::Retry(problem) | Stop::Fail(problem) => {
            let cause = chain(problem);
            tracing::warn!(operation.id = %id, tenant.id = tenant, kind, step, cause, "a step did not succeed");
        }
        Stop::Later { reason, .. } => {
            tracing::debug!(operation.id = %id, tenant.id = tenant, kind, step, reason = reason.as_ref(), "a step waits");
        }
    }
}
