//! The audit, the replicas and the tiers.

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

#[tokio::test]
async fn a_tier_is_changed() {
    let world = World::shared().await;
    let ctl = Ctl::new(&world);
    // Nobody's elsewhere.
    let update = ["tiers", "update", "enterprise"];
    let limits = ["--limit", "maps=3", "--limit", "forms=unlimited"];
    let features = ["--feature", "map", "--no-feature", "forms"];
    let changed = ctl.json(&[&update[..], &limits, &features, &["--wait=replicas"]].concat());
    assert_eq!(changed["limits"]["maps"], 3);
    assert!(changed["limits"]["users"].is_null() && changed["limits"]["forms"].is_null());
    assert_eq!(changed["features"], serde_json::json!(["entries", "map"]));
    let back = [
        "--no-limit",
        "maps",
        "--no-limit",
        "forms",
        "--no-feature",
        "map",
    ];
    ctl.run(&[&update[..], &back].concat()).expect(0);
    let tiers = ctl.lists(&["tiers", "list"], "enterprise");
    assert!(tiers[2]["limits"].get("maps").is_none());
    ctl.run(&update).expect(2).says("--limit");
    ctl.run(&["tiers", "update", "standard", "--limit", "users=many"])
        .expect(2)
        .says("users=75");
    let both = ["--feature", "map", "--no-feature", "map"];
    ctl.run(&[&update[..], &both].concat())
        .expect(2)
        .says("--no-feature");
    ctl.run(&["tiers", "update", "gold", "--weight", "2"])
        .expect(3)
        .says("no such tier");
}
