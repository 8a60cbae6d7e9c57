//! What a move leaves on a server that is away when it is undone.

use serde_json::Value;
use world::{Fault, Postgres, StopMode, TenantHandle, World};

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
