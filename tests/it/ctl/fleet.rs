//! Many tenants at once: roll-outs of migrations, and how schemas differ.

use serde_json::Value;
use world::WorldOptions;

use super::Ctl;
use crate::fleet::rollouts::{CURE, Fleet, POISON};

#[tokio::test]
async fn a_roll_out_is_started_halts_and_is_mended() {
    let fleet = Fleet::with(WorldOptions::default(), 3).await;
    let ctl = Ctl::new(&fleet.world);
    let sick = fleet.tenants[0].id().as_str();
    fleet.on(0, POISON).await;
    fleet.release().await;
    let tried = ctl.run(&["rollouts", "try", sick]).expect(1);
    tried.says("would fail");
    let start = ["rollouts", "start", "--title", "Bounded", "--canary", sick];
    let dry = ctl.run(&[&start[..], &["--dry-run"]].concat()).expect(0);
    dry.says("Nothing was changed");
    let dry = ctl.json(&[&start[..], &["--wave", "percent=1", "--dry-run"]].concat());
    assert_eq!(dry["waves"][0]["tenants"], serde_json::json!([sick]));
    let in_waves = dry["waves"].as_array().unwrap().iter();
    let in_waves = in_waves.flat_map(|wave| wave["tenants"].as_array().unwrap());
    assert_eq!((in_waves.count(), &dry["skipped"]), (3, &0.into()), "{dry}");
    assert_eq!(ctl.json(&["rollouts", "list"]), serde_json::json!([]));
    let halted = ctl.run(&start).expect(1);
    halted.says("halted");
    halted.says("tenantctl rollouts retry op_");
    let listed = ctl.lists(&["rollouts", "list"], "Bounded");
    let id = listed[0]["id"].as_str().unwrap();
    let shown = ctl.run(&["rollouts", "show", id]).expect(0).out;
    assert!(
        shown.contains(id) && shown.contains("V2__bounded"),
        "{shown}"
    );
    assert_eq!(ctl.json(&["rollouts", "show", id])["state"], "halted");
    let failed = ctl.lists(&["rollouts", "show", id, "--tenants", "failed"], sick);
    assert_eq!(failed.len(), 1);
    let canaries = ctl.lists(&["rollouts", "show", id, "--wave", "0"], sick);
    assert_eq!(canaries.len(), 1);
    let others = [
        "rollouts",
        "show",
        id,
        "--wave",
        "1",
        "--tenants",
        "pending",
    ];
    let others = ctl.lists(&others, fleet.tenants[1].id().as_str());
    assert_eq!(others.len(), 2);
    ctl.lists(&["rollouts", "list", "--state", "halted"], id);
    let done = ctl.json(&["rollouts", "list", "--state", "done"]);
    assert_eq!(done, serde_json::json!([]));
    ctl.run(&["rollouts", "watch", id]).expect(1).says("halted");
    // Another one has to wait, and its dry run says so.
    let soon = ["rollouts", "start", "--title", "Too soon"];
    let later = ctl.run(&soon).expect(5);
    later.says(&format!("tenantctl rollouts watch {id}"));
    ctl.run(&[&soon[..], &["--dry-run"]].concat()).expect(5);

    fleet.on(0, CURE).await;
    let mended = ctl.run(&["rollouts", "retry", id, "-o", "json"]).expect(0);
    let tally = mended.json()["tally"].clone();
    assert_eq!((&tally["done"], &tally["failed"]), (&3.into(), &0.into()));
    ctl.run(&["rollouts", "watch", id]).expect(0);
    ctl.run(&["rollouts", "start", "--wave", "percent=101"])
        .expect(2)
        .says("percent=1..100");
    let again = ctl.run(&["rollouts", "start", "-o", "json"]).expect(0);
    assert_eq!(again.json()["tally"]["skipped"], 3);
}

#[tokio::test]
async fn a_roll_out_is_paused_resumed_and_aborted() {
    let fleet = Fleet::with(WorldOptions::default(), 2).await;
    let ctl = Ctl::new(&fleet.world);
    fleet.release().await;
    let held = fleet.held_up(0).await;
    let start = [
        "rollouts",
        "start",
        "--at-once",
        "1",
        "--no-wait",
        "-o",
        "json",
    ];
    let begun = ctl.run(&start).expect(0);
    begun.says("tenantctl rollouts watch op_");
    let begun = begun.json();
    let id = begun["id"].as_str().unwrap();
    let paused = ctl.shows(&["rollouts", "pause", id], id);
    assert_eq!(paused["state"], "paused");
    ctl.run(&["rollouts", "watch", id]).expect(1).says("paused");
    let resumed = ctl.run(&["rollouts", "resume", id, "--no-wait", "-o", "json"]);
    assert_eq!(resumed.expect(0).json()["state"], "running");
    let late = ctl
        .run(&["rollouts", "watch", id, "--timeout", "1s"])
        .expect(6);
    late.says("tenantctl rollouts watch op_");
    let aborted = ctl.run(&["rollouts", "abort", id, "-o", "json"]).expect(0);
    assert_eq!(aborted.json()["state"], "aborted");
    held.commit().await;
    ctl.run(&["rollouts", "watch", id])
        .expect(1)
        .says("aborted");
    ctl.run(&["rollouts", "resume", id]).expect(5);
    ctl.run(&["rollouts", "show", "op_nothing"]).expect(2);
}

#[tokio::test]
async fn a_watch_on_a_terminal_draws_how_far_a_roll_out_is_and_takes_it_away_at_its_end() {
    let fleet = Fleet::with(WorldOptions::default(), 3).await;
    let ctl = Ctl::new(&fleet.world);
    fleet.release().await;
    let held = fleet.held_up(1).await;
    let begun = ctl.run(&[
        "rollouts",
        "start",
        "--at-once",
        "1",
        "--no-wait",
        "-o",
        "json",
    ]);
    let begun = begun.expect(0).json();
    let id = begun["id"].as_str().unwrap();
    world::until("one is done and the next held up", || async {
        ctl.json(&["rollouts", "show", id])["tally"]["done"] == 1
    })
    .await;
    let watch = ["rollouts", "watch", id, "--timeout", "4s"];
    let drawn = ctl.on_terminal(&watch, "").expect(6).out;
    assert!(drawn.contains("] 1/3 tenants"), "{drawn:?}");
    assert!(drawn.contains("wave 0, 0 failed"), "{drawn:?}");
    // Its line is cleared, and what follows stands on one of its own.
    let (_, after) = drawn.rsplit_once("0 failed").unwrap();
    assert!(after.contains("\u{1b}[2K"), "{drawn:?}");
    assert!(
        after.contains(&format!("tenantctl rollouts watch {id}")),
        "{drawn:?}"
    );
    held.commit().await;
    ctl.on_terminal(&["rollouts", "watch", id], "").expect(0);
}

#[tokio::test]
async fn what_differs_is_shown_and_rights_are_mended() {
    let world = world::World::start().await;
    let ctl = Ctl::new(&world);
    let tenant = world.tenant("drifted").await;
    let id = tenant.id().as_str();
    let same: Value = ctl.json(&["drift"]);
    assert_eq!(same["differing"], 0, "{same}");
    let spoilt = "revoke insert on entries.entry from tn_data";
    world.postgres().run(id, spoilt).await;
    let drift = ctl.run(&["drift", "--tenant", id]).expect(1);
    assert!(
        drift.out.contains(id) && drift.out.contains("entries.entry"),
        "{}",
        drift.out
    );
    drift.says("--repair-grants");
    // It has no dry run: without the flag it is one.
    let unsaid = ctl.run(&["drift", "--repair-objects"]).expect(2);
    unsaid.says("see what differs by leaving out --repair-objects");
    assert!(!unsaid.err.contains("--dry-run"), "{}", unsaid.err);
    let lines = ctl.run(&["drift", "-o", "ndjson"]).expect(1).out;
    let first: Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!(first["tenant"], id);
    ctl.run(&["drift", "--repair-grants", "-o", "json"])
        .expect(0);
    assert_eq!(ctl.json(&["drift"])["differing"], 0);
}

#[tokio::test]
async fn tenants_that_are_behind_are_named() {
    let fleet = Fleet::with(WorldOptions::default(), 3).await;
    let ctl = Ctl::new(&fleet.world);
    let [first, second, third] = [0, 1, 2].map(|number| fleet.tenants[number].id().as_str());
    let named = |arguments: &[&str]| {
        let list = ctl.json(&[&["tenants", "list"], arguments].concat());
        let ids = list.as_array().unwrap().iter();
        ids.map(|one| one["id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(named(&["--behind"]), [""; 0]);
    fleet.release().await;
    assert_eq!(named(&["--behind"]), [first, second, third]);
    ctl.run(&["rollouts", "start", "--tenant", first]).expect(0);
    assert_eq!(named(&["--behind"]), [second, third]);
    // One whom nobody asks waits all the same; of the doctor's count are those that are served.
    ctl.run(&["tenants", "suspend", third]).expect(0);
    assert_eq!(named(&["--behind"]), [second, third]);
    assert_eq!(named(&["--behind", "--status", "active"]), [second]);
    let doctor = ctl.run(&["doctor", "--all", "-o", "json"]).json();
    let doctor = doctor.as_array().unwrap().iter();
    let found: Vec<&Value> = doctor
        .filter(|one| one["check"] == "tenants_behind")
        .collect();
    assert_eq!(found[0]["found"], "1 active tenants");
    let mend = found[0]["mend"].as_str().unwrap();
    assert!(
        mend.contains("tenantctl tenants list --behind --status active"),
        "{mend}"
    );
    let operator = fleet.world.operator();
    let newest = operator.get("/v1/tenants?schema=newest").await.expect(200);
    assert_eq!(newest.json()["data"][0]["id"], first);
    operator.get("/v1/tenants?schema=old").await.expect(400);

    // The same of commands on many, with labels too.
    ctl.run(&["tenants", "update", second, "--label", "disk=nvme"])
        .expect(0);
    assert_eq!(named(&["--label", "disk=nvme"]), [second]);
    assert_eq!(named(&["--label", "disk=hdd"]), [""; 0]);
    let asked = |which: &[&str]| {
        let question = ["query", "select 1 as one", "-o", "json"];
        let rows = ctl.run(&[&question, which].concat()).expect(0).out;
        [first, second, third].map(|id| rows.contains(id))
    };
    assert_eq!(asked(&["--behind"]), [false, true, true]);
    assert_eq!(asked(&["--label", "disk=nvme"]), [false, true, false]);
    let lines = "select E'one\n# two' as text";
    let csv = ctl
        .run(&["query", "--csv", lines, "--tenant", second])
        .expect(0);
    let rows = format!("tenant,text\n{second},\"one\n# two\"\n");
    assert_eq!(csv.out, rows, "nothing but rows where all are there");
    csv.says("1 rows of 1 tenants");
    ctl.run(&["rollouts", "start", "--behind", "--label", "disk=nvme"])
        .expect(0);
    assert_eq!(named(&["--behind"]), [third]);
}
