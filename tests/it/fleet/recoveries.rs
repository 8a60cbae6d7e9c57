//! What operators do after a bad day, and what stands in their way.
//!
//! Deliberately as the doctor and the documentation say it. Invariant: what was refused for a reason goes
//! through when the reason is gone.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use contract::Code;
use http::Method;
use serde_json::{Value, json};
use world::{Faults, Speaker, TenantHandle, WorldOptions, eventually, until};

use super::backups::{Keeping, back_up, hashes, write};
use super::copies::without_sessions;
use super::harness;

async fn restore(operator: &Speaker, tenant: &TenantHandle, from: &str) -> Value {
    let path = format!("/v1/tenants/{}/restore-backup", tenant.id());
    let body = json!({ "from": from, "confirm": tenant.id() });
    operator.post(&path, body).await.expect(200).json()
}

async fn served(tenant: &TenantHandle) {
    until("the tenant is served", || async {
        tenant.owner().get("/v1/entries").await.status() == 200
    })
    .await;
}

#[tokio::test]
async fn a_database_dropped_behind_our_back_comes_back_from_its_backup() {
    let keeping = Keeping::start(WorldOptions::default()).await;
    let world = &keeping.world;
    let operator = world.operator();
    let acme = world.tenant("dropped").await;
    write(&acme, &["one", "two"]).await;
    let backup = back_up(&operator, &acme, "none").await;
    let before = without_sessions(hashes(world, acme.id().as_str()).await);
    let drop = format!("drop database {} with (force)", acme.id());
    world.postgres().run("postgres", &drop).await;

    let done = restore(&operator, &acme, &backup).await;
    assert_eq!(done["result"]["copy"], 2, "{done:#}");
    assert_eq!(
        done["result"]["kept_copy"],
        Value::Null,
        "nothing was replaced"
    );
    let changes = done["result"]["changes"]["tables"].as_array().unwrap();
    assert!(
        changes.iter().all(|table| table["rows_now"] == 0),
        "{done:#}"
    );
    served(&acme).await;
    assert_eq!(
        without_sessions(hashes(world, acme.id().as_str()).await),
        before
    );
    write(&acme, &["three"]).await;
    // There is nothing to go back to, and nothing is promised.
    let path = format!("/v1/tenants/{}/restore-backup", acme.id());
    let body = json!({ "from": "previous", "confirm": acme.id() });
    operator.post(&path, body).await.expect(404);
    harness::no_leftovers(world).await;

    // Nor does a missing database keep its tenant from being deleted and purged.
    world.postgres().run("postgres", &drop).await;
    let path = |verb: &str| format!("/v1/tenants/{}{verb}", acme.id());
    let confirmed = path(&format!("?confirm={}", acme.id()));
    let deleted = operator.delete(&confirmed).await.expect(200).json();
    assert_eq!(deleted["result"]["database"], "missing", "{deleted:#}");
    let request = operator.request(Method::POST, &path("/restore"));
    let refused = request.send().await;
    let words = refused.refused(Code::Conflict).detail.unwrap();
    assert!(words.contains("backups"), "{words}");
    let id = harness::operation_of(&refused);
    harness::reaches(world, &id, "undone", "the restore").await;
    let purge =
        |last: &str| json!({ "confirm": acme.id(), "force": acme.id(), "final_backup": last });
    let refused = operator.post(&path("/purge"), purge("keep")).await;
    refused.refused(Code::Conflict);
    let id = harness::operation_of(&refused);
    harness::reaches(world, &id, "undone", "a last backup of nothing").await;
    let answer = operator.post(&path("/purge"), purge("none")).await;
    let id = harness::operation_of(&answer);
    harness::reaches(world, &id, "done", "the purge").await;
    let certificate = operator.get(&path("/certificate")).await.expect(200).json();
    assert_eq!(
        certificate["body"]["databases_missing"],
        json!([format!("deleted:{}:2", acme.id())]),
        "{certificate:#}"
    );
    let names = world.postgres().names().await;
    let left: Vec<_> = names
        .iter()
        .filter(|name| name.contains(acme.id().as_str()))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn previous_is_what_the_last_restore_replaced_whatever_is_kept_for_longer() {
    let keeping = Keeping::start(WorldOptions::default()).await;
    let world = &keeping.world;
    let operator = world.operator();
    let acme = world.tenant("previous").await;
    let backup = back_up(&operator, &acme, "none").await;
    let path = format!("/v1/tenants/{}/restore-backup", acme.id());
    for (title, hours) in [("first", 72), ("second", 1)] {
        write(&acme, &[title]).await;
        let body = json!({ "from": backup, "confirm": acme.id(), "keep_old_hours": hours });
        operator.post(&path, body).await.expect(200);
        served(&acme).await;
    }
    // As if a move had left a newer copy here.
    let left = format!(
        "insert into registry.operation
             (id, kind, tenant_id, requested_by, state, step, plan, finished_at)
         values ('00000000-0000-7000-8000-000000000001', 'move', '{id}', 'platform', 'done', 'leave',
             '{{}}', now());
         insert into registry.kept_database (cluster, name, tenant_id, operation_id, drop_after)
         values ('main', 'old:{id}:9', '{id}', '00000000-0000-7000-8000-000000000001',
             now() + interval '1 day')",
        id = acme.id()
    );
    world.postgres().run("registry", &left).await;
    let done = restore(&operator, &acme, "previous").await;
    assert_eq!(done["result"]["from"]["copy"], 2, "{done:#}");
    served(&acme).await;
    let titles = "select title from entries.entry order by 1";
    let titles = world.postgres().texts(acme.id().as_str(), titles).await;
    assert_eq!(titles, ["second"]);
}

#[tokio::test]
async fn backups_that_always_fail_hold_no_other_tenant_up() {
    let options = WorldOptions::default().platform_setting("backups.check_every", "50ms");
    let keeping = Keeping::start(options).await;
    let world = &keeping.world;
    let operator = world.operator();
    let bad = [world.tenant("bad").await, world.tenant("worse").await];
    let good = world.tenant("good").await;
    for tenant in &bad {
        // Nobody of ours may read it, so no backup of the tenant can be whole.
        let table = "create table public.foreign_table (id int)";
        world.postgres().run(tenant.id().as_str(), table).await;
    }
    let earlier = format!(
        "update registry.tenant set activated_at = activated_at - interval '10 minutes';
         update registry.tenant set activated_at = activated_at + interval '1 minute' where id = '{}'",
        good.id()
    );
    world.postgres().run("registry", &earlier).await;
    let schedule = json!({ "every_minutes": 5, "keep": 2, "keep_days": 30 });
    let put = operator.request(Method::PUT, "/v1/tiers/standard/backups");
    put.json(&schedule).send().await.expect(200);
    let of = |tenant: &TenantHandle, state: &str| {
        let path = format!(
            "/v1/operations?kind=backup&tenant={}&state={state}",
            tenant.id()
        );
        let operator = operator.clone();
        async move {
            let listed = operator.get(&path).await.expect(200).json();
            listed["data"].as_array().unwrap().len()
        }
    };
    eventually(
        Duration::from_secs(60),
        "the good one is backed up",
        || async { (of(&good, "done").await == 1).then_some(()) },
    )
    .await;
    for tenant in &bad {
        until("it was tried, and rests now", || async {
            of(tenant, "undone").await == 1
        })
        .await;
    }
}

/// A program that runs ours without an object store.
fn without_store(folder: &Path) -> PathBuf {
    let script = folder.join("without-store");
    let program = env!("CARGO_BIN_EXE_world-platform");
    let text = format!("#!/bin/sh\nunset PLATFORM__OBJECTS__FOLDER\nexec '{program}' \"$@\"\n");
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, Permissions::from_mode(0o700)).unwrap();
    script
}

#[tokio::test]
async fn no_certificate_says_that_objects_are_gone_which_nobody_could_reach() {
    let keeping = Keeping::start(WorldOptions::default()).await;
    let world = &keeping.world;
    let operator = world.operator();
    let acme = world.tenant("certified").await;
    back_up(&operator, &acme, "none").await;
    assert_eq!(keeping.objects().len(), 1);
    let id = acme.id();
    let delete = format!("/v1/tenants/{id}?confirm={id}");
    operator.delete(&delete).await.expect(200);
    let body = json!({ "confirm": id, "force": id, "final_backup": "none" });
    let purge = format!("/v1/tenants/{id}/purge");
    world.kill_platform();
    let script = without_store(keeping.folder.path());
    let blind = world.platform_process(&script).await;
    let asked = operator.clone().at(&blind.url());
    let refused = asked.post(&purge, body.clone()).await;
    let words = refused.refused(Code::Conflict).detail.unwrap();
    assert!(words.contains("objects.folder"), "{words}");
    let certificate = format!("/v1/tenants/{id}/certificate");
    assert_eq!(asked.get(&certificate).await.status(), 404);
    assert_eq!(keeping.objects().len(), 1);
    blind.kill().await;

    world.start_platform().await;
    let operator = world.operator();
    operator.post(&purge, body).await.expect(200);
    operator.get(&certificate).await.expect(200);
    assert_eq!(keeping.objects(), Vec::<PathBuf>::new());
}

#[tokio::test]
async fn a_server_that_was_upgraded_in_place_gets_the_programs_that_fit_it() {
    let keeping = Keeping::start(WorldOptions::default()).await;
    let world = &keeping.world;
    let operator = world.operator();
    let acme = world.tenant("upgraded").await;
    // As if it had been added long ago, and nobody measured it meanwhile.
    let old = "update registry.cluster
        set server_version = 90600, measured_at = now() + interval '1 day'";
    world.postgres().run("registry", old).await;
    let path = format!("/v1/tenants/{}/backups", acme.id());
    let refused = operator.post(&path, json!({})).await;
    refused.refused(Code::ToolsMissing);
    let due = "update registry.cluster set measured_at = null";
    world.postgres().run("registry", due).await;
    let _replica = world.platform_replica(Faults::none()).await;
    until("the cluster is measured", || async {
        let shown = operator.get("/v1/clusters/main").await.expect(200).json();
        shown["server_version"].as_i64().unwrap() >= 150_000
    })
    .await;
    operator.post(&path, json!({})).await.expect(200);
}

#[tokio::test]
async fn what_killed_processes_and_forgotten_uploads_left_is_removed_by_the_next_start() {
    let keeping = Keeping::start(WorldOptions::default()).await;
    let place = |name: &str| keeping.folder.path().join(name);
    std::fs::create_dir_all(place("objects/imports")).unwrap();
    let [stale, fresh] = ["stale.tar", "fresh.tar"].map(|name| {
        let path = place("objects/imports").join(name);
        std::fs::write(&path, "a tenant's data").unwrap();
        path
    });
    let day = Duration::from_secs(24 * 3600 + 60);
    let file = std::fs::File::options().write(true).open(&stale).unwrap();
    file.set_modified(SystemTime::now() - day).unwrap();
    let left = place("work/tenantry-pass-left");
    std::fs::write(&left, "*:5432:*:tn_schema:secret").unwrap();
    let _replica = keeping.world.platform_replica(Faults::none()).await;
    until("both are gone", || async {
        !stale.exists() && !left.exists()
    })
    .await;
    assert!(fresh.exists());
}
