//! What is kept for a time: last backups of purged tenants, exports.
//!
//! Deliberately with times that are set and not waited for. Invariant: what is over is gone from the
//! store and from the registry, and nothing else is.

use std::path::PathBuf;

use contract::Code;
use http::Method;
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};
use world::{Speaker, TenantHandle, World, WorldOptions, until};

use super::backups::{Keeping, back_up, hashes, write};
use super::copies::without_sessions;

async fn keeping() -> Keeping {
    let options = WorldOptions::default()
        .platform_setting("backups.check_every", "50ms")
        .platform_setting("backups.keep_exports", "36h")
        .platform_setting("purge.window", "00:00-00:00");
    Keeping::start(options).await
}

/// Backups and exports of a tenant, the newest first.
async fn kept(operator: &Speaker, tenant: &TenantHandle) -> Vec<Value> {
    let path = format!("/v1/backups?tenant={}", tenant.id());
    let listed = operator.get(&path).await.expect(200).json();
    listed["data"].as_array().unwrap().clone()
}

/// From when a backup was asked for until it expires.
fn life(backup: &Value) -> Duration {
    let time = |field: &str| {
        let text = backup[field].as_str().unwrap();
        OffsetDateTime::parse(text, &Rfc3339).unwrap()
    };
    time("expires_at") - time("created_at")
}

async fn fetch(operator: &Speaker, archive: &Value) -> world::Answer {
    let id = archive.as_str().unwrap();
    operator.get(&format!("/v1/exports/{id}/archive")).await
}

/// As if the time were over for which anything is kept.
async fn run_out(keeping: &Keeping) {
    let over = "update registry.backup set expires_at = now() - interval '1 s'
         where expires_at is not null";
    keeping.world.postgres().run("registry", over).await;
}

/// Deletes a tenant and purges it, with a last backup; gives what came of it.
async fn purge(operator: &Speaker, tenant: &TenantHandle) -> Value {
    let (id, path) = (tenant.id(), format!("/v1/tenants/{}", tenant.id()));
    let confirmed = format!("{path}?confirm={id}");
    operator.delete(&confirmed).await.expect(200);
    let body = json!({ "confirm": id, "force": id, "final_backup": "keep" });
    let purged = operator.post(&format!("{path}/purge"), body).await;
    purged.expect(200).json()["result"].clone()
}

#[tokio::test]
async fn the_last_backup_of_a_purged_tenant_is_a_tenant_again_until_it_expires() {
    let keeping = keeping().await;
    let world = &keeping.world;
    let operator = world.operator();
    let acme = world.tenant("last").await;
    write(&acme, &["one", "two"]).await;
    back_up(&operator, &acme, "none").await;
    let schedule = json!({ "every_minutes": null, "keep": 7, "keep_days": 12 });
    let put = operator.request(Method::PUT, "/v1/tiers/standard/backups");
    put.json(&schedule).send().await.expect(200);
    let before = without_sessions(hashes(world, acme.id().as_str()).await);

    let result = purge(&operator, &acme).await;
    let last = &result["final_backup"];
    let listed = kept(&operator, &acme).await;
    assert_eq!(listed.len(), 1, "the others are destroyed: {listed:#?}");
    assert_eq!(
        (&listed[0]["id"], &listed[0]["kind"], &listed[0]["state"]),
        (last, &json!("final"), &json!("ready"))
    );
    assert_eq!(life(&listed[0]), Duration::days(12));
    let path = format!("/v1/tenants/{}/certificate", acme.id());
    let certificate = operator.get(&path).await.expect(200).json();
    let said = &certificate["body"]["final_backup"];
    assert_eq!(said["id"], *last, "{certificate:#}");
    assert_eq!(said["sha256"], listed[0]["sha256"], "{certificate:#}");
    let day = |text: &Value| text.as_str().unwrap()[..10].to_owned();
    assert_eq!(day(&said["expires_at"]), day(&listed[0]["expires_at"]));

    let archive = fetch(&operator, last).await.expect(200).body().to_vec();
    let upload = operator.request(Method::PUT, "/v1/imports/last.tar");
    let upload = upload.body_of_type("application/x-tar", archive);
    upload.send().await.expect(200);
    let taken = operator.post("/v1/imports", json!({ "archive": "last.tar" }));
    taken.await.refused(Code::SlugTaken);
    let slug = format!("{}-again", acme.slug());
    let again = json!({ "archive": "last.tar", "slug": slug });
    let made = operator.post("/v1/imports", again).await.expect(200).json();
    let again = made["tenant"].as_str().unwrap().to_owned();
    assert_eq!(without_sessions(hashes(world, &again).await), before);

    run_out(&keeping).await;
    until("its object is removed, and its row", || async {
        kept(&operator, &acme).await.is_empty() && keeping.objects().is_empty()
    })
    .await;
    fetch(&operator, last).await.refused(Code::NotFound);
    assert_eq!(without_sessions(hashes(world, &again).await), before);
}

#[tokio::test]
async fn an_export_says_when_it_expires_and_is_removed_then() {
    let keeping = keeping().await;
    let operator = keeping.world.operator();
    let acme = keeping.world.tenant("exported").await;
    let backup = back_up(&operator, &acme, "none").await;
    let path = format!("/v1/tenants/{}/export", acme.id());
    let done = operator.request(Method::POST, &path).send().await;
    let export = done.expect(200).json()["result"]["export"].clone();
    let listed = kept(&operator, &acme).await;
    assert_eq!(listed[0]["id"], export);
    assert_eq!(life(&listed[0]), Duration::hours(36));
    assert!(listed[1]["expires_at"].is_null(), "{listed:#?}");
    fetch(&operator, &export).await.expect(200);

    run_out(&keeping).await;
    until("it is removed", || async {
        kept(&operator, &acme).await.len() == 1 && keeping.objects().len() == 1
    })
    .await;
    fetch(&operator, &export).await.refused(Code::NotFound);
    let left: Vec<PathBuf> = keeping.objects();
    assert!(left[0].to_str().unwrap().contains(&backup), "{left:?}");
}

/// What is said of a tenant's last backup, by what it is shown in.
async fn wished(operator: &Speaker, tenant: &TenantHandle) -> [Value; 2] {
    let path = format!("/v1/tenants/{}", tenant.id());
    let shown = operator.get(&path).await.expect(200).json();
    let purge = format!("{path}/purge");
    let preview = operator.post(&purge, json!({ "dry_run": true })).await;
    let preview = preview.expect(200).json();
    [
        shown["final_backup"].clone(),
        preview["final_backup"].clone(),
    ]
}

#[tokio::test]
async fn a_last_backup_that_a_deletion_asks_for_is_kept_by_the_purge_that_comes_by_itself() {
    let keeping = keeping().await;
    let world = &keeping.world;
    let operator = world.operator();
    let acme = world.tenant("wished").await;
    write(&acme, &["one", "two"]).await;
    let (id, path) = (acme.id(), format!("/v1/tenants/{}", acme.id()));
    let restore = async || {
        let path = format!("{path}/restore");
        let restored = operator.request(Method::POST, &path).send().await;
        restored.expect(200);
    };
    let asked = format!("{path}?confirm={id}&final_backup=keep");
    let dry = operator.delete(&format!("{asked}&dry_run=true")).await;
    assert_eq!(dry.expect(200).json()["final_backup"], "keep");
    operator.delete(&asked).await.expect(200);
    assert_eq!(wished(&operator, &acme).await, ["keep", "keep"]);
    let otherwise = json!({ "dry_run": true, "final_backup": "none" });
    let preview = operator.post(&format!("{path}/purge"), otherwise).await;
    assert_eq!(preview.expect(200).json()["final_backup"], "none");
    // Who comes back is not deleted as before.
    restore().await;
    let plainly = format!("{path}?confirm={id}");
    operator.delete(&plainly).await.expect(200);
    assert_eq!(wished(&operator, &acme).await, ["none", "none"]);
    restore().await;
    operator.delete(&asked).await.expect(200);

    let over = format!(
        "update registry.tenant set purge_after = now() - interval '1 s' where id = '{id}'"
    );
    world.postgres().run("registry", &over).await;
    until("it is purged", || async {
        let shown = operator.get(&path).await.expect(200).json();
        shown["purged_at"].is_string()
    })
    .await;
    let listed = kept(&operator, &acme).await;
    assert_eq!(listed.len(), 1, "{listed:#?}");
    assert_eq!(listed[0]["kind"], "final", "{listed:#?}");
    let certificate = operator.get(&format!("{path}/certificate")).await;
    let certificate = certificate.expect(200).json();
    let said = &certificate["body"]["final_backup"]["id"];
    assert_eq!(*said, listed[0]["id"], "{certificate:#}");
    fetch(&operator, said).await.expect(200);
}

#[tokio::test]
async fn a_last_backup_is_refused_at_the_deletion_where_there_is_no_place_for_it() {
    let world = World::start().await;
    let acme = world.tenant("placeless").await;
    let (id, path) = (acme.id(), format!("/v1/tenants/{}", acme.id()));
    for asked in [
        format!("{path}?confirm={id}&final_backup=keep"),
        format!("{path}?final_backup=keep&dry_run=true"),
    ] {
        let refused = world.operator().delete(&asked).await;
        let words = refused.refused(Code::Conflict).detail.unwrap();
        assert!(words.contains("objects.folder"), "{words}");
    }
    acme.owner().get("/v1/me").await.expect(200);
    let plainly = format!("{path}?confirm={id}");
    world.operator().delete(&plainly).await.expect(200);
    let dry = json!({ "dry_run": true, "final_backup": "keep" });
    let refused = world.operator().post(&format!("{path}/purge"), dry).await;
    refused.refused(Code::Conflict);
}

#[tokio::test]
async fn no_last_backup_is_waited_for_of_a_database_that_is_gone() {
    let keeping = keeping().await;
    let world = &keeping.world;
    let operator = world.operator();
    let acme = world.tenant("vanished").await;
    let (id, path) = (acme.id(), format!("/v1/tenants/{}", acme.id()));
    let drop = format!(r#"drop database "{id}" with (force)"#);
    world.postgres().run("postgres", &drop).await;
    let asked = format!("{path}?confirm={id}&final_backup=keep");
    let deleted = operator.delete(&asked).await.expect(200).json();
    assert_eq!(deleted["result"]["database"], "missing", "{deleted:#}");
    assert_eq!(wished(&operator, &acme).await, ["none", "none"]);
}
