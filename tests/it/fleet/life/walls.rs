//! Tenants that are held back, and servers that take no writes.

use std::time::{Duration, Instant};

use contract::Code;
use futures::future::join_all;
use http::Method;
use serde_json::json;
use world::{Mode, World, WorldOptions, until};

use super::{blocked, path, post, refuses, tell, with_an_entry, works};
use crate::support::{entry, role_password};

#[tokio::test]
async fn a_suspended_tenant_is_refused_by_every_replica_also_with_the_feed_cut() {
    let world = World::with(WorldOptions::default().app_replicas(2)).await;
    let acme = with_an_entry(&world).await;
    let at = |replica: usize| acme.owner().at(&world.app_url(replica));
    for replica in [0, 1] {
        at(replica).get("/v1/entries").await.expect(200);
    }
    world.platform_link().set(Mode::Reset);
    post(&world.operator(), &acme, "/suspend", blocked())
        .await
        .expect(200);
    for replica in [0, 1] {
        for _ in 0..3 {
            let written = at(replica).post("/v1/entries", entry("late")).await;
            assert!(written.status() >= 400, "{written}");
            let read = at(replica).get("/v1/entries").await;
            assert!(read.status() >= 400, "{read}");
        }
    }
    world.platform_link().set(Mode::Pass);
    for replica in [0, 1] {
        until("it is refused with words", || async {
            at(replica).get("/v1/entries").await.status() == 403
        })
        .await;
        let answer = at(replica).get("/v1/entries").await.expect(403);
        answer.refused(Code::TenantSuspended);
        assert!(answer.text().contains("invoice of May"), "{answer}");
    }
    tell(&world.operator(), &acme, "/resume").await.expect(200);
    works(&world, &acme).await;
    let entries = acme.owner().get("/v1/entries").await.expect(200);
    assert!(!entries.text().contains("late"), "{entries}");
}

#[tokio::test]
async fn read_only_people_sign_in_and_read_and_nobody_writes() {
    let world = World::shared().await;
    let acme = with_an_entry(&world).await;
    let body = json!({ "wall": "read_only", "reason": "We move to another office." });
    let suspend = path(&acme, "/suspend?wait=replicas");
    world.operator().post(&suspend, body).await.expect(200);
    let credentials = json!({ "email": acme.email(), "password": world::PASSWORD });
    let signed_in = acme
        .anonymous()
        .post("/v1/auth/login", credentials)
        .await
        .expect(200)
        .json();
    let person = acme
        .anonymous()
        .bearer(signed_in["access_token"].as_str().unwrap());
    let entries = person.get("/v1/entries").await.expect(200);
    assert!(entries.text().contains("kept"), "{entries}");
    let refused = person.post("/v1/entries", entry("no")).await.expect(403);
    refused.refused(Code::TenantReadOnly);
    assert!(refused.text().contains("another office"), "{refused}");
    let refresh = json!({ "refresh_token": signed_in["refresh_token"] });
    acme.anonymous()
        .post("/v1/auth/refresh", refresh)
        .await
        .expect(200);
    person
        .request(Method::POST, "/v1/auth/logout")
        .send()
        .await
        .expect(204);
    // Nobody writes who comes past our services either.
    let id = acme.id().as_str();
    let password = role_password(&world, acme.id()).await;
    let mut role = world
        .postgres()
        .connect_as(id, password.expose(), id)
        .await
        .unwrap();
    sqlx::raw_sql("select count(*) from entries.entry")
        .execute(&mut role)
        .await
        .unwrap();
    for forbidden in [
        "update entries.entry set title = 'x'",
        "delete from entries.entry",
        "update auth.account set email = 'x'",
        "update auth.account set status = 'disabled'",
        "insert into auth.membership (account_id, role) select id, 'owner' from auth.account",
        "delete from auth.audit",
    ] {
        let refused = sqlx::raw_sql(forbidden).execute(&mut role).await;
        assert!(refused.is_err(), "{forbidden}");
    }
    tell(&world.operator(), &acme, "/resume").await.expect(200);
    works(&world, &acme).await;
}

#[tokio::test]
async fn wait_for_replicas_means_all_have_heard() {
    let world = World::with(WorldOptions::default().app_replicas(2)).await;
    let acme = with_an_entry(&world).await;
    for replica in [0, 1] {
        let owner = acme.owner().at(&world.app_url(replica));
        owner.get("/v1/entries").await.expect(200);
    }
    let (read, write) = ("read_only", "blocked");
    for (wall, code) in [(read, Code::TenantReadOnly), (write, Code::TenantSuspended)] {
        let path = path(&acme, "/suspend?wait=replicas");
        let body = json!({ "wall": wall });
        world.operator().post(&path, body).await.expect(200);
        let answers = join_all([0, 1].map(|replica| {
            let owner = acme.owner().at(&world.app_url(replica));
            async move { owner.post("/v1/entries", entry("no")).await }
        }))
        .await;
        for answer in answers {
            answer.expect(403).refused(code);
        }
    }
}

#[tokio::test]
async fn a_suspension_ends_by_itself() {
    let world = World::shared().await;
    let acme = with_an_entry(&world).await;
    let far = json!({ "wall": "read_only", "until": "2099-01-02T05:04:00+02:00" });
    post(&world.operator(), &acme, "/suspend", far)
        .await
        .expect(200);
    refuses(&acme, Method::POST, Code::TenantReadOnly).await;
    let refused = acme.owner().post("/v1/entries", entry("late")).await;
    let words = refused.refused(Code::TenantReadOnly).detail.unwrap();
    assert!(words.contains("Until 2099-01-02 03:04, UTC"), "{words}");
    let body = json!({ "wall": "blocked", "until": "2099-01-01T00:00:00Z" });
    post(&world.operator(), &acme, "/suspend", body)
        .await
        .expect(200);
    refuses(&acme, Method::GET, Code::TenantSuspended).await;
    // As if the time had passed.
    let over = format!(
        "update registry.tenant set suspended_until = now() where id = '{}' and suspended_until > now()",
        acme.id()
    );
    world.postgres().run("registry", &over).await;
    works(&world, &acme).await;
    let past = json!({ "wall": "blocked", "until": "2020-01-01T00:00:00Z" });
    post(&world.operator(), &acme, "/suspend", past)
        .await
        .expect(422)
        .refused(Code::ValidationFailed);
}

#[tokio::test]
async fn writes_are_back_soon_after_a_server_was_read_only() {
    let world = World::shared().await;
    let acme = with_an_entry(&world).await;
    let id = acme.id();
    let set = async |to: &str| {
        let sql = format!(
            "alter database \"{id}\" {to} default_transaction_read_only{}",
            if to == "set" { " = on" } else { "" }
        );
        world.postgres().run("postgres", &sql).await;
    };
    set("set").await;
    let end =
        format!("select pg_terminate_backend(pid) from pg_stat_activity where usename = '{id}'");
    world.postgres().rows("postgres", &end).await;
    let write = async || {
        acme.owner()
            .post("/v1/entries", entry("more"))
            .await
            .status()
    };
    until("nothing can be written", || async { write().await == 503 }).await;
    acme.owner().get("/v1/entries").await.expect(200);
    set("reset").await;
    let began = Instant::now();
    until("it can be written to", || async { write().await == 201 }).await;
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );
    for _ in 0..5 {
        assert_eq!(write().await, 201);
    }
}
