//! A roll-out and a move of one of its tenants at the same time.

use serde_json::json;
use world::{Fault, Faults, OperationKind, Step, until};

use super::super::harness::{operation_at, operation_of, patient, reaches, run_out};
use super::Fleet;

#[tokio::test]
async fn a_tenant_that_is_being_moved_has_its_turn_afterwards() {
    let fleet = Fleet::with(patient(), 2).await;
    let world = &fleet.world;
    world.second_cluster().await;
    fleet.release().await;
    let faults = Faults::none().with(OperationKind::Move, Step::Follow, Fault::HaltBeforeAct);
    let replica = world.platform_replica(faults).await;
    let operator = world.operator().at(&replica.url());
    let path = format!("/v1/tenants/{}/move", fleet.tenants[0].id());
    let body = json!({ "variant": "replicate" });
    let moving = operation_of(&operator.post(&path, body).await);
    until("the move stands between two steps", || async {
        operator.get("/readyz").await.status() != 200
    })
    .await;

    let id = fleet.start(json!({})).await;
    fleet
        .becomes(&id, "the other one has had its turn", |rollout| {
            rollout["tally"]["done"] == 1
        })
        .await;
    assert_eq!(fleet.states(&id).await, ["pending", "done"]);
    run_out(world, &moving).await;
    reaches(world, &moving, "done", "the move").await;
    fleet.ends(&id, "done").await;
    assert_eq!(fleet.states(&id).await, ["done", "done"]);
}

#[tokio::test]
async fn a_tenant_that_has_moved_waits_for_nothing_that_is_left_behind() {
    let fleet = Fleet::with(patient(), 1).await;
    let world = &fleet.world;
    world.second_cluster().await;
    fleet.release().await;
    let faults = Faults::none().with(OperationKind::Move, Step::Leave, Fault::HaltBeforeAct);
    let replica = world.platform_replica(faults).await;
    let operator = world.operator().at(&replica.url());
    let path = format!("/v1/tenants/{}/move", fleet.tenants[0].id());
    let moving = operation_of(&operator.post(&path, json!({})).await);
    until("the move has switched, and nobody goes on", || async {
        operator.get("/readyz").await.status() != 200
    })
    .await;
    let id = fleet.start(json!({})).await;
    fleet.ends(&id, "done").await;
    assert_eq!(fleet.states(&id).await, ["done"]);
    let shown = operation_at(world, &moving).await;
    assert_eq!(
        (&shown["state"], &shown["step"]),
        (&json!("running"), &json!("leave"))
    );
    run_out(world, &moving).await;
    reaches(world, &moving, "done", "the move").await;
}
