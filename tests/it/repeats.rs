//! The same request with its key, at two replicas of the platform at once.
//!
//! Deliberately with locks in the registry, so that the order of events is certain; what one replica does
//! with repeats is in `provisioning`. Invariant: a repeat answers the first request's state, whatever that
//! one has changed meanwhile.

use contract::Code;
use futures::future::join_all;
use serde_json::{Value, json};
use world::{Answer, Fault, Faults, OperationKind, Speaker, Step, World, until};

use crate::fleet::harness;
use crate::saga::{self, halted};
use crate::support::{signup, unique};

/// Waits until so many sessions wait for a lock with a statement like this.
async fn waits(world: &World, like: &str, sessions: i64) {
    let sql = format!(
        "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query like '%{like}%'"
    );
    until(like, || async {
        world.postgres().number("postgres", &sql).await >= sessions
    })
    .await;
}

/// Sends a request in a task of its own, so that it goes on while the test looks elsewhere.
fn send(speaker: Speaker, path: &str, body: Value) -> tokio::task::JoinHandle<Answer> {
    let path = path.to_owned();
    tokio::spawn(async move { speaker.post(&path, body).await })
}

/// Sends a request that makes a tenant to both replicas: the second one has looked for the key, and looks
/// for the slug when the first one has committed.
async fn one_after_the_other(
    world: &World,
    [first, second]: [Speaker; 2],
    path: &str,
    body: Value,
) -> [Answer; 2] {
    // The first one has checked everything, and waits to write.
    let written = "registry.tenant in share mode";
    let held = world.postgres().lock("registry", written).await;
    let first = send(first, path, body.clone());
    waits(world, "insert into registry.tenant", 1).await;
    // Behind it, somebody who keeps the second one from reading until the first one has committed.
    let server = world.clone();
    let gate = tokio::spawn(async move {
        let read = "registry.tenant in access exclusive mode";
        drop(server.postgres().lock("registry", read).await);
    });
    waits(world, "access exclusive mode", 1).await;
    let second = send(second, path, body);
    waits(world, "from registry.tenant", 1).await;
    drop(held);
    gate.await.unwrap();
    [first.await.unwrap(), second.await.unwrap()]
}

#[tokio::test]
async fn what_another_replica_records_meanwhile_is_no_refusal() {
    let world = World::start().await;
    let replica = world.platform_replica(Faults::none()).await;
    let acme = world.tenant("original").await;
    let slug = unique("twice");
    let visitor = world.visitor().header("idempotency-key", &slug);
    let elsewhere = visitor.clone().from_another_address().at(&replica.url());
    let speakers = [visitor, elsewhere];
    let [first, second] = one_after_the_other(&world, speakers, "/v1/signup", signup(&slug)).await;
    for answer in [&first, &second] {
        assert!(matches!(answer.status(), 201 | 202), "{answer}");
    }
    assert_eq!(first.json()["id"], second.json()["id"]);
    // Operators' operations too.
    let slug = unique("copy");
    let operator = world.operator().header("idempotency-key", &slug);
    let speakers = [operator.clone(), operator.at(&replica.url())];
    let path = format!("/v1/tenants/{}/clones?wait=none", acme.id());
    let body = json!({ "slug": slug });
    let [first, second] = one_after_the_other(&world, speakers, &path, body).await;
    for answer in [&first, &second] {
        assert!(matches!(answer.status(), 200 | 202), "{answer}");
    }
    assert_eq!(first.json()["id"], second.json()["id"]);
}

#[tokio::test]
async fn racing_posts_with_one_key_at_two_replicas_make_one_tenant() {
    let world = World::start().await;
    let replica = world.platform_replica(Faults::none()).await;
    for _ in 0..3 {
        let (slug, key) = (unique("race"), unique("key"));
        let posts = (0..20).map(|number| {
            let visitor = world.visitor().header("idempotency-key", &key);
            let visitor = match number % 2 {
                0 => visitor,
                _ => visitor.at(&replica.url()),
            };
            send(visitor, "/v1/signup", signup(&slug))
        });
        let answers = join_all(posts).await;
        let mut made = 0;
        for answer in answers {
            let answer = answer.unwrap();
            match answer.status() {
                201 | 202 => made += 1,
                _ => {
                    answer.expect(409).refused(Code::IdempotencyKeyInProgress);
                }
            }
        }
        assert!(made >= 1);
        let of_it = format!("select count(*) from registry.tenant where slug = '{slug}'");
        assert_eq!(world.postgres().number("registry", &of_it).await, 1);
    }
}

/// The operations of a tenant, by their states.
async fn operations(world: &World, slug: &str) -> Vec<String> {
    let sql = format!(
        "select state from registry.operation where tenant_id = '{}' order by created_at",
        crate::saga::id_of(slug)
    );
    world.postgres().texts("registry", &sql).await
}

#[tokio::test]
async fn what_was_undone_for_something_that_passes_begins_anew_with_its_key() {
    let world = World::start().await;
    let replica = world.platform_replica(Faults::none()).await;
    world.tenant("first").await;
    let operator = world.operator();
    let room = async |databases: u32| {
        let body = json!({ "max_databases": databases });
        operator.patch("/v1/clusters/main", body).await.expect(200);
    };
    room(1).await;
    let (slug, key) = (unique("passes"), unique("key"));
    let visitor = world.visitor().header("idempotency-key", &key);
    for tries in 1..3 {
        let full = visitor.post("/v1/signup", signup(&slug)).await.expect(503);
        full.refused(Code::Overloaded);
        assert!(!full.header("retry-after").is_empty());
        assert_eq!(operations(&world, &slug).await, vec!["undone"; tries]);
    }
    room(10).await;
    let posts = (0..10).map(|number| {
        let visitor = match number % 2 {
            0 => visitor.clone(),
            _ => visitor.clone().at(&replica.url()),
        };
        send(visitor, "/v1/signup", signup(&slug))
    });
    for answer in join_all(posts).await {
        let answer = answer.unwrap();
        if !matches!(answer.status(), 201 | 202) {
            answer.expect(409).refused(Code::IdempotencyKeyInProgress);
        }
    }
    until("it is made, once", || async {
        operations(&world, &slug).await == ["undone", "undone", "done"]
    })
    .await;
    let made = visitor.post("/v1/signup", signup(&slug)).await.expect(201);
    assert_eq!(made.json()["slug"], slug);
    let other = visitor.post("/v1/signup", signup(&unique("other"))).await;
    other.expect(422).refused(Code::IdempotencyKeyReused);
}

#[tokio::test]
async fn what_was_undone_for_good_answers_so_again() {
    let world = World::start().await;
    let faults = Faults::none().with(OperationKind::Create, Step::Database, Fault::FailBeforeAct);
    let failing = world.platform_replica(faults).await;
    let slug = unique("lasting");
    let visitor = world.visitor().header("idempotency-key", &slug);
    let there = visitor.clone().at(&failing.url());
    there.post("/v1/signup", signup(&slug)).await;
    until("it is undone", || async {
        operations(&world, &slug).await == ["undone"]
    })
    .await;
    let again = visitor.post("/v1/signup", signup(&slug)).await.expect(500);
    again.refused(Code::Internal);
    assert_eq!(operations(&world, &slug).await, ["undone"]);
}

/// Where a replica is killed that has recorded an operation.
#[derive(Debug, Clone, Copy)]
enum Killed {
    /// Nothing of it is done, and its caller waits.
    AtItsBegin,
    /// All of it is done; what its caller is told is lost.
    AtItsEnd,
}

/// Posts to a replica that is killed after it recorded the operation; gives the operation's id.
async fn killed_before_its_answer(
    world: &World,
    (kind, killed): (OperationKind, Killed),
    (speaker, path, body): (Speaker, &str, Value),
    tenant: &str,
) -> String {
    let before = operation_ids(world, tenant).await.len();
    match killed {
        Killed::AtItsBegin => {
            let replica = world.platform_replica(Faults::none()).await;
            // What comes after the record cannot be written.
            let wall = "create or replace function public.wait_here() returns trigger language plpgsql as $$
                     begin perform pg_advisory_xact_lock_shared(4711); return new; end $$;
                 create or replace trigger wait_here before update on registry.operation
                     for each row execute function public.wait_here()";
            let postgres = world.postgres();
            postgres.run("registry", wall).await;
            let held = "select pg_advisory_xact_lock(4711)";
            let held = postgres.begin("registry", held).await;
            let lost = send(speaker.at(&replica.url()), path, body);
            waits(world, "update registry.operation", 1).await;
            assert_eq!(operation_ids(world, tenant).await.len(), before + 1);
            drop(replica);
            drop(held);
            assert!(lost.await.is_err(), "{kind:?}: it was answered");
        }
        Killed::AtItsEnd => {
            let last = *kind.steps().last().unwrap();
            let faults = Faults::none().with(kind, last, Fault::HaltAfterLog);
            let replica = world.platform_replica(faults).await;
            let lost = send(speaker.at(&replica.url()), path, body);
            halted(world, &replica).await;
            drop(replica);
            drop(lost.await);
        }
    }
    // As if the time had passed for which the dead runner has it.
    let over = format!(
        "update registry.operation set leased_until = now()
         where tenant_id = '{tenant}' and leased_until is not null"
    );
    world.postgres().run("registry", &over).await;
    let ids = operation_ids(world, tenant).await;
    ids.last().unwrap().clone()
}

/// The operations of a tenant, the newest last.
async fn operation_ids(world: &World, tenant: &str) -> Vec<String> {
    let sql = format!(
        "select 'op_' || replace(id::text, '-', '') from registry.operation
         where tenant_id = '{tenant}' order by created_at"
    );
    world.postgres().texts("registry", &sql).await
}

#[tokio::test]
async fn a_replica_killed_before_its_answer_has_made_one_tenant_for_the_key() {
    let options = saga::roomy(1).platform_setting("signup.wait", "25s");
    let world = World::with(options.platform_setting("operations.lease", "30s")).await;
    let kind = OperationKind::Create;
    for killed in [Killed::AtItsBegin, Killed::AtItsEnd] {
        let slug = unique("unheard");
        let id = saga::id_of(&slug);
        let visitor = world.visitor().header("idempotency-key", &slug);
        let request = (visitor.clone(), "/v1/signup", signup(&slug));
        let operation = killed_before_its_answer(&world, (kind, killed), request, &id).await;
        let made = visitor.post("/v1/signup", signup(&slug)).await;
        assert_eq!(made.json()["id"], id, "{made}");
        if made.status() == 202 {
            assert_eq!(world.operation(&made).await["state"], "done");
        }
        assert_eq!(operation_ids(&world, &id).await, [operation]);
        saga::owner_logs_in(&world, &slug).await;
        let names = world.postgres().names().await;
        let named = names.iter().filter(|name| name.contains(&id));
        // Its database and its role.
        assert_eq!(named.count(), 2, "{names:?}");
    }
}

#[tokio::test]
async fn a_replica_killed_before_its_answer_has_begun_one_operation_for_the_key() {
    let options = saga::roomy(1).platform_setting("operations.lease", "30s");
    let (options, _folder) = crate::fleet::backups::keeping(options);
    let world = World::with(options).await;
    let acme = world.tenant("unheard-of").await;
    let id = acme.id().as_str();
    let path = |what: &str| format!("/v1/tenants/{id}/{what}");
    let backups = format!("select count(*) from registry.backup where tenant_id = '{id}'");
    for (kind, path, body) in [
        (OperationKind::Backup, path("backups"), json!({})),
        (
            OperationKind::Suspend,
            path("suspend"),
            json!({ "wall": "blocked" }),
        ),
    ] {
        for (round, killed) in (1..).zip([Killed::AtItsBegin, Killed::AtItsEnd]) {
            let before = operation_ids(&world, id).await;
            let operator = world.operator().header("idempotency-key", &unique("key"));
            let request = (operator.clone(), path.as_str(), body.clone());
            let operation = killed_before_its_answer(&world, (kind, killed), request, id).await;
            let again = operator.post(&path, &body).await;
            assert_eq!(harness::operation_of(&again), operation);
            harness::done(&operator, again).await;
            let after = operation_ids(&world, id).await;
            assert_eq!(after, [before, vec![operation]].concat());
            if kind == OperationKind::Backup {
                assert_eq!(world.postgres().number("registry", &backups).await, round);
            } else {
                let resume = format!("/v1/tenants/{id}/resume");
                let resumed = world.operator().post(&resume, json!({})).await;
                harness::done(&operator, resumed).await;
            }
        }
    }
}
