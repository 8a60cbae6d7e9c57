//! The loops of faults: a kind of operation failed, repeated, killed and stuck at each of its steps.
//!
//! Each fault is planted into a replica of platform-service of its own; the world's first replica is
//! healthy and shares the work. Deliberately one case after the other: replicas with other faults would
//! take part in the work. A tenant whose operation was undone has the next one: it is as before.

use futures::future::BoxFuture;
use serde_json::Value;
use world::{
    Answer, DEADLINE, Fault, Faults, OpenTransaction, OperationKind, PlatformReplica, Postgres,
    Speaker, Step, TenantHandle, World, WorldOptions, eventually,
};

use crate::markers;

/// A kind of operation, in one of its variants.
pub(crate) struct Case {
    pub(crate) kind: OperationKind,
    /// Of this variant, in order.
    pub(crate) steps: &'static [Step],
    /// What fails after it goes on forwards.
    pub(crate) point_of_no_return: Step,
    /// Whose operation it becomes, and what it needs to stand there.
    pub(crate) prepare: for<'a> fn(&'a World) -> BoxFuture<'a, TenantHandle>,
    /// Asks for it, as an operator at some replica.
    pub(crate) begin: for<'a> fn(&'a Speaker, &'a TenantHandle) -> BoxFuture<'a, Answer>,
    /// What holds when it is done.
    pub(crate) after_done: for<'a> fn(&'a World, &'a TenantHandle) -> BoxFuture<'a, ()>,
    /// What holds when it is undone: everything as before.
    pub(crate) after_undone: for<'a> fn(&'a World, &'a TenantHandle) -> BoxFuture<'a, ()>,
}

impl Case {
    /// The steps that are undone where they fail.
    fn reversible(&self) -> &'static [Step] {
        let point = self.point_of_no_return;
        let at = self.steps.iter().position(|step| *step == point);
        &self.steps[..=at.expect("the point of no return is a step")]
    }

    pub(crate) fn fault(&self, step: Step, fault: Fault) -> Faults {
        Faults::none().with(self.kind, step, fault)
    }

    /// Fails as late as it can be undone.
    fn failing_late(&self) -> Faults {
        self.fault(self.point_of_no_return, Fault::FailAfterAct)
    }
}

/// Room for several replicas of platform-service, and answers that do not wait.
pub(crate) fn roomy() -> WorldOptions {
    WorldOptions::default()
        .stock_level(1)
        .budget(30)
        .platform_setting("signup.wait", "3s")
        .platform_setting("operations.wait", "300ms")
        .platform_setting("registry.max_connections", "6")
        .platform_setting("operations.check_every", "100ms")
}

/// A world in which no replica takes over from another before a test says that the time has [`run_out`].
pub(crate) fn patient() -> WorldOptions {
    roomy().platform_setting("operations.lease", "30s")
}

/// A world that notices dead replicas soon, for operations with parts that a dead one had as well.
pub(crate) fn impatient() -> WorldOptions {
    roomy().platform_setting("operations.lease", "3s")
}

/// A tenant that an undone operation left as it was.
type Spare = Option<TenantHandle>;

/// A step that fails is undone with all before it; one past the point of no return is stuck, and goes
/// on when it is tried again.
pub(crate) async fn every_step_fails(world: &World, case: &Case) {
    let mut spare = Spare::None;
    for step in case.steps {
        for fault in [Fault::FailBeforeAct, Fault::FailAfterAct] {
            let here = format!("{} {step:?} {fault:?}", case.kind.as_str());
            let faults = case.fault(*step, fault);
            let (tenant, id, replica) = begun(world, case, faults, &mut spare).await;
            if case.reversible().contains(step) {
                reaches(world, &id, "undone", &here).await;
                (case.after_undone)(world, &tenant).await;
                spare = Some(tenant);
            } else {
                reaches(world, &id, "stuck", &here).await;
                drop(replica);
                try_again(world, &id).await;
                reaches(world, &id, "done", &here).await;
                (case.after_done)(world, &tenant).await;
            }
        }
    }
    no_leftovers(world).await;
}

/// Every act and every undo may run twice: every other one of an operation does, and then the others. One
/// that does is written apart from its neighbours, one that does not together with them where it can.
pub(crate) async fn every_step_twice(world: &World, case: &Case) {
    let every_other = |faults: Faults, steps: &[Step], first: usize, fault| {
        let steps = steps.iter().skip(first).step_by(2);
        steps.fold(faults, |faults, step| faults.with(case.kind, *step, fault))
    };
    let mut spare = Spare::None;
    for first in [0, 1] {
        let here = format!("{} undone twice from step {first} on", case.kind.as_str());
        let late = case.failing_late();
        let undos = every_other(late, case.reversible(), first, Fault::RepeatUndo);
        let (tenant, id, _replica) = begun(world, case, undos, &mut spare).await;
        reaches(world, &id, "undone", &here).await;
        (case.after_undone)(world, &tenant).await;
        spare = Some(tenant);
    }
    for first in [0, 1] {
        let here = format!("{} twice from step {first} on", case.kind.as_str());
        let acts = every_other(Faults::none(), case.steps, first, Fault::RepeatAct);
        let (tenant, id, _replica) = begun(world, case, acts, &mut spare).await;
        reaches(world, &id, "done", &here).await;
        (case.after_done)(world, &tenant).await;
    }
    no_leftovers(world).await;
}

/// A platform that is killed at any instruction is taken over, forwards and backwards: before the first
/// of them, and before and after the log of each is written.
pub(crate) async fn every_instruction_killed(world: &World, case: &Case) {
    let forwards = [Fault::HaltAfterAct, Fault::HaltAfterLog];
    let backwards = [Fault::HaltAfterUndo, Fault::HaltAfterUndoLog];
    let mut spare = Spare::None;
    for (step, halt) in points(case.steps, Fault::HaltBeforeAct, forwards) {
        let faults = case.fault(step, halt);
        let here = format!("{} {step:?} {halt:?}", case.kind.as_str());
        killed(world, case, faults, "done", &here, &mut spare).await;
    }
    let undone: Vec<Step> = case.reversible().iter().rev().copied().collect();
    for (step, halt) in points(&undone, Fault::HaltBeforeUndo, backwards) {
        let faults = case.failing_late().with(case.kind, step, halt);
        let here = format!("{} {step:?} {halt:?}", case.kind.as_str());
        killed(world, case, faults, "undone", &here, &mut spare).await;
    }
    no_leftovers(world).await;
}

/// Where a runner can die that goes through these steps. Before a step is after the log of the one before
/// it, or, where it has no act, after that act.
pub(crate) fn points(
    steps: &[Step],
    before: Fault,
    after: [Fault; 2],
) -> impl Iterator<Item = (Step, Fault)> {
    let first = steps.first().map(|step| (*step, before));
    let each = steps
        .iter()
        .flat_map(move |step| after.map(|halt| (*step, halt)));
    first.into_iter().chain(each)
}

async fn killed(
    world: &World,
    case: &Case,
    faults: Faults,
    end: &str,
    here: &str,
    spare: &mut Spare,
) {
    let (tenant, id) = halted(world, case, faults, spare).await;
    run_out(world, &id).await;
    reaches(world, &id, end, here).await;
    match end {
        "done" => (case.after_done)(world, &tenant).await,
        _ => {
            (case.after_undone)(world, &tenant).await;
            *spare = Some(tenant);
        }
    }
}

/// Begins a case at a replica that a planted fault stops, which is gone then: whose it is, its operation.
pub(crate) async fn halted(
    world: &World,
    case: &Case,
    faults: Faults,
    spare: &mut Spare,
) -> (TenantHandle, String) {
    let (tenant, id, replica) = begun(world, case, faults, spare).await;
    let speaker = world.visitor().at(&replica.url());
    let halted = format!("the runner of {id} has halted");
    eventually(DEADLINE * 4, &halted, || async {
        (speaker.get("/readyz").await.status() != 200).then_some(())
    })
    .await;
    // However long a test takes until it says so.
    leased(world, &id, "1 day").await;
    (tenant, id)
}

/// As if the time had passed for which a dead runner has an operation.
pub(crate) async fn run_out(world: &World, id: &str) {
    leased(world, id, "0").await;
}

/// As if an operation were its runner's for so long from now on.
async fn leased(world: &World, id: &str, within: &str) {
    let id: contract::OperationId = id.parse().expect("an id");
    let sql = format!(
        "update registry.operation set leased_until = now() + interval '{within}'
         where id = '{}' and leased_until is not null",
        id.uuid()
    );
    world.postgres().run("registry", &sql).await;
}

/// An undo that fails is stuck and seen, and goes on when it is tried again.
pub(crate) async fn undo_stuck_and_retried(world: &World, case: &Case) {
    let mut spare = Spare::None;
    for step in case.reversible() {
        let here = format!("{} {step:?} undo fails", case.kind.as_str());
        let faults = case.failing_late().with(case.kind, *step, Fault::FailUndo);
        let (tenant, id, replica) = begun(world, case, faults, &mut spare).await;
        reaches(world, &id, "stuck", &here).await;
        drop(replica);
        try_again(world, &id).await;
        reaches(world, &id, "undone", &here).await;
        (case.after_undone)(world, &tenant).await;
        spare = Some(tenant);
    }
    no_leftovers(world).await;
}

/// Begins a case at a replica with these faults: whose it is, its operation's id, the replica.
async fn begun(
    world: &World,
    case: &Case,
    faults: Faults,
    spare: &mut Spare,
) -> (TenantHandle, String, PlatformReplica) {
    let tenant = match spare.take() {
        Some(tenant) => tenant,
        None => (case.prepare)(world).await,
    };
    let replica = world.platform_replica(faults).await;
    let operator = world.operator().at(&replica.url());
    let answer = (case.begin)(&operator, &tenant).await;
    let id = operation_of(&answer);
    (tenant, id, replica)
}

/// The operation that an answer is about, which refusals name in their words.
pub(crate) fn operation_of(answer: &Answer) -> String {
    let text = answer.text();
    text.match_indices("op_")
        .map(|(at, _)| text[at..].chars().take(35).collect::<String>())
        .find(|id| id.parse::<contract::OperationId>().is_ok())
        .unwrap_or_else(|| panic!("{answer} names no operation"))
}

/// Lets a stuck operation go on, at the healthy replica.
pub(crate) async fn try_again(world: &World, id: &str) {
    let path = format!("/v1/operations/{id}/retry");
    let operator = world.operator();
    let answer = operator.request(http::Method::POST, &path).send().await;
    assert!(matches!(answer.status(), 200 | 202), "{answer}");
}

/// An operation as the healthy replica shows it.
pub(crate) async fn operation_at(world: &World, id: &str) -> Value {
    let path = format!("/v1/operations/{id}");
    world.operator().get(&path).await.expect(200).json()
}

/// Waits until an operation has this state; says what happened to it where it ends otherwise.
pub(crate) async fn reaches(world: &World, id: &str, wanted: &str, here: &str) {
    eventually(DEADLINE * 4, &format!("{here} is {wanted}"), || async {
        let operation = operation_at(world, id).await;
        let now = operation["state"].as_str().unwrap_or_default();
        if now == wanted {
            return Some(());
        }
        assert!(
            !matches!(now, "done" | "undone" | "stuck"),
            "{here} is {now} and not {wanted}: {operation:#}"
        );
        None
    })
    .await;
}

/// Waits for the end of what was begun, and that it is a good one.
pub(crate) async fn done(operator: &Speaker, answer: Answer) -> Value {
    let id = operation_of(&answer);
    let path = format!("/v1/operations/{id}");
    eventually(DEADLINE * 4, "the operation is done", || async {
        let operation: Value = operator.get(&path).await.expect(200).json();
        let state = operation["state"].as_str().unwrap_or_default().to_owned();
        assert!(
            !matches!(state.as_str(), "undone" | "stuck"),
            "{operation:#}"
        );
        (state == "done").then_some(operation)
    })
    .await
}

/// Keeps everybody from dropping anything on a server until it is over: what whoever drops something there
/// holds.
pub(crate) async fn drops_held_up(server: &Postgres) -> OpenTransaction {
    let lock = "select pg_advisory_xact_lock(x'74656e616e746472'::bigint)";
    server.begin("postgres", lock).await
}

/// Waits until so many wait for [`drops_held_up`].
pub(crate) async fn drops_wait(server: &Postgres, wanted: i64) {
    eventually(DEADLINE, &format!("{wanted} wait to drop"), || async {
        let waiting = "select count(*) from pg_locks
            where locktype = 'advisory' and not granted and objsubid = 1
                and classid = x'74656e61'::bigint and objid = x'6e746472'::bigint";
        (server.number("postgres", waiting).await >= wanted).then_some(())
    })
    .await;
}

/// Every derived database and role is known to the registry, no drop was left half-done, and a sweep has
/// nothing to do.
pub(crate) async fn no_leftovers(world: &World) {
    eventually(
        DEADLINE,
        "no database or role that nobody knows",
        || async {
            let known = "select 'stock:' || number from registry.stock
             union select 'tpl:' || number from registry.template
             union select name from registry.kept_database
             union select kept_name from registry.tenant
                 where kept_name is not null and purged_at is null";
            let known = world.postgres().texts("registry", known).await;
            let there = "select datname from pg_database where datname like '%:%'
             union select rolname from pg_roles where rolname like '%:%'";
            let there = world.postgres().texts("postgres", there).await;
            let broken = "select count(*) from pg_database where datconnlimit = -2";
            let broken = world.postgres().number("postgres", broken).await;
            let unknown = there.iter().any(|name| !known.contains(name));
            (!unknown && broken == 0).then_some(())
        },
    )
    .await;
    markers::agree(world.postgres()).await;
    nothing_is_found(world).await;
}

/// A sweep of all clusters, secrets and objects would find nothing.
async fn nothing_is_found(world: &World) {
    eventually(DEADLINE, "nothing for a sweep to find", || async {
        let answer = world
            .operator()
            .post("/v1/findings/sweep", serde_json::json!({ "dry_run": true }))
            .await;
        let report = answer.expect(200).json();
        (report["found"] == 0 && report["failed"] == serde_json::json!([])).then_some(())
    })
    .await;
}
