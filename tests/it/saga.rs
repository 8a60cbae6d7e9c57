//! The operation that makes a tenant: failed, repeated, killed and stuck at every step.
//!
//! Each case is planted into a replica of platform-service of its own; the world's first replica is
//! healthy and shares the work.

use contract::Code;
use futures::StreamExt;
use futures::stream;
use serde_json::json;
use world::{
    Answer, DEADLINE, Fault, Faults, OperationKind, PASSWORD, PlatformReplica, Step, World,
    WorldOptions, eventually, until,
};

use crate::fleet::harness::points;
use crate::support::{signup, unique};

const KIND: OperationKind = OperationKind::Create;
/// Cases at once: each has a replica, and replicas have connections.
pub(crate) const AT_ONCE: usize = 3;

/// Room for several replicas of platform-service.
pub(crate) fn roomy(stock: u32) -> WorldOptions {
    WorldOptions::default()
        .stock_level(stock)
        .budget(30)
        .platform_setting("signup.wait", "300ms")
        .platform_setting("registry.max_connections", "5")
        .platform_setting("operations.check_every", "100ms")
}

/// A world whose replicas live: none takes over from another.
async fn patient(stock: u32) -> World {
    World::with(roomy(stock).platform_setting("operations.lease", "30s")).await
}

/// As if the time had passed for which a dead runner has the sign-up of a tenant.
pub(crate) async fn run_out(world: &World, slug: &str) {
    let sql = format!(
        "update registry.operation set leased_until = now()
         where tenant_id = '{}' and leased_until is not null",
        id_of(slug)
    );
    world.postgres().run("registry", &sql).await;
}

/// Waits until the planted fault has stopped the replica's runner.
pub(crate) async fn halted(world: &World, replica: &PlatformReplica) {
    let speaker = world.visitor().at(&replica.url());
    until("the runner has halted", || async {
        speaker.get("/readyz").await.status() != 200
    })
    .await;
}

/// A sign-up at a replica.
pub(crate) async fn sign_up_at(world: &World, replica: &PlatformReplica, slug: &str) -> Answer {
    world
        .visitor()
        .at(&replica.url())
        .post("/v1/signup", signup(slug))
        .await
}

pub(crate) fn id_of(slug: &str) -> String {
    format!("t_{}", slug.replace('-', "_"))
}

/// What the server, the registry and the secret store have of a slug.
pub(crate) async fn traces(world: &World, slug: &str) -> Vec<String> {
    let id = id_of(slug);
    let mut found: Vec<String> = world
        .postgres()
        .names()
        .await
        .into_iter()
        .filter(|name| name.contains(&id))
        .collect();
    let sql = format!("select id from registry.tenant where slug = '{slug}' or id = '{id}'");
    found.extend(world.postgres().texts("registry", &sql).await);
    let plans = format!(
        "select plan::text from registry.operation
         where tenant_id = '{id}' and plan <> '{{}}' and state in ('done', 'undone')"
    );
    found.extend(world.postgres().texts("registry", &plans).await);
    let claims = format!(
        "select 'claimed ' || stock.number from registry.stock
         join registry.operation on operation.id = stock.claimed_by where tenant_id = '{id}'"
    );
    found.extend(world.postgres().texts("registry", &claims).await);
    found
}

/// Where the newest operation of a slug stands.
async fn state(world: &World, slug: &str) -> String {
    let sql = format!(
        "select state from registry.operation where tenant_id = '{}' order by created_at desc limit 1",
        id_of(slug)
    );
    world
        .postgres()
        .texts("registry", &sql)
        .await
        .pop()
        .unwrap_or_default()
}

pub(crate) async fn reaches(world: &World, slug: &str, wanted: &str) {
    let started = std::time::Instant::now();
    until_over(world, slug, wanted, || started.elapsed() < DEADLINE).await;
}

/// Waits for a state; says what happened to the operation where it does not come.
async fn until_over(world: &World, slug: &str, wanted: &str, patient: impl Fn() -> bool) {
    eventually(DEADLINE * 2, &format!("{slug} is {wanted}"), || async {
        let now = state(world, slug).await;
        if now == wanted {
            return Some(());
        }
        let over = matches!(now.as_str(), "done" | "undone" | "stuck");
        if patient() && !over {
            return None;
        }
        let log = format!(
            "select concat_ws(' ', s.step, s.event, s.detail) from registry.operation_step s
             join registry.operation o on o.id = s.operation_id
             where o.tenant_id = '{}' order by s.number",
            id_of(slug)
        );
        let log = world.postgres().texts("registry", &log).await;
        panic!("{slug} is {now:?} and not {wanted}: {log:#?}");
    })
    .await;
}

pub(crate) async fn owner_logs_in(world: &World, slug: &str) {
    let login = json!({ "email": format!("owner@{slug}.example"), "password": PASSWORD });
    let door = world.anonymous().in_tenant(&id_of(slug));
    door.post("/v1/auth/login", login).await.expect(200);
}

/// Every derived database and role belongs to a row, and no drop was left half-done.
async fn no_orphans(world: &World) {
    eventually(
        DEADLINE,
        "no derived database or role without a row",
        || async {
            let known = "select 'stock:' || number from registry.stock
             union select 'tpl:' || number from registry.template where status <> 'retired'";
            let known = world.postgres().texts("registry", known).await;
            let there = "select datname from pg_database where datname like '%:%'
             union select rolname from pg_roles where rolname like '%:%'";
            let there = world.postgres().texts("postgres", there).await;
            let broken = "select count(*) from pg_database where datconnlimit = -2";
            let broken = world.postgres().number("postgres", broken).await;
            (there.iter().all(|name| known.contains(name)) && broken == 0).then_some(())
        },
    )
    .await;
}

#[tokio::test]
async fn a_step_that_fails_leaves_nothing_and_frees_the_name() {
    for stock in [0, 2] {
        let world = patient(stock).await;
        let cases = KIND.steps().iter().copied().flat_map(|step| {
            [Fault::FailBeforeAct, Fault::FailAfterAct].map(|fault| (step, fault))
        });
        stream::iter(cases)
            .for_each_concurrent(AT_ONCE, |(step, fault)| {
                let world = world.clone();
                async move {
                    let slug = unique("fails");
                    let replica = world
                        .platform_replica(Faults::none().with(KIND, step, fault))
                        .await;
                    let answer = sign_up_at(&world, &replica, &slug).await;
                    let here = format!("{step:?} {fault:?}: {answer}");
                    if answer.status() == 202 {
                        reaches(&world, &slug, "undone").await;
                    } else {
                        assert_eq!(answer.code(), Code::Internal, "{here}");
                    }
                    assert_eq!(state(&world, &slug).await, "undone", "{here}");
                    assert_eq!(traces(&world, &slug).await, Vec::<String>::new(), "{here}");
                    // It was that step: the log says so.
                    let failed = format!(
                        "select distinct s.step from registry.operation_step s
                         join registry.operation o on o.id = s.operation_id
                         where o.tenant_id = '{}' and s.event = 'failed'",
                        id_of(&slug)
                    );
                    let failed = world.postgres().texts("registry", &failed).await;
                    assert_eq!(failed, [step.as_str()], "{here}");
                    // The name is free: the next one may have it.
                    world.sign_up(signup(&slug)).await;
                    owner_logs_in(&world, &slug).await;
                }
            })
            .await;
        no_orphans(&world).await;
    }
}

#[tokio::test]
async fn every_step_and_every_undo_may_run_twice() {
    let world = patient(1).await;
    let acts = KIND
        .steps()
        .iter()
        .copied()
        .map(|step| (Faults::none().with(KIND, step, Fault::RepeatAct), "done"));
    let undos = KIND.steps().iter().copied().map(|step| {
        let failing = Faults::none().with(KIND, Step::Activate, Fault::FailAfterAct);
        (failing.with(KIND, step, Fault::RepeatUndo), "undone")
    });
    stream::iter(acts.chain(undos))
        .for_each_concurrent(AT_ONCE, |(faults, wanted)| {
            let world = world.clone();
            async move {
                let slug = unique("twice");
                let replica = world.platform_replica(faults.clone()).await;
                let answer = sign_up_at(&world, &replica, &slug).await;
                reaches(&world, &slug, wanted).await;
                if wanted == "done" {
                    owner_logs_in(&world, &slug).await;
                    let owners = "select count(*) from auth.account";
                    assert_eq!(world.postgres().number(&id_of(&slug), owners).await, 1);
                } else {
                    let left = traces(&world, &slug).await;
                    assert_eq!(left, Vec::<String>::new(), "{faults:?}: {answer}");
                }
            }
        })
        .await;
    no_orphans(&world).await;
}

#[tokio::test]
async fn a_ready_copy_that_was_claimed_before_is_found_by_looking() {
    let world = patient(1).await;
    let faults = Faults::none().with(KIND, Step::Database, Fault::RepeatAct);
    let replica = world.platform_replica(faults).await;
    // The second of them makes its copy itself, or finds the next ready one.
    for slug in [unique("ready"), unique("ready")] {
        sign_up_at(&world, &replica, &slug).await;
        reaches(&world, &slug, "done").await;
        let waited = format!(
            "select count(*) from registry.operation_step s
             join registry.operation o on o.id = s.operation_id
             where o.tenant_id = '{}' and s.step = 'database' and s.event = 'postponed'",
            id_of(&slug)
        );
        assert_eq!(
            world.postgres().number("registry", &waited).await,
            0,
            "{slug}"
        );
        owner_logs_in(&world, &slug).await;
    }
    no_orphans(&world).await;
}

#[tokio::test]
async fn a_killed_platform_is_taken_over_at_every_instruction() {
    let world = patient(1).await;
    let after = [Fault::HaltAfterAct, Fault::HaltAfterLog];
    // One after the other: replicas with other faults would take part in the work.
    for (step, halt) in points(KIND.steps(), Fault::HaltBeforeAct, after) {
        let slug = unique("killed");
        let replica = world
            .platform_replica(Faults::none().with(KIND, step, halt))
            .await;
        sign_up_at(&world, &replica, &slug).await;
        halted(&world, &replica).await;
        drop(replica);
        run_out(&world, &slug).await;
        reaches(&world, &slug, "done").await;
        owner_logs_in(&world, &slug).await;
    }
    no_orphans(&world).await;
}

#[tokio::test]
async fn a_platform_killed_while_it_undoes_is_taken_over_too() {
    let world = patient(1).await;
    let undone: Vec<Step> = KIND.steps().iter().rev().copied().collect();
    let after = [Fault::HaltAfterUndo, Fault::HaltAfterUndoLog];
    // One after the other: replicas with other faults would take part in the work.
    for (step, halt) in points(&undone, Fault::HaltBeforeUndo, after) {
        let slug = unique("killed");
        let faults = Faults::none()
            .with(KIND, Step::Activate, Fault::FailAfterAct)
            .with(KIND, step, halt);
        let replica = world.platform_replica(faults).await;
        sign_up_at(&world, &replica, &slug).await;
        halted(&world, &replica).await;
        drop(replica);
        run_out(&world, &slug).await;
        reaches(&world, &slug, "undone").await;
        let left = traces(&world, &slug).await;
        assert_eq!(left, Vec::<String>::new(), "{step:?} {halt:?}");
    }
    no_orphans(&world).await;
}

/// A sign-up whose last step fails, and then the undo of `step`; its operation's id.
///
/// The replica with the faults is gone afterwards: what goes on later, the healthy one does.
async fn stuck_at(world: &World, step: Step, slug: &str) -> String {
    let faults = Faults::none()
        .with(KIND, Step::Activate, Fault::FailAfterAct)
        .with(KIND, step, Fault::FailUndo);
    let replica = world.platform_replica(faults).await;
    let answer = sign_up_at(world, &replica, slug).await.expect(202);
    reaches(world, slug, "stuck").await;
    drop(replica);
    let operation = world.operation(&answer).await;
    assert_eq!(operation["state"], "stuck");
    assert_eq!(operation["step"], step.as_str());
    let log = operation["log"].as_array().unwrap();
    assert_eq!(log.last().unwrap()["event"], "undo_failed", "{operation}");
    operation["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn an_undo_that_fails_is_stuck_and_seen_and_can_be_tried_again() {
    let world = patient(1).await;
    // All are stuck before the first is tried again: any replica may take up what is tried again,
    // and none with a fault must be there to do it.
    let stuck: Vec<(Step, String, String)> = stream::iter(KIND.steps().iter().copied())
        .map(|step| {
            let world = world.clone();
            async move {
                let slug = unique("stuck");
                let id = stuck_at(&world, step, &slug).await;
                (step, slug, id)
            }
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    for (step, slug, id) in stuck {
        // The name stays taken as long as something of it may be left.
        let taken = world.visitor().post("/v1/signup", signup(&slug)).await;
        taken.expect(409).refused(Code::SlugTaken);
        // Operators find it, and let it go on.
        let seen = world.operator().get(&format!("/v1/operations/{id}")).await;
        assert_eq!(seen.expect(200).json()["state"], "stuck");
        let path = format!("/v1/tenants/{}", id_of(&slug));
        let tenant = world.operator().get(&path).await.expect(200).json();
        assert_eq!(tenant["status"], "provisioning");
        let retry = format!("/v1/operations/{id}/retry");
        let answer = world
            .operator()
            .request(http::Method::POST, &retry)
            .send()
            .await;
        assert!(matches!(answer.status(), 200 | 202), "{answer}");
        reaches(&world, &slug, "undone").await;
        assert_eq!(
            traces(&world, &slug).await,
            Vec::<String>::new(),
            "{step:?}"
        );
    }
    no_orphans(&world).await;
}

/// Notes who claims which of the ready copies.
const NOTE_CLAIMS: &str = "create table public.claim (stock bigint, operation uuid);
     create function public.note_claim() returns trigger language plpgsql security definer as $$
         begin insert into public.claim values (new.number, new.claimed_by); return null; end $$;
     create trigger claim after update on registry.stock for each row
         when (new.claimed_by is not null and new.claimed_by is distinct from old.claimed_by)
         execute function public.note_claim()";

#[tokio::test]
async fn an_operation_that_cannot_be_read_is_left_to_others_and_is_stuck_when_there_are_none() {
    let world = patient(1).await;
    let (operator, registry) = (world.operator(), world.postgres());
    let tenant = world.tenant("unreadable").await;
    let id = uuid::Uuid::now_v7();
    // As another release would have begun it.
    let begun = format!(
        "insert into registry.operation (id, kind, tenant_id, state, step, plan, requested_by)
         values ('{id}', 'suspend', '{}', 'running', 'wall', '{{\"of\": \"another release\"}}', 'platform')",
        tenant.id()
    );
    registry.run("registry", &begun).await;
    let path = format!("/v1/operations/op_{}", id.simple());
    let laid_aside = async || {
        let sql = format!(
            "select count(*) from registry.operation
             where id = '{id}' and lease is null and run_at > now()"
        );
        until("it is laid aside", || async {
            registry.number("registry", &sql).await == 1
        })
        .await;
        operator.get(&path).await.expect(200).json()["state"].clone()
    };
    assert_eq!(laid_aside().await, "running");
    world.tenant("others-go-on").await;
    let cancel = format!("{path}/cancel");
    let refused = operator.post(&cancel, json!({})).await;
    refused.refused(Code::NotCancellable);
    let old = format!(
        "update registry.operation set unreadable_since = now() - interval '1 hour', run_at = now()
         where id = '{id}'"
    );
    registry.run("registry", &old).await;
    until("it is stuck", || async {
        let shown = operator.get(&path).await.expect(200).json();
        shown["state"] == "stuck"
            && shown["failure"]["detail"]
                .to_string()
                .contains("cannot read")
    })
    .await;
    let retry = format!("{path}/retry");
    operator.post(&retry, json!({})).await.expect(202);
    assert_eq!(laid_aside().await, "running");
}

#[tokio::test]
async fn many_sign_ups_at_once_all_end_active_and_none_takes_a_copy_of_another() {
    const STOCK: u32 = 8;
    const SIGN_UPS: usize = 32;
    // A sign-up that gets no connection in time is refused, and all of them want one at once.
    let options = roomy(STOCK).platform_setting("registry.max_connections", "10");
    let world = World::with(options.platform_setting("operations.lease", "30s")).await;
    world.postgres().run("registry", NOTE_CLAIMS).await;
    let other = world.platform_replica(Faults::none()).await;
    let slugs: Vec<String> = (0..SIGN_UPS).map(|_| unique("many")).collect();
    let asked = slugs.iter().enumerate().map(|(n, slug)| {
        let visitor = world.visitor();
        let visitor = if n % 2 == 0 {
            visitor.at(&other.url())
        } else {
            visitor
        };
        async move { visitor.post("/v1/signup", signup(slug)).await }
    });
    for answer in futures::future::join_all(asked).await {
        assert!(matches!(answer.status(), 201 | 202), "{answer}");
    }
    for slug in &slugs {
        reaches(&world, slug, "done").await;
    }
    let owners = "select count(distinct id) from registry.tenant where status = 'active'";
    assert_eq!(world.postgres().number("registry", owners).await, 32);
    let twice = "select stock::text from public.claim group by stock having count(*) > 1";
    let twice = world.postgres().texts("registry", twice).await;
    assert_eq!(twice, Vec::<String>::new(), "claimed by two");
    let claims = "select count(*) from public.claim";
    let claims = world.postgres().number("registry", claims).await;
    assert!(claims >= i64::from(STOCK), "{claims} of the ready copies");
    no_orphans(&world).await;
}
