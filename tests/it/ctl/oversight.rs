//! The audit and the replicas.

use world::World;

use super::Ctl;

#[tokio::test]
async fn the_audit_is_listed_by_who_what_and_when() {
    let world = World::shared().await;
    let ctl = Ctl::new(&world);
    let tenant = world.tenant("audited").await;
    let id = tenant.id().as_str();
    let (key, writer) = ctl.with_scopes(&["tenants:write", "operations:read"]);
    writer.run(&["tenants", "suspend", id]).expect(0);
    let all = ctl.lists(&["audit", "list", "--tenant", id], "suspend.begun");
    assert_eq!(all[0]["action"], "suspend.begun");
    let theirs = ["audit", "list", "--actor", &key, "--since", "1h"];
    let theirs = ctl.lists(&theirs, id);
    assert_eq!(theirs.len(), 1);
    let earlier = ["audit", "list", "--tenant", id, "--until", "1h"];
    assert_eq!(ctl.json(&earlier), serde_json::json!([]));
    let one = ["audit", "list", "--tenant", id, "--limit", "1"];
    ctl.run(&one).expect(0).says("--limit 0");
    ctl.run(&["audit", "list", "--action", "tenant.exploded"])
        .expect(2)
        .says("names no action");
    ctl.run(&["audit", "list", "--since", "yesterday"])
        .expect(2)
        .says("how long ago");
    writer.run(&["audit", "list"]).expect(4).says("audit:read");
}

#[tokio::test]
async fn replicas_are_listed() {
    let world = World::shared().await;
    let ctl = Ctl::new(&world);
    let all = ctl.lists(&["replicas", "list"], "app-service");
    assert!(all.iter().any(|one| one["live"] == true), "{all:?}");
}
