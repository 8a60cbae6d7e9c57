//! What a move leaves on a server that is away when it is undone.

use serde_json::{Value, json};
use world::{Cluster, Fault, Postgres, StopMode, TenantHandle, World};

use super::super::harness::{self, halted, reaches, run_out};
use super::super::life;
use super::{move_to, moved, moving, servers, works};

/// A tenant whose move was undone while the other server, which had switched already, was away; with that
/// server, which is back.
async fn left_behind(world: &World) -> (TenantHandle, &Postgres) {
    let case = moving();
    let faults = case
        .fault(case.point_of_no_return, Fault::FailAfterAct)
        .with(case.kind, case.point_of_no_return, Fault::HaltBeforeUndo);
    let (tenant, id) = halted(world, &case, faults, &mut None).await;
    let (_, there) = servers(world, tenant.id()).await;
    there.stop(StopMode::Immediate).await;
    run_out(world, &id).await;
    // The tenant does not wait for a server that it is not on.
    reaches(world, &id, "undone", "the move").await;
    works(&tenant).await;
    there.start_again().await;
    assert_eq!(databases(there, &tenant).await, 1, "it has switched there");
    (tenant, there)
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
    let (tenant, there) = left_behind(&world).await;
    let to = match std::ptr::eq(there, world.postgres()) {
        true => "main",
        false => "second",
    };
    move_to(&world, &tenant, to, "dump").await;
    moved(&world, &tenant).await;
    harness::no_leftovers(&world).await;
}

#[tokio::test]
async fn a_copy_that_was_left_goes_with_its_tenant() {
    let world = World::with(harness::patient()).await;
    let (tenant, there) = left_behind(&world).await;
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
