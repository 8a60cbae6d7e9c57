//! What changes between a look and what follows from it: a statement that comes too late, a mind that was
//! changed, nobody to ask.
//!
//! Deliberately with locks in the servers, so that each order of events is certain.

use contract::Code;
use http::Method;
use serde_json::{Value, json};
use world::{Postgres, TenantHandle, World, WorldOptions, until};

use super::backups::{Keeping, back_up, hashes, write};
use super::copies::without_sessions;
use super::harness::{operation_at, operation_of, reaches, roomy};
use crate::support::{heard_again, silenced};

/// Sessions that wait for a lock with a statement like this, for so long at least.
async fn waiting(server: &Postgres, like: &str, seconds: u32) -> i64 {
    let sql = format!(
        "select count(*) from pg_stat_activity where wait_event_type = 'Lock'
             and query like '%{like}%' and query_start <= now() - interval '{seconds} s'"
    );
    server.number("postgres", &sql).await
}

#[tokio::test]
async fn names_that_are_not_changed_in_time_are_not_changed_late() {
    let options = WorldOptions::default().platform_setting("operations.lease", "4s");
    let keeping = Keeping::start(options).await;
    let (world, server) = (&keeping.world, keeping.world.postgres());
    let acme = world.tenant("late").await;
    write(&acme, &["one"]).await;
    let backup = back_up(&world.operator(), &acme, "none").await;
    let before = without_sessions(hashes(world, acme.id().as_str()).await);
    // Whoever renames a database waits for who describes it.
    let describe = format!("comment on database {} is 'described'", acme.id());
    let described = server.begin("postgres", &describe).await;
    let path = format!("/v1/tenants/{}/restore-backup?wait=none", acme.id());
    let body = json!({ "from": backup, "confirm": acme.id() });
    let begun = world.operator().post(&path, body).await.expect(202);
    let id = operation_of(&begun);
    until("the names are not changed in time", || async {
        waiting(server, "rename to", 4).await >= 1
    })
    .await;
    drop(described);
    reaches(world, &id, "done", "the restore, tried again").await;
    let log = operation_at(world, &id).await["log"].to_string();
    assert!(log.contains("it was not done in time"), "{log}");
    assert_eq!(
        without_sessions(hashes(world, acme.id().as_str()).await),
        before
    );
}

#[tokio::test]
async fn a_tenant_that_is_held_back_anew_is_not_let_go() {
    let world = World::with(WorldOptions::default()).await;
    let (server, operator) = (world.postgres(), world.operator());
    let (acme, beta) = (world.tenant("anew").await, world.tenant("over").await);
    let wall = json!({ "wall": "blocked", "until": "2099-01-01T00:00:00Z" });
    for tenant in [&acme, &beta] {
        let path = format!("/v1/tenants/{}/suspend", tenant.id());
        operator.post(&path, &wall).await.expect(200);
    }
    let ends = |tenant: &TenantHandle, after: &str| {
        format!(
            "update registry.tenant set suspended_until = clock_timestamp() + interval '{after}'
             where id = '{}'",
            tenant.id()
        )
    };
    // Somebody holds it back for longer, while its time ends and, later, that of another tenant.
    server.run("registry", &ends(&acme, "8 s")).await;
    let held = server.begin("registry", &ends(&acme, "1 day")).await;
    let due = format!(
        "select count(*) from registry.tenant
         where id = '{}' and suspended_until <= clock_timestamp()",
        acme.id()
    );
    until("its time ends", || async {
        server.number("registry", &due).await == 1
    })
    .await;
    server.run("registry", &ends(&beta, "0 s")).await;
    until("the other one is let go", || async {
        beta.owner().get("/v1/entries").await.status() == 200
    })
    .await;
    held.commit().await;
    let begun = format!("/v1/operations?tenant={}&kind=resume", acme.id());
    let begun: Value = operator.get(&begun).await.expect(200).json();
    assert_eq!(begun["data"], json!([]), "nothing was begun");
    let refused = acme.owner().get("/v1/entries").await;
    refused.refused(Code::TenantSuspended);
}

#[tokio::test]
async fn an_owner_is_not_changed_by_asking_nobody() {
    let world = World::with(roomy()).await;
    let acme = world.tenant("nobody").await;
    silenced(&world).await;
    let email = format!("grace@{}.example", acme.slug());
    let body = json!({ "to": email, "password": world::PASSWORD, "others": "keep" });
    let path = format!("/v1/tenants/{}/transfer?wait=none", acme.id());
    let begun = world.operator().post(&path, body).await.expect(202);
    let id = operation_of(&begun);
    until("it waits for somebody to ask", || async {
        let shown = operation_at(&world, &id).await;
        assert_ne!(shown["state"], "done", "{shown:#}");
        shown["failure"]["code"] == "not-ready"
    })
    .await;
    heard_again(&world).await;
    reaches(&world, &id, "done", "the transfer").await;
    let visitor = acme.anonymous();
    let credentials = json!({ "email": email, "password": world::PASSWORD });
    until("the new owner signs in", || async {
        let login = visitor.post("/v1/auth/login", credentials.clone());
        login.await.status() == 200
    })
    .await;
}

#[tokio::test]
async fn a_new_password_for_a_dropped_database_is_taken_back_and_its_backup_restored() {
    let keeping = Keeping::start(WorldOptions::default()).await;
    let (world, operator) = (&keeping.world, keeping.world.operator());
    let acme = world.tenant("gone").await;
    write(&acme, &["one"]).await;
    let backup = back_up(&operator, &acme, "none").await;
    let before = without_sessions(hashes(world, acme.id().as_str()).await);
    let path = |verb: &str| format!("/v1/tenants/{}/{verb}", acme.id());
    let drop = format!("drop database {} with (force)", acme.id());
    world.postgres().run("postgres", &drop).await;
    let request = operator.request(Method::POST, &path("rotate?wait=none"));
    let begun = request.send().await.expect(202);
    let id = operation_of(&begun);
    reaches(world, &id, "undone", "the new password").await;
    let body = json!({
        "to": format!("grace@{}.example", acme.slug()), "password": world::PASSWORD, "others": "keep",
    });
    let begun = operator.post(&path("transfer?wait=none"), body).await;
    let id = operation_of(&begun.expect(202));
    reaches(world, &id, "undone", "the new owner").await;
    let body = json!({ "from": backup, "confirm": acme.id() });
    let restored = operator.post(&path("restore-backup"), body).await;
    restored.expect(200);
    assert_eq!(
        without_sessions(hashes(world, acme.id().as_str()).await),
        before
    );
    until("the tenant is served", || async {
        acme.owner().get("/v1/entries").await.status() == 200
    })
    .await;
}
