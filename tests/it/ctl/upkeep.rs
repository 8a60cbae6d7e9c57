//! Upkeep: the doctor, what nobody claims, tiers.

use world::{World, WorldOptions};

use super::Ctl;

#[tokio::test]
async fn the_doctor_says_what_is_bad_and_what_mends_it() {
    let world = World::with(WorldOptions::default().stock_level(1)).await;
    let ctl = Ctl::new(&world);
    let all = ctl.run(&["doctor", "--all", "-o", "json"]);
    let all = all.json();
    let places = all
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["place"].clone());
    assert!(places.collect::<Vec<_>>().contains(&"main".into()), "{all}");
    let stuck = "insert into registry.operation (id, kind, cluster, state, step, plan)
         values (gen_random_uuid(), 'drain', 'main', 'stuck', 'moves', '{}')";
    world.postgres().run("registry", stuck).await;
    let bad = ctl.run(&["doctor"]).expect(1);
    bad.says("bad checks: ");
    assert!(bad.out.contains("tenantctl operations"), "{}", bad.out);
    ctl.run(&["doctor", "--cluster", "nowhere"]).expect(3);
}

#[tokio::test]
async fn what_nobody_claims_is_listed_kept_and_swept() {
    let options = WorldOptions::default()
        .stock_level(1)
        .platform_setting("sweep.grace", "1h");
    let world = World::with(options).await;
    let ctl = Ctl::new(&world);
    let tenant = world.tenant("swept").await;
    let name = format!("side:{}:9", tenant.id());
    let make = format!("create database \"{name}\" owner tn_platform");
    world.postgres().run("postgres", &make).await;
    ctl.run(&["findings", "sweep"]).expect(2).says("--yes");
    let sweep = ctl
        .run(&["findings", "sweep", "--yes", "-o", "json"])
        .expect(0);
    assert_eq!(sweep.json()["removed"], serde_json::json!([]));
    let find = format!("database/main/{name}");
    let here = ["findings", "list", "--kind", "database", "--place", "main"];
    ctl.lists(&here, &find);
    let elsewhere = ctl.json(&["findings", "list", "--place", "secrets"]);
    assert!(!elsewhere.to_string().contains(&find), "{elsewhere}");
    let kept = ctl.shows(&["findings", "keep", &find], &find);
    assert_eq!(kept["kept"], true);
    let older = "update registry.finding set first_seen_at = now() - interval '2 hours'";
    world.postgres().run("registry", older).await;
    let dry = ctl.json(&["findings", "sweep", "--dry-run"]);
    assert_eq!(dry["removed"], serde_json::json!([]), "{dry}");
    assert_eq!(ctl.json(&["findings", "release", &find])["kept"], false);
    let swept = ctl
        .run(&["findings", "sweep", "--yes", "-o", "json"])
        .expect(0)
        .json();
    assert!(swept["removed"].to_string().contains(&find), "{swept}");
    let gone = format!("database {name}");
    assert!(!world.postgres().names().await.contains(&gone));
    ctl.run(&["findings", "keep", "database/main/nothing"])
        .expect(3)
        .says("There is no finding database/main/nothing");
}

#[tokio::test]
async fn a_find_that_people_judge_is_removed_by_its_name() {
    let world = World::with(WorldOptions::default().stock_level(1)).await;
    let ctl = Ctl::new(&world);
    let make = "create database t_lost owner tn_platform";
    world.postgres().run("postgres", make).await;
    let there = async || {
        world
            .postgres()
            .names()
            .await
            .contains(&"database t_lost".to_owned())
    };
    let remove = ["findings", "remove", "database/main/t_lost"];
    let dry = ctl.run(&[&remove[..], &["--dry-run"]].concat()).expect(0);
    dry.says("Nothing was changed");
    ctl.run(&remove).expect(2).says("--yes");
    let typed = ctl.on_terminal(&remove, "t_other").expect(1);
    assert!(
        typed.out.contains("destroys the database t_lost"),
        "{}",
        typed.out
    );
    assert!(there().await);
    ctl.on_terminal(&remove, "t_lost").expect(0);
    assert!(!there().await);
    ctl.run(&[&remove[..], &["--yes"]].concat()).expect(3);
}

#[tokio::test]
async fn tiers_are_listed() {
    let world = World::shared().await;
    let ctl = Ctl::new(&world);
    let tiers = ctl.lists(&["tiers", "list"], "standard");
    assert_eq!(tiers.len(), 3);
}
