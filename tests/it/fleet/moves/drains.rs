//! Drains: all tenants of a cluster move, and what stays is named.

use futures::FutureExt as _;
use futures::future::join_all;
use serde_json::{Value, json};
use world::{OperationKind, Step, World, WorldOptions, until};

use super::super::harness::{self, Case, operation_of, reaches};
use super::super::most_during;
use super::{cluster_of, moved, prepared, stayed, works};

pub(super) fn draining() -> Case {
    Case {
        kind: OperationKind::Drain,
        steps: OperationKind::Drain.steps(),
        point_of_no_return: Step::Mark,
        prepare: |world| prepared(world).boxed(),
        begin: |operator, tenant| {
            async move {
                let cluster = cluster_of(operator, tenant.id()).await;
                operator
                    .post(&format!("/v1/clusters/{cluster}/drain"), json!({}))
                    .await
            }
            .boxed()
        },
        after_done: |world, tenant| {
            async move {
                let draining = draining_clusters(world).await;
                assert_eq!(draining.len(), 1);
                assert_ne!(
                    draining[0],
                    cluster_of(&world.operator(), tenant.id()).await
                );
                use_again(world, &draining[0]).await;
                moved(world, tenant).await;
            }
            .boxed()
        },
        after_undone: |world, tenant| {
            async move {
                assert!(draining_clusters(world).await.is_empty());
                stayed(world, tenant).await;
            }
            .boxed()
        },
    }
}

async fn draining_clusters(world: &World) -> Vec<String> {
    let sql = "select name from registry.cluster where status = 'draining'";
    world.postgres().texts("registry", sql).await
}

async fn use_again(world: &World, cluster: &str) {
    let operator = world.operator();
    let path = format!("/v1/clusters/{cluster}");
    operator
        .patch(&path, json!({ "status": "active" }))
        .await
        .expect(200);
}

#[tokio::test]
async fn drain_moves_all() {
    let world = World::with(WorldOptions::default().stock_level(1)).await;
    let tenants = join_all((0..5).map(|_| world.tenant("leaver"))).await;
    let deleted = world.tenant("zzz-deleted").await;
    world.second_cluster().await;
    let operator = world.operator();
    let path = format!("/v1/tenants/{0}?confirm={0}", deleted.id());
    operator.delete(&path).await.expect(200);
    let answer = operator
        .post("/v1/clusters/main/drain", json!({ "at_once": 3 }))
        .await;
    let id = operation_of(&answer);
    reaches(&world, &id, "done", "the drain").await;
    let operation = operator
        .get(&format!("/v1/operations/{id}"))
        .await
        .expect(200)
        .json();
    let mut result = operation["result"].clone();
    let kept = result.as_object_mut().unwrap().remove("kept_databases");
    let expected = json!({
        "tenants": 5, "moved": 5, "left": 0, "remaining": [], "kept": 6, "note": null,
    });
    assert_eq!(result, expected);
    // What nobody is served from stays for its time, and is named.
    let kept = kept.unwrap();
    let kept = kept.as_array().unwrap();
    let named = |database: &str| {
        let found = kept.iter().find(|one| one["database"] == database);
        let found = found.unwrap_or_else(|| panic!("{database} is not in {kept:#?}"));
        assert!(found["until"].is_string(), "{found}");
        found["why"].clone()
    };
    assert_eq!(named(&format!("deleted:{}:1", deleted.id())), "deleted");
    for tenant in &tenants {
        assert_eq!(named(&format!("old:{}:1", tenant.id())), "copy");
    }
    let children = operator
        .get(&format!("/v1/operations?parent={id}"))
        .await
        .expect(200)
        .json();
    assert_eq!(
        children["data"].as_array().map(Vec::len),
        Some(5),
        "{children}"
    );
    for tenant in &tenants {
        assert_eq!(cluster_of(&operator, tenant.id()).await, "second");
        works(tenant).await;
    }
    let shown = operator.get("/v1/clusters/main").await.expect(200).json();
    assert_eq!(
        (&shown["status"], &shown["tenants"]),
        (&json!("draining"), &json!(0))
    );
}

/// Begins a drain of the first cluster and gives its id.
async fn drain(world: &World) -> String {
    let body = json!({ "at_once": 1 });
    let path = "/v1/clusters/main/drain?wait=none";
    operation_of(&world.operator().post(path, body).await.expect(202))
}

/// What a drain that is done says.
async fn drained(world: &World, id: &str) -> Value {
    reaches(world, id, "done", "the drain").await;
    let path = format!("/v1/operations/{id}");
    world.operator().get(&path).await.expect(200).json()["result"].clone()
}

#[tokio::test]
async fn a_drain_leaves_behind_what_has_no_room_beside_those_that_are_on_their_way() {
    let world = World::with(WorldOptions::default().stock_level(1)).await;
    let _tenants = join_all((0..3).map(|_| world.tenant("many"))).await;
    world.second_cluster().await;
    let room = json!({ "max_databases": 2 });
    let operator = world.operator();
    operator
        .patch("/v1/clusters/second", room)
        .await
        .expect(200);
    let path = "/v1/clusters/main/drain?wait=none";
    let begun = operator.post(path, json!({ "at_once": 3 })).await;
    let result = drained(&world, &operation_of(&begun)).await;
    assert_eq!(
        (&result["left"], &result["moved"]),
        (&json!(1), &json!(2)),
        "{result:#}"
    );
}

#[tokio::test]
async fn a_drain_ends_with_those_left_that_no_cluster_takes_and_moves_the_others() {
    let world = World::with(WorldOptions::default().stock_level(1)).await;
    let stays = world.tenant("aaa").await;
    let leaves = world.tenant("bbb").await;
    let operator = world.operator();
    let result = drained(&world, &drain(&world).await).await;
    assert_eq!((&result["left"], &result["moved"]), (&json!(2), &json!(0)));
    let reason = "There is no other cluster in the region \"here\".";
    let remaining = [&stays, &leaves].map(|t| json!({ "tenant": t.id(), "reason": reason }));
    assert_eq!(result["remaining"], json!(remaining));
    world.second_cluster().await;
    let premium = json!({ "tiers": ["premium"] });
    operator
        .patch("/v1/clusters/second", &premium)
        .await
        .expect(200);
    let sql = format!(
        "update registry.tenant set tier = 'premium' where id = '{}'",
        leaves.id()
    );
    world.postgres().run("registry", &sql).await;
    let result = drained(&world, &drain(&world).await).await;
    assert_eq!((&result["left"], &result["moved"]), (&json!(1), &json!(1)));
    let left = &result["remaining"][0];
    assert_eq!(left["tenant"], json!(stays.id()), "{result:#}");
    let reason = left["reason"].as_str().unwrap();
    assert!(
        reason.contains("kept for other tiers than \"standard\""),
        "{reason}"
    );
    assert_eq!(cluster_of(&operator, leaves.id()).await, "second");
    works(&leaves).await;
    works(&stays).await;
    let every = json!({ "tiers": null });
    operator
        .patch("/v1/clusters/second", &every)
        .await
        .expect(200);
    let result = drained(&world, &drain(&world).await).await;
    assert_eq!((&result["left"], &result["moved"]), (&json!(0), &json!(1)));
    assert_eq!(cluster_of(&operator, stays.id()).await, "second");
}

#[tokio::test]
async fn a_drain_tries_those_that_no_cluster_took_once_more_at_its_end() {
    let world = World::with(WorldOptions::default().stock_level(1)).await;
    let refused = world.tenant("aaa").await;
    let busy = world.tenant("bbb").await;
    world.second_cluster().await;
    let operator = world.operator();
    let tiers = async |tiers: Value| {
        let patch = json!({ "tiers": tiers });
        operator
            .patch("/v1/clusters/second", patch)
            .await
            .expect(200);
    };
    tiers(json!(["premium"])).await;
    // As if somebody were making it: the drain waits for it.
    world.set_status(busy.id(), "provisioning").await;
    let id = drain(&world).await;
    let path = format!("/v1/operations/{id}");
    until("the first one was refused", || async {
        let operation = operator.get(&path).await.expect(200).json();
        let note = operation["progress"]["note"].as_str().unwrap_or_default();
        note.starts_with("No other cluster")
    })
    .await;
    tiers(Value::Null).await;
    world.set_status(busy.id(), "active").await;
    let result = drained(&world, &id).await;
    assert_eq!((&result["left"], &result["moved"]), (&json!(0), &json!(2)));
    assert_eq!(cluster_of(&operator, refused.id()).await, "second");
}

#[tokio::test]
async fn a_drain_that_waits_is_cancelled_and_names_what_is_left() {
    let world = World::with(WorldOptions::default().stock_level(1)).await;
    let acme = world.tenant("acme").await;
    world.second_cluster().await;
    // As if somebody were making it all the time.
    world.set_status(acme.id(), "provisioning").await;
    let id = drain(&world).await;
    let path = format!("/v1/operations/{id}");
    until("it waits for the tenant", || async {
        let operation = world.operator().get(&path).await.expect(200).json();
        operation["progress"]["total"] == 1
    })
    .await;
    let cancel = format!("{path}/cancel");
    world.operator().post(&cancel, json!({})).await.expect(202);
    let result = drained(&world, &id).await;
    assert_eq!((&result["left"], &result["moved"]), (&json!(1), &json!(0)));
    assert_eq!(result["remaining"][0]["tenant"], json!(acme.id()));
    let note = result["note"].as_str().expect("it says so");
    assert!(note.starts_with("It was cancelled"), "{note}");
}

#[tokio::test]
async fn a_drain_that_waited_too_long_waits_as_long_again_when_it_is_tried_again() {
    let world = World::with(WorldOptions::default().stock_level(1)).await;
    let acme = world.tenant("acme").await;
    world.second_cluster().await;
    world.set_status(acme.id(), "provisioning").await;
    let id = drain(&world).await;
    // Runners know its age from when they leased it.
    let old = format!(
        "update registry.operation set created_at = now() - interval '60 days', lease = null
         where id = '{}'",
        id.trim_start_matches("op_")
    );
    world.postgres().run("registry", &old).await;
    reaches(&world, &id, "stuck", "the drain").await;
    let retry = format!("/v1/operations/{id}/retry");
    world.operator().post(&retry, json!({})).await.expect(202);
    world.set_status(acme.id(), "active").await;
    assert_eq!(drained(&world, &id).await["moved"], 1);
}

#[tokio::test]
async fn every_step_of_a_drain_fails_runs_twice_and_is_killed() {
    let world = World::with(harness::patient()).await;
    harness::every_step_twice(&world, &draining()).await;
    harness::every_step_fails(&world, &draining()).await;
    drop(world);
    let world = World::with(harness::impatient()).await;
    harness::every_instruction_killed(&world, &draining()).await;
}

#[tokio::test]
async fn no_more_tenants_of_a_drain_move_at_once_than_was_said() {
    const AT_ONCE: usize = 2;
    let world = World::with(WorldOptions::default().stock_level(1)).await;
    join_all((0..6).map(|_| world.tenant("leaver"))).await;
    world.second_cluster().await;
    let work = async {
        let path = "/v1/clusters/main/drain?wait=none";
        let body = json!({ "at_once": AT_ONCE });
        let id = operation_of(&world.operator().post(path, body).await.expect(202));
        drained(&world, &id).await
    };
    let look = async || {
        let sql = "select count(*) from registry.operation
             where kind = 'move' and state not in ('done', 'undone')";
        usize::try_from(world.postgres().number("registry", sql).await).unwrap()
    };
    let (most, result) = most_during(work, look).await;
    assert_eq!(most, AT_ONCE);
    assert_eq!(result["moved"], 6, "{result:#}");
}
