//! What a move leaves on a server that is away when it is undone.

use serde_json::{Value, json};
use world::{Cluster, Fault, Faults, Postgres, Step, StopMode, TenantHandle, World, until};

use super::super::harness::{self, halted, reaches, run_out};
use super::super::life;
use super::{move_to, moved, moving, servers, works};

/// A tenant whose move was undone while the other server, on which all up to `last` was done already, was away;
/// with that server, which is back.
async fn left_behind(world: &World, last: Step) -> (TenantHandle, &Postgres) {
    let case = moving();
    let faults = case
        .fault(last, Fault::FailAfterAct)
        .with(case.kind, last, Fault::HaltBeforeUndo);
    let (tenant, id) = halted(world, &case, faults, &mut None).await;
    let (_, there) = servers(world, tenant.id()).await;
    there.stop(StopMode::Immediate).await;
    run_out(world, &id).await;
    // The tenant does not wait for a server that it is not on.
    reaches(world, &id, "undone", "the move").await;
    works(&tenant).await;
    // The sweep comes when a test says so.
    due(world, &tenant, "1 day").await;
    there.start_again().await;
    assert_eq!(databases(there, &tenant).await, 1, "it was made there");
    (tenant, there)
}

/// Whether a move of it is under way.
async fn is_moved(world: &World, tenant: &TenantHandle) -> bool {
    let moves = format!(
        "select count(*) from registry.operation
         where kind = 'move' and state = 'running' and tenant_id = '{}'",
        tenant.id()
    );
    world.postgres().number("registry", &moves).await == 1
}

/// As if what was left were due in this time.
async fn due(world: &World, tenant: &TenantHandle, within: &str) {
    let sql = format!(
        "update registry.kept_database set drop_after = now() + interval '{within}'
         where tenant_id = '{}' and drop_after is not null",
        tenant.id()
    );
    world.postgres().run("registry", &sql).await;
}

async fn databases(server: &Postgres, tenant: &TenantHandle) -> i64 {
    let sql = format!(
        "select count(*) from pg_database where datname ~ '{}'",
        tenant.id()
    );
    server.number("postgres", &sql).await
}

#[tokio::test]
async fn a_copy_that_was_left_is_in_nobodys_way() {
    let world = World::with(harness::patient()).await;
    let (tenant, _) = left_behind(&world, Step::Switch).await;
    move_to(&world, &tenant, "second", "dump").await;
    moved(&world, &tenant).await;
    harness::no_leftovers(&world).await;
}

#[tokio::test]
async fn a_sweep_that_comes_late_drops_nothing_of_the_next_move() {
    let world = World::with(harness::patient()).await;
    let (tenant, there) = left_behind(&world, Step::Target).await;
    let oid = format!(
        "select oid::bigint from pg_database where datname ~ '{}'",
        tenant.id()
    );
    let made = there.number("postgres", &oid).await;
    let drops = harness::drops_held_up(there).await;
    due(&world, &tenant, "0").await;
    // Its first look comes soon.
    let _sweeping = world.platform_replica(Faults::none()).await;
    harness::drops_wait(there, 1).await;
    let both_wait = async {
        until("the next move has begun", || is_moved(&world, &tenant)).await;
        harness::drops_wait(there, 2).await;
        drops.commit().await;
    };
    futures::join!(move_to(&world, &tenant, "second", "dump"), both_wait);
    moved(&world, &tenant).await;
    assert_eq!(
        there.number("postgres", &oid).await,
        made,
        "what was there and empty is used"
    );
    harness::no_leftovers(&world).await;
}

#[tokio::test]
async fn a_move_waits_for_a_drop_that_has_begun() {
    let world = World::with(harness::patient()).await;
    let (tenant, there) = left_behind(&world, Step::Target).await;
    let holds_it = format!("comment on database \"side:{}:2\" is null", tenant.id());
    let in_the_way = there.begin("postgres", &holds_it).await;
    due(&world, &tenant, "0").await;
    // Its first look comes soon.
    let _sweeping = world.platform_replica(Faults::none()).await;
    until("it is being dropped", || async {
        let drops = "select count(*) from pg_stat_activity
            where query like 'drop database%' and wait_event_type = 'Lock'";
        there.number("postgres", drops).await == 1
    })
    .await;
    let waits = async {
        harness::drops_wait(there, 1).await;
        drop(in_the_way);
    };
    futures::join!(move_to(&world, &tenant, "second", "dump"), waits);
    moved(&world, &tenant).await;
    harness::no_leftovers(&world).await;
}

#[tokio::test]
async fn a_copy_that_was_left_goes_with_its_tenant() {
    let world = World::with(harness::patient()).await;
    let (tenant, there) = left_behind(&world, Step::Switch).await;
    let operator = world.operator();
    let removed = life::remove(&operator, &tenant).await;
    harness::done(&operator, removed).await;
    // Its name comes first, so it is asked first.
    let away = world.cluster_behind_proxy("away").await;
    is_shown_beside(&away, &world, &tenant).await;
    harness::done(&operator, life::purged(&operator, &tenant, "none").await).await;
    assert_eq!(databases(there, &tenant).await, 0);
    let path = format!("/v1/tenants/{}/certificate", tenant.id());
    let certificate: Value = operator.get(&path).await.expect(200).json();
    let gone = certificate["body"]["databases_and_roles"]
        .as_array()
        .unwrap();
    assert!(
        gone.iter().any(|one| one["name"] == tenant.id().as_str()),
        "{certificate:#}"
    );
    harness::no_leftovers(&world).await;
}

/// A purge shows what it would destroy although something else of the tenant is where nobody answers.
async fn is_shown_beside(away: &Cluster, world: &World, tenant: &TenantHandle) {
    let (id, copy) = (tenant.id(), format!("side:{}:9", tenant.id()));
    let kept = format!(
        "insert into registry.kept_database (cluster, name, tenant_id, operation_id)
         values ('away', '{copy}', '{id}', gen_random_uuid())"
    );
    world.postgres().run("registry", &kept).await;
    away.postgres().stop(StopMode::Immediate).await;
    let purge = format!("/v1/tenants/{id}/purge");
    let operator = world.operator();
    let preview = operator.post(&purge, json!({ "dry_run": true })).await;
    let preview: Value = preview.expect(200).json();
    away.postgres().start_again().await;
    let doomed = |name: &str| {
        let mut databases = preview["databases"].as_array().unwrap().iter();
        databases.find(|one| one["name"] == name)
    };
    assert!(doomed(id.as_str()).is_some(), "{preview:#}");
    assert!(
        doomed(&copy).unwrap()["size_bytes"].is_null(),
        "{preview:#}"
    );
}
