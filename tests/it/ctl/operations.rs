//! Operations: listed, cancelled, tried again.

use world::{Fault, Faults, OperationKind, Step, World, WorldOptions, until};

use super::Ctl;

#[tokio::test]
async fn an_operation_is_cancelled_and_another_is_tried_again() {
    let world = World::with(WorldOptions::default().stock_level(1)).await;
    let ctl = Ctl::new(&world);
    let tenant = world.tenant("waits").await;
    let id = tenant.id().as_str();
    world.second_cluster().await;
    // As if somebody were making it all the time.
    world.set_status(tenant.id(), "provisioning").await;
    let drain = ctl.run(&["clusters", "drain", "main", "--no-wait", "-o", "json"]);
    let drain = drain.expect(0).json();
    let operation = drain["id"].as_str().unwrap();
    ctl.lists(
        &[
            "operations",
            "list",
            "--cluster",
            "main",
            "--state",
            "running",
        ],
        operation,
    );
    let begun = |since: &str, until: &str| {
        let when = ["--since", since, "--until", until];
        let list = ["operations", "list", "--kind", "drain"];
        ctl.json(&[&list[..], &when].concat()) != serde_json::json!([])
    };
    assert!(begun("1h", "2126-12-24T18:00:00Z"));
    assert!(!begun("2h", "1h") && !begun("2126-12-24T18:00:00Z", "2126-12-25T18:00:00Z"));
    let waited = ctl
        .run(&["operations", "watch", operation, "--timeout", "1s"])
        .expect(6);
    waited.says("tenantctl operations watch op_");
    let cancelled = ctl.json(&["operations", "cancel", operation]);
    assert_eq!(cancelled["state"], "done");
    assert_eq!(cancelled["result"]["remaining"][0]["tenant"], id);
    ctl.run(&["operations", "cancel", operation]).expect(5);
    let rows = ctl.run(&["operations", "rows", operation]).expect(0);
    rows.says("none");
    ctl.run(&["operations", "show", "op_00000000000000000000000000000000"])
        .expect(3);
    world.set_status(tenant.id(), "active").await;

    // One that is stuck, at a replica that fails, is tried again at one that works.
    let faults = Faults::none().with(OperationKind::Suspend, Step::Wall, Fault::FailBeforeAct);
    world.kill_platform();
    world.start_platform_with(faults).await;
    let broken = Ctl::new(&world);
    broken
        .run(&["tenants", "suspend", id])
        .expect(1)
        .says("tenantctl operations retry op_");
    let stuck = broken.lists(&["operations", "list", "--state", "stuck"], id);
    let stuck = stuck[0]["id"].as_str().unwrap();
    world.kill_platform();
    world.start_platform().await;
    let ctl = Ctl::new(&world);
    assert_eq!(ctl.json(&["operations", "retry", stuck])["state"], "done");
    until("the tenant is held back", || async {
        tenant.owner().get("/v1/me").await.status() == 403
    })
    .await;
}
