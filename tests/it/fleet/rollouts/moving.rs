//! A roll-out and a move of one of its tenants at the same time.

use serde_json::json;
use world::{Fault, Faults, OperationKind, Step, until};

use super::super::harness::{operation_of, reaches, roomy, run_out};
use super::Fleet;

#[tokio::test]
async fn a_tenant_that_is_being_moved_has_its_turn_afterwards() {
    let fleet = Fleet::with(roomy(), 2).await;
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
