//! A server that is away, or a tenant that always fails, holds up nobody else; what waits for it goes on
//! by itself.
//!
//! Deliberately with times that are set and not waited for. Invariant: each test has more of what cannot be
//! done, and for longer, than one look takes.

use http::Method;
use serde_json::json;
use uuid::Uuid;
use world::{Faults, StopMode, TenantHandle, World, WorldOptions, until};

use super::harness::{self, operation_at, operation_of, reaches};

/// A tenant on the second cluster.
async fn far(world: &World) -> TenantHandle {
    world.second_cluster().await;
    let main = async |status: &str| {
        let body = json!({ "status": status });
        let patched = world.operator().patch("/v1/clusters/main", body).await;
        patched.expect(200);
    };
    main("full").await;
    let tenant = world.tenant("far").await;
    main("active").await;
    tenant
}

#[tokio::test]
async fn what_cannot_be_undone_waits_for_its_server_and_goes_on_when_it_is_back() {
    let world = World::with(harness::roomy()).await;
    let acme = far(&world).await;
    let second = world.second_cluster().await.postgres();
    second.stop(StopMode::Immediate).await;
    let path = format!("/v1/tenants/{}/suspend?wait=none", acme.id());
    let begun = world
        .operator()
        .post(&path, json!({ "wall": "blocked" }))
        .await;
    let id = operation_of(&begun.expect(202));
    until("it says what it waits for", || async {
        operation_at(&world, &id).await["failure"]["code"] == "database-unavailable"
    })
    .await;
    let uuid = id.parse::<contract::OperationId>().unwrap().uuid();
    let now = |change: &str| {
        let lease = "lease = null, leased_until = null, run_at = now()";
        format!("update registry.operation set {lease}{change} where id = '{uuid}'")
    };
    let registry = world.postgres();
    // As if it had been tried for long.
    registry.run("registry", &now(", attempts = 200")).await;
    let attempts = format!("select attempts::bigint from registry.operation where id = '{uuid}'");
    until("it is tried once more", || async {
        registry.number("registry", &attempts).await > 200
    })
    .await;
    let shown = operation_at(&world, &id).await;
    assert_eq!(shown["state"], "running", "{shown:#}");
    assert_eq!(shown["failure"]["code"], "database-unavailable");
    second.start_again().await;
    // A try may have begun just before, and found nobody.
    let at_once = now("") + " and run_at > now() + interval '30 s'";
    until("it goes on", || async {
        registry.run("registry", &at_once).await;
        operation_at(&world, &id).await["state"] == "done"
    })
    .await;
}

#[tokio::test]
async fn kept_databases_and_logins_end_beside_a_server_that_is_away() {
    let world = World::with(WorldOptions::default().stock_level(1)).await;
    let acme = world.tenant("near").await;
    let postgres = world.postgres();
    let second = world.second_cluster().await.postgres();
    second.stop(StopMode::Immediate).await;
    let (id, login) = (acme.id(), Uuid::now_v7());
    let sql = format!("create database \"old:{id}:7\" owner tn_platform");
    postgres.run("postgres", &sql).await;
    let sql = format!("create role \"psql:{}\" login", login.simple());
    postgres.run("postgres", &sql).await;
    for (cluster, ago, numbers) in [("second", "1 day", 100..160), ("main", "1 second", 7..8)] {
        let (from, to) = (numbers.start, numbers.end - 1);
        let sql = format!(
            "insert into registry.kept_database (cluster, name, tenant_id, operation_id, drop_after)
             select '{cluster}', 'old:{id}:' || number, '{id}', gen_random_uuid(),
                 now() - interval '{ago}'
             from generate_series({from}, {to}) number"
        );
        postgres.run("registry", &sql).await;
        let sql = format!(
            "insert into registry.psql_login
                 (id, tenant_id, cluster, access, reason, issued_to, expires_at)
             select case '{cluster}' when 'main' then '{login}' else gen_random_uuid() end,
                 '{id}', '{cluster}', 'read', 'a test', 'platform', now() - interval '{ago}'
             from generate_series({from}, {to})"
        );
        postgres.run("registry", &sql).await;
    }
    let _replica = world.platform_replica(Faults::none()).await;
    until("both are gone", || async {
        let names = postgres.names().await;
        !names
            .iter()
            .any(|name| name.contains("old:") || name.contains("psql:"))
    })
    .await;
    for left in [
        "select count(*) from registry.kept_database where cluster = 'second'",
        "select count(*) from registry.psql_login where dropped_at is null and cluster = 'second'",
    ] {
        assert_eq!(postgres.number("registry", left).await, 60, "{left}");
    }
    second.start_again().await;
}

#[tokio::test]
async fn a_purge_that_fails_rests_and_others_go_on() {
    let options = WorldOptions::default()
        .platform_setting("purge.window", "00:00-00:00")
        .platform_setting("purge.at_once", "1");
    let world = World::with(options).await;
    let operator = world.operator();
    let (bad, good) = (world.tenant("bad").await, world.tenant("good").await);
    // Objects of it, and no store that they could be removed from.
    let object = format!(
        "insert into registry.backup (id, tenant_id, kind, state, object, encryption,
             schema_versions, server_version, copy)
         values (gen_random_uuid(), '{0}', 'manual', 'ready', 'tenants/{0}/backups/x.dump', 'none',
             '{{}}', 150000, 1)",
        bad.id()
    );
    world.postgres().run("registry", &object).await;
    for tenant in [&bad, &good] {
        let path = format!("/v1/tenants/{0}?confirm={0}", tenant.id());
        let deleted = operator.request(Method::DELETE, &path).send().await;
        reaches(&world, &operation_of(&deleted), "done", "a deletion").await;
    }
    let purges = async |tenant: &TenantHandle, state: &str| {
        let sql = format!(
            "select count(*) from registry.operation
             where kind = 'purge' and tenant_id = '{}' and state = '{state}'",
            tenant.id()
        );
        world.postgres().number("registry", &sql).await
    };
    let over = |tenant: &TenantHandle, ago: &str| {
        format!(
            "update registry.tenant set purge_after = now() - interval '{ago}' where id = '{}'",
            tenant.id()
        )
    };
    world
        .postgres()
        .run("registry", &over(&bad, "2 days"))
        .await;
    until("a purge fails", || async {
        purges(&bad, "undone").await > 0
    })
    .await;
    world
        .postgres()
        .run("registry", &over(&good, "1 day"))
        .await;
    until("the other one is purged", || async {
        purges(&good, "done").await == 1
    })
    .await;
    assert_eq!(purges(&bad, "undone").await, 1, "it rests");

    // When it has rested it is tried again.
    let rested = "update registry.operation set finished_at = finished_at - interval '2 hours'
         where kind = 'purge'";
    world.postgres().run("registry", rested).await;
    until("it is tried again", || async {
        purges(&bad, "undone").await == 2
    })
    .await;
}
