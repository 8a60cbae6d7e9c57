//! A disk that gets full, a cluster that is down: a clear state, a cause, and a retry that works.
//!
//! Deliberately without rights that a test run may not have: a limit on the size of files fails a write
//! midway like a full disk does. Invariant: who is not concerned goes on as ever.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use contract::Code;
use http::Method;
use serde_json::{Value, json};
use world::{Answer, Speaker, StopMode, TenantHandle, WorldOptions, eventually, until};

use super::backups::{Keeping, hashes};
use super::harness::{operation_of, reaches, roomy};
use crate::support::entry;

const PROGRAM: &str = env!("CARGO_BIN_EXE_world-platform");

/// A program that runs ours where no file can get larger than some kilobytes.
fn with_little_room(folder: &Path) -> std::path::PathBuf {
    let script = folder.join("with-little-room");
    // The signal would end it; ignored, the write fails.
    let text = format!("#!/bin/sh\ntrap '' XFSZ\nulimit -f 60\nexec '{PROGRAM}' \"$@\"\n");
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o700)).unwrap();
    script
}

/// Writes what cannot be compressed to less than the room that there is.
async fn fill(tenant: &TenantHandle) {
    for _ in 0..8 {
        let noise: String = (0..20_000)
            .map(|_| char::from(rand::random_range(b'!'..=b'[')))
            .collect();
        let body = json!({ "title": "noise", "body": { "noise": noise } });
        tenant.owner().post("/v1/entries", body).await.expect(201);
    }
}

async fn post(operator: &Speaker, tenant: &TenantHandle, verb: &str) -> Answer {
    let path = format!("/v1/tenants/{}{verb}", tenant.id());
    let request = operator.request(Method::POST, &path);
    match verb {
        "/backups" => request.json(json!({})).send().await,
        _ => request.send().await,
    }
}

#[tokio::test]
async fn a_disk_that_gets_full_midway_is_named_and_the_same_request_works_when_there_is_room() {
    let keeping = Keeping::start(WorldOptions::default()).await;
    let world = &keeping.world;
    let acme = world.tenant("full").await;
    fill(&acme).await;
    let operator = world.operator();
    let before = hashes(world, acme.id().as_str()).await;
    world.kill_platform();
    let script = with_little_room(keeping.folder.path());
    let full = world.platform_process(&script).await;
    world.direct_to(&full);
    let asked = operator.clone().at(&full.url());
    for (verb, code) in [
        ("/backups", Code::ObjectStoreUnavailable),
        ("/export", Code::NotReady),
    ] {
        let refused = post(&asked, &acme, verb).await;
        let words = refused.refused(code).detail.unwrap();
        assert!(words.contains("full"), "{verb}: {words}");
        assert!(words.contains("was undone"), "{verb}: {words}");
        let shown = asked
            .get(&format!("/v1/operations/{}", operation_of(&refused)))
            .await;
        let shown = shown.expect(200).json();
        assert_eq!(shown["state"], "undone", "{shown:#}");
        assert_eq!(shown["failure"]["code"], json!(code), "{shown:#}");
    }
    assert_eq!(keeping.objects(), Vec::<std::path::PathBuf>::new());
    let work = std::fs::read_dir(keeping.folder.path().join("work")).unwrap();
    assert_eq!(
        work.count(),
        0,
        "nothing is left where archives are spooled"
    );
    let listed = asked.get("/v1/backups").await.expect(200).json();
    assert_eq!(listed["data"], json!([]));
    // The tenant has noticed nothing.
    assert_eq!(hashes(world, acme.id().as_str()).await, before);
    acme.owner()
        .post("/v1/entries", entry("after"))
        .await
        .expect(201);

    full.kill().await;
    let roomy = world.platform_process(PROGRAM).await;
    world.direct_to(&roomy);
    let asked = operator.at(&roomy.url());
    for verb in ["/backups", "/export"] {
        post(&asked, &acme, verb).await.expect(200);
    }
    assert_eq!(keeping.objects().len(), 2);
}

#[tokio::test]
async fn with_a_cluster_down_others_go_on_and_what_waits_for_it_ends_when_it_is_back() {
    let keeping = Keeping::start(roomy()).await;
    let world = &keeping.world;
    let operator = world.operator();
    let near = world.tenant("near").await;
    let second = world.second_cluster().await;
    let main = async |status: &str| {
        let body = json!({ "status": status });
        operator.patch("/v1/clusters/main", body).await.expect(200);
    };
    main("full").await;
    let (far, behind) = (world.tenant("far").await, world.tenant("behind").await);
    main("active").await;
    let set_back = format!(
        "update registry.tenant set schema_versions = schema_versions || '{{\"entries\": 1}}'
         where id in ('{}', '{}')",
        near.id(),
        behind.id()
    );
    world.postgres().run("registry", &set_back).await;

    second.postgres().stop(StopMode::Immediate).await;
    let begun = post(&operator, &far, "/rotate?wait=none").await.expect(202);
    let waiting = operation_of(&begun);
    until("it says what it waits for", || async {
        let path = format!("/v1/operations/{waiting}");
        operator.get(&path).await.json()["failure"]["code"] == "database-unavailable"
    })
    .await;
    // A comparison is over without it, and says whom it could not look at.
    let begun = operator.post("/v1/drift?wait=none", json!({})).await;
    let drift = operation_of(&begun.expect(202));
    reaches(world, &drift, "done", "the comparison").await;
    let drift = operator
        .get(&format!("/v1/operations/{drift}"))
        .await
        .json();
    let mut unreachable = [far.id(), behind.id()];
    unreachable.sort();
    assert_eq!(drift["result"]["unreachable"], json!(unreachable));
    assert_eq!(drift["result"]["compared"], 1, "{drift:#}");
    // Nor does a tenant wait for where it was to go.
    let to_second = json!({ "to": "second" });
    let moving = format!("/v1/tenants/{}/move?wait=none", near.id());
    let begun = operator.post(&moving, &to_second).await.expect(202);
    let moving_there = operation_of(&begun);
    let order = format!("/v1/operations/{moving_there}/cancel");
    let cancelled = operator.request(Method::POST, &order).send().await;
    assert!(matches!(cancelled.status(), 200 | 202), "{cancelled}");
    reaches(world, &moving_there, "undone", "the move").await;
    for verb in ["/suspend?wait=done", "/resume"] {
        let path = format!("/v1/tenants/{}{verb}", near.id());
        let body = json!({ "wall": "blocked" });
        let answer = match verb {
            "/resume" => operator.request(Method::POST, &path).send().await,
            _ => operator.post(&path, body).await,
        };
        reaches(world, &operation_of(&answer), "done", verb).await;
    }
    let request = json!({ "filter": { "ids": [near.id(), behind.id()] }, "halt_share": 1.0 });
    let begun = operator
        .post("/v1/rollouts?wait=none", request)
        .await
        .expect(202);
    let rollout = begun.json()["id"].as_str().unwrap().to_owned();
    let path = format!("/v1/rollouts/{rollout}");
    eventually(
        world::DEADLINE * 2,
        "one is done and one has failed",
        || async {
            let tally = operator.get(&path).await.expect(200).json()["tally"].clone();
            (tally["done"] == 1 && tally["failed"] == 1).then_some(())
        },
    )
    .await;
    let failed = operator.get(&format!("{path}/tenants?state=failed")).await;
    let failed = failed.expect(200).json();
    assert_eq!(
        failed["data"][0]["tenant"],
        json!(behind.id()),
        "{failed:#}"
    );
    let words = failed["data"][0]["failure"]["message"].as_str().unwrap();
    assert!(words.contains("Connection refused"), "{failed:#}");
    for verb in ["/rotate", "/backups", "/export"] {
        let answer = post(&operator, &near, verb).await;
        reaches(world, &operation_of(&answer), "done", verb).await;
    }
    near.owner()
        .post("/v1/entries", entry("meanwhile"))
        .await
        .expect(201);
    let refused = far.owner().get("/v1/entries").await.expect(503);
    refused.refused(Code::TenantUnavailable);

    second.postgres().start_again().await;
    let path_of_it = format!("/v1/operations/{waiting}");
    let end = eventually(world::DEADLINE * 2, "what waited is over", || async {
        let operation = operator.get(&path_of_it).await.expect(200).json();
        let state = operation["state"].as_str().unwrap_or_default().to_owned();
        matches!(state.as_str(), "done" | "undone" | "stuck").then_some(state)
    })
    .await;
    assert_ne!(end, "stuck");
    let again = post(&operator, &far, "/rotate").await;
    reaches(world, &operation_of(&again), "done", "the same again").await;
    let order = format!("{path}/retry-failed");
    operator
        .request(Method::POST, &order)
        .send()
        .await
        .expect(200);
    eventually(world::DEADLINE, "the roll-out is done", || async {
        let rollout = operator.get(&path).await.expect(200).json();
        let tally = &rollout["tally"];
        if tally["failed"] != 0 {
            let failed = operator.get(&format!("{path}/tenants?state=failed")).await;
            panic!("{rollout:#}: {failed}");
        }
        (tally["done"] == 2).then_some(())
    })
    .await;
    // What the undone move may have left there stands in nobody's way.
    let left = format!(
        "create role {id} nologin; comment on role {id} is 'tenantry:{moving_there}'",
        id = near.id()
    );
    second.postgres().run("postgres", &left).await;
    let begun = operator.post(&moving, &to_second).await.expect(202);
    reaches(world, &operation_of(&begun), "done", "the same move").await;
    for tenant in [&near, &far, &behind] {
        until("the tenant is served", || async {
            tenant.owner().get("/v1/entries").await.status() == 200
        })
        .await;
    }
    // What was idle in a pool while the server came and went is no finding.
    second.postgres().restart(StopMode::Fast).await;
    let found = operator.get("/v1/doctor").await.expect(200).json();
    let at_second = |one: &&Value| one["place"] == "second" && one["check"] == "reachable";
    let reachable = found.as_array().unwrap().iter().find(at_second);
    assert_eq!(reachable.unwrap()["verdict"], "ok", "{found:#}");
}
