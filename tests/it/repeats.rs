//! The same request with its key, at two replicas of the platform at once.
//!
//! Deliberately with locks in the registry, so that the order of events is certain; what one replica does
//! with repeats is in `provisioning`. Invariant: a repeat answers the first request's state, whatever that
//! one has changed meanwhile.

use contract::Code;
use futures::future::join_all;
use serde_json::{Value, json};
use world::{Answer, Fault, Faults, OperationKind, Speaker, Step, World, until};

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
