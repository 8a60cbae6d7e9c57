//! Clusters: added, listed, shown, changed, emptied; a tenant that moves.

use std::collections::BTreeMap;

use secrecy::ExposeSecret as _;
use world::{World, WorldOptions};

use super::{Ctl, Ran};

#[tokio::test]
async fn clusters_are_added_listed_shown_and_changed() {
    let world = World::start().await;
    let ctl = Ctl::new(&world);
    let server = world.server().await;
    let superuser = server.superuser();
    let (host, port) = (superuser.host.to_string(), superuser.port.to_string());
    let add = [
        "clusters",
        "add",
        "further",
        "--region",
        "here",
        "--host",
        &host,
        "--port",
        &port,
        "--tls",
        "disable",
        "--budget",
        "30",
        "--max-databases",
        "50",
        "--tier",
        "premium",
        "--weight",
        "2",
        "--admin-user",
        superuser.user,
        "-o",
        "json",
    ];
    // Without a password there is nothing to try.
    ctl.run(&add).expect(2).says("TENANTCTL_ADMIN_PASSWORD");
    let mut wrong = ctl.command(&add);
    wrong.env("TENANTCTL_ADMIN_PASSWORD", "wrong");
    let wrong = Ran::from(wrong.output().unwrap());
    assert_ne!(wrong.code, Some(0), "{}", wrong.out);
    let given = [&add[..], &["--admin-password-stdin"]].concat();
    let added = ctl.piped(ctl.command(&given), superuser.password.expose_secret());
    let added = added.expect(0).json();
    assert_eq!(added["name"], "further");
    assert!(added["warnings"].is_array(), "{added}");

    let all = ctl.lists(&["clusters", "list"], "further");
    let names: Vec<_> = all.iter().map(|one| one["name"].clone()).collect();
    assert_eq!(names, ["further", "main"]);
    let shown = ctl.shows(&["clusters", "show", "further"], "further");
    assert_eq!(shown["max_databases"], 50);
    let change = [
        "clusters",
        "update",
        "further",
        "--label",
        "disk=nvme",
        "--label",
        "rack=7",
        "--any-tier",
        "--max-databases",
        "none",
        "--max-disk-gib",
        "10",
        "--status",
        "full",
    ];
    let changed = ctl.shows(&change, "nvme");
    let labels = BTreeMap::from([("disk", "nvme"), ("rack", "7")]);
    assert_eq!(changed["labels"], serde_json::json!(labels));
    assert_eq!(changed["status"], "full");
    assert_eq!(changed["max_disk_bytes"], 10_u64 << 30);
    assert!(changed["tiers"].is_null() && changed["max_databases"].is_null());

    // The server has 120 connections, and keeps some for superusers.
    assert!(
        changed["server_connections"].as_u64() < Some(120),
        "{changed}"
    );
    let budget = ["clusters", "update", "further", "--budget", "100000"];
    ctl.run(&budget).expect(2).says("max_connections");

    ctl.run(&["clusters", "show", "nowhere"]).expect(3);
    ctl.run(&["clusters", "update", "further"]).expect(2);
    ctl.run(&["clusters", "update", "further", "--weight", "0"])
        .expect(2)
        .says("--weight");
}

#[tokio::test]
async fn tenants_move_and_a_cluster_is_emptied() {
    let world = World::with(WorldOptions::default().stock_level(1)).await;
    let ctl = Ctl::new(&world);
    let tenant = world.tenant("mover").await;
    let id = tenant.id().as_str();
    // There is nowhere to go yet: what is left is a failure.
    let nowhere = ctl.run(&["clusters", "drain", "main"]).expect(1);
    nowhere.says("tenantctl tenants list --cluster main");
    assert!(nowhere.out.contains(id), "{}", nowhere.out);
    // As a table and not once more as a line of JSON.
    assert_eq!(nowhere.out.matches("remaining").count(), 0);
    ctl.run(&["clusters", "update", "main", "--status", "active"])
        .expect(0);

    let homeless = ctl
        .run(&["clusters", "drain", "main", "--dry-run"])
        .expect(1);
    homeless.says("1 tenant would stay on main");
    assert!(
        homeless.out.contains("no other cluster"),
        "{}",
        homeless.out
    );
    ctl.run(&["tenants", "move", id, "--dry-run"]).expect(5);
    let other = world.tenant("stayer").await;

    world.second_cluster().await;
    let where_to = ctl.run(&["tenants", "move", id, "--dry-run", "-o", "json"]);
    let where_to = where_to.expect(0);
    where_to.says("Nothing was changed");
    let where_to = where_to.json();
    let way = (&where_to["from"], &where_to["to"], &where_to["variant"]);
    assert_eq!(way, (&"main".into(), &"second".into(), &"dump".into()));
    assert!(
        where_to["size_bytes"].as_u64() > Some(1_000_000),
        "{where_to}"
    );
    assert!(
        where_to["predicted_hold_ms"].as_u64() < Some(500),
        "{where_to}"
    );
    let shown = ctl.run(&["tenants", "move", id, "--dry-run"]).expect(0);
    assert!(shown.out.contains("second"), "{}", shown.out);
    // It takes one more: the first to go has it.
    ctl.run(&["clusters", "update", "second", "--max-databases", "1"])
        .expect(0);
    let drain = ["clusters", "drain", "main", "--dry-run", "-o", "json"];
    let drain = ctl.run(&drain).expect(1).json();
    let went = (&drain["moves"][0]["tenant"], &drain["moves"][0]["to"]);
    assert_eq!(went, (&id.into(), &"second".into()), "{drain}");
    assert_eq!(drain["remaining"][0]["tenant"], *other.id().as_str());
    let reason = drain["remaining"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("No other cluster takes it"), "{reason}");
    assert_eq!(drain["tenants"], 2);
    ctl.run(&["clusters", "update", "second", "--max-databases", "none"])
        .expect(0);
    let all = ctl.json(&["clusters", "drain", "main", "--dry-run"]);
    assert_eq!(all["moves"].as_array().unwrap().len(), 2, "{all}");
    // Nothing of it was done: it is active, and everybody is there.
    assert_eq!(ctl.json(&["clusters", "show", "main"])["status"], "active");
    assert_eq!(
        ctl.json(&["tenants", "list", "--cluster", "second"]),
        serde_json::json!([])
    );
    assert_eq!(
        ctl.json(&["operations", "list", "--kind", "move"]),
        serde_json::json!([])
    );

    let moved = ctl.json(&["tenants", "move", id, "--to", "second"]);
    assert_eq!(
        (&moved["state"], &moved["tenant"]),
        (&"done".into(), &id.into())
    );
    assert!(
        moved["result"]["bytes"].as_u64() > Some(1_000_000),
        "{moved}"
    );
    ctl.lists(&["tenants", "list", "--cluster", "second"], id);
    ctl.run(&["tenants", "move", id, "--to", "second"])
        .expect(5);
    ctl.run(&["tenants", "move", id, "--by", "foot"]).expect(2);

    let drained = ctl.run(&[
        "clusters",
        "drain",
        "second",
        "--at-once",
        "2",
        "-o",
        "json",
    ]);
    let drained = drained.expect(0);
    drained.says("1 database kept on second for a time");
    let drained = drained.json();
    let kept = format!("old:{id}:2");
    assert_eq!(drained["result"]["kept_databases"][0]["database"], *kept);
    assert_eq!(
        (&drained["cluster"], &drained["result"]["moved"]),
        (&"second".into(), &1.into())
    );
    tenant.owner().get("/v1/me").await.expect(200);
}

#[tokio::test]
async fn a_cluster_is_removed_once_it_is_empty() {
    let world = World::with(WorldOptions::default().stock_level(1)).await;
    let ctl = Ctl::new(&world);
    world.second_cluster().await;
    let tenant = world.tenant("leaver").await;
    let remove = ["clusters", "remove", "main"];
    ctl.run(&remove).expect(2).says("--yes");
    let full = ctl.run(&[&remove[..], &["--yes"]].concat()).expect(5);
    full.says("tenantctl clusters drain main");
    full.says(tenant.id().as_str());

    let remove = ["clusters", "remove", "second"];
    let dry = ctl.shows(&[&remove[..], &["--dry-run"]].concat(), "tpl:");
    ctl.lists(&["clusters", "list"], "second");
    let removed = ctl.on_terminal(&remove, "second").expect(0);
    assert!(
        removed.out.contains("removes the cluster second"),
        "{}",
        removed.out
    );
    let dropped = dry["dropped"][0].as_str().unwrap();
    assert!(removed.out.contains(dropped), "{}", removed.out);
    let again = ctl.run(&[&remove[..], &["--yes"]].concat()).expect(3);
    again.says("There is no cluster second");
    let left = ctl.lists(&["clusters", "list"], "main");
    assert_eq!(left.len(), 1);
}
