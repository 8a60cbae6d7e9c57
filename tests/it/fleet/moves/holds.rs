//! Holds: requests wait without a connection, no longer than the hold; a replica that hears nothing of a
//! move writes nowhere.

use contract::TenantId;
use futures::future::join_all;
use world::{Mode, World, WorldOptions, until};

use super::super::harness::{operation_at, operation_of, reaches};
use super::{begun, cluster_of, facts, move_to, servers, two_replicas};
use crate::support::entry;

#[tokio::test]
async fn a_stale_replica_cannot_write_to_the_old_copy() {
    let world = World::with(two_replicas()).await;
    world.second_cluster().await;
    let acme = world.tenant("acme").await;
    acme.owner()
        .post("/v1/entries", entry("before"))
        .await
        .expect(201);
    let (_, away) = match cluster_of(&world.operator(), acme.id()).await.as_str() {
        "main" => ("main", "second"),
        _ => ("second", "main"),
    };
    // No replica hears anything from here on, and each has a connection to the source.
    world.platform_link().set(Mode::Reset);
    move_to(&world, &acme, away, "dump").await;
    let owner = acme.owner();
    for answer in join_all((0..4).map(|_| owner.post("/v1/entries", entry("late")))).await {
        assert_eq!(answer.status(), 503, "{answer}");
    }
    world.platform_link().set(Mode::Pass);
    until("the replica finds the tenant", || async {
        acme.owner()
            .post("/v1/entries", entry("after"))
            .await
            .status()
            == 201
    })
    .await;
    let (new, old) = servers(&world, acme.id()).await;
    let left = format!("old:{}:1", acme.id());
    let count = "select count(*) from entries.entry";
    assert_eq!(old.number(&left, count).await, 1);
    assert_eq!(new.number(acme.id().as_str(), count).await, 2);
}

#[tokio::test]
async fn a_migration_that_is_under_way_is_waited_for_before_requests_wait() {
    let world = World::with(two_replicas()).await;
    world.second_cluster().await;
    let acme = world.tenant("acme").await;
    let (source, _) = servers(&world, acme.id()).await;
    let lock = format!("select pg_advisory_xact_lock({})", kit::migrate::LOCK);
    let migration = source.begin(acme.id().as_str(), &lock).await;
    let id = operation_of(&begun(&world.operator(), &acme, "dump").await);
    until("the move waits", || async {
        operation_at(&world, &id).await["failure"]["detail"]
            == "A migration of the tenant is under way."
    })
    .await;
    assert_eq!(operation_at(&world, &id).await["step"], "hold");
    assert_eq!(facts(&world, acme.id()).await, "1 free");
    acme.owner().get("/v1/entries").await.expect(200);
    migration.commit().await;
    reaches(&world, &id, "done", "the move").await;
}

/// Holds a tenant as an operation does, or lets it go on.
async fn set_hold(world: &World, tenant: &TenantId, until: &str) {
    let sql = format!(
        "begin;
         update registry.tenant
             set held_until = {until}, generation = generation + 1 where id = '{tenant}';
         with feed as (
             update registry.feed set last_number = last_number + 1 returning last_number
         )
         insert into registry.change (number, tenant_id, generation)
             select feed.last_number, tenant.id, tenant.generation
             from feed, registry.tenant where tenant.id = '{tenant}';
         notify registry_change;
         commit"
    );
    world.postgres().run("registry", &sql).await;
}

async fn sessions_of(world: &World, tenant: &TenantId) -> i64 {
    let sql = format!("select count(*) from pg_stat_activity where usename = '{tenant}'");
    world.postgres().number("postgres", &sql).await
}

#[tokio::test]
async fn requests_of_a_held_tenant_wait_without_a_connection_and_go_on_at_its_end() {
    let world = World::with(two_replicas()).await;
    let acme = world.tenant("acme").await;
    acme.owner().get("/v1/me").await.expect(200);
    assert!(sessions_of(&world, acme.id()).await > 0);
    set_hold(&world, acme.id(), "now() + interval '60 s'").await;
    until("no connection is left", || async {
        sessions_of(&world, acme.id()).await == 0
    })
    .await;
    let second = acme.owner().at(&world.app_url(1));
    let waiting = [acme.owner(), second].map(|speaker| {
        tokio::spawn(async move { join_all((0..50).map(|_| speaker.get("/v1/me"))).await })
    });
    until("requests wait", || async {
        let metrics = world
            .anonymous()
            .at(&world.app_internal_url(0))
            .get("/metrics")
            .await;
        metrics.text().contains("tenant_held_requests")
    })
    .await;
    assert_eq!(sessions_of(&world, acme.id()).await, 0);
    assert!(waiting.iter().all(|waiting| !waiting.is_finished()));
    set_hold(&world, acme.id(), "null").await;
    for waiting in waiting {
        for answer in waiting.await.expect("no panic") {
            answer.expect(200);
        }
    }
}

#[tokio::test]
async fn past_the_end_of_a_hold_nobody_waits_and_its_end_is_found_without_news() {
    let world = World::with(WorldOptions::default().stock_level(1)).await;
    let acme = world.tenant("acme").await;
    set_hold(&world, acme.id(), "now() + interval '1 s'").await;
    until("the hold is over", || async {
        let answer = acme.owner().get("/v1/me").await;
        answer.status() == 503 && answer.code() == contract::Code::TenantHeld
    })
    .await;
    let sql = format!(
        "update registry.tenant set held_until = null, generation = generation + 1 where id = '{}'",
        acme.id()
    );
    world.postgres().run("registry", &sql).await;
    until("it is served", || async {
        acme.owner().get("/v1/me").await.status() == 200
    })
    .await;
}

#[tokio::test]
async fn a_write_that_is_slow_before_a_hold_is_waited_for_and_kept() {
    /// As long as a write waits for others on a bad day.
    const FOR_A_WHILE: &str = "select pg_sleep(0.8)";
    let world = World::with(two_replicas()).await;
    world.second_cluster().await;
    let acme = world.tenant("acme").await;
    let (here, _) = servers(&world, acme.id()).await;
    let id = acme.id().as_str();
    // As long as a copy and a hold may take here.
    let patient = format!(
        "alter role {id} set lock_timeout = '60s';
         select pg_terminate_backend(pid, 5000) from pg_stat_activity where usename = '{id}'"
    );
    here.run("postgres", &patient).await;
    let lock = "lock table entries.entry in share mode";
    let mut other = here.begin(id, lock).await;
    let owner = acme.owner();
    let write = tokio::spawn(async move { owner.post("/v1/entries", entry("slow")).await });
    until("the write is under way", || async {
        let sql = "select count(*) from pg_locks where not granted and locktype = 'relation'";
        here.number("postgres", sql).await == 1
    })
    .await;
    let begins = async { begun(&world.operator(), &acme, "dump").await };
    let passes = async {
        until("requests are held", || async {
            !facts(&world, acme.id()).await.ends_with("free")
        })
        .await;
        other.run(FOR_A_WHILE).await;
        other.commit().await;
    };
    let (moving, ()) = tokio::join!(begins, passes);
    let written = write.await.expect("no panic").expect(201);
    reaches(&world, &operation_of(&moving), "done", "the move").await;
    let kept = acme.owner().get(written.header("location")).await;
    assert_eq!(kept.expect(200).json()["title"], "slow");
}

#[tokio::test]
async fn a_request_waits_for_a_hold_nearly_as_long_as_it_may_take() {
    let options = WorldOptions::default()
        .stock_level(1)
        .app_setting("public.deadline", "6s");
    let world = World::with(options).await;
    let acme = world.tenant("acme").await;
    set_hold(&world, acme.id(), "now() + interval '60 s'").await;
    until("requests are held", || async {
        let answer = acme.owner().get("/v1/me").await;
        // Before the news of the hold it is served; from then on nobody is told that the time is over.
        answer.status() != 200 && {
            answer.refused(contract::Code::TenantHeld);
            true
        }
    })
    .await;
}
