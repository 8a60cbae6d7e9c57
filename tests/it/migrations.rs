//! Migrations of tenants' databases: once, on demand, and a failing one its tenant's own trouble.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use app_service::{App, Module, auth, entries};
use contract::Code;
use futures::future::join_all;
use refinery::Migration;
use world::{DEADLINE, World, WorldOptions, eventually, until};

use crate::directory::history;
use crate::support::entry;

mod calls;

const FIRST: &str =
    "create table ledger.line (id int not null, constraint line_key primary key (id));";
/// Works unless a tenant has a line that it cannot take.
const SECOND: &str = "alter table ledger.line add constraint line_id_check check (id < 100);";

fn migration(name: &str, sql: &str) -> Migration {
    Migration::unapplied(name, sql).unwrap()
}

/// A module of a test's own, in its first release or its second.
fn ledger(second: &AtomicBool) -> Module {
    ledger_with(second, SECOND)
}

/// The same, whose second release brings this.
fn ledger_with(second: &AtomicBool, sql: &str) -> Module {
    let mut migrations = vec![migration("V1__ledger", FIRST)];
    if second.load(Ordering::SeqCst) {
        migrations.push(migration("V2__bounded", sql));
    }
    Module::new("ledger", migrations)
}

/// A world whose replicas of app-service have the second release once the switch says so.
async fn with_releases() -> (World, Arc<AtomicBool>) {
    let (options, second) = releases();
    (World::with(options).await, second)
}

/// Options of such a world, and the switch.
pub(crate) fn releases() -> (WorldOptions, Arc<AtomicBool>) {
    let second = Arc::new(AtomicBool::new(false));
    let switch = Arc::clone(&second);
    let options = WorldOptions::default().app(move || {
        App::new()
            .module(auth::module())
            .module(entries::module())
            .module(ledger(&switch))
    });
    (options, second)
}

pub(crate) async fn versions(world: &World, tenant: &str) -> Vec<String> {
    let sql = "select version::text from ledger.refinery_schema_history order by version";
    world.postgres().texts(tenant, sql).await
}

#[tokio::test]
async fn a_broken_migration_hurts_its_tenant_alone_and_operators_see_it() {
    let (world, second) = with_releases().await;
    let sick = world.tenant("sick").await;
    let healthy = world.tenant("healthy").await;
    let poison = "insert into ledger.line values (500)";
    world.postgres().run(sick.id().as_str(), poison).await;
    second.store(true, Ordering::SeqCst);
    let newer = world.add_app_replica().await;
    let base = world.app_url(newer);
    let requests = (0..6).map(|_| {
        let owner = sick.owner().at(&base);
        async move { owner.get("/v1/entries").await }
    });
    for answer in join_all(requests).await {
        answer.expect(503).refused(Code::MigrationFailed);
    }
    // Who has no token does not learn how it fares.
    let login = sick.anonymous().at(&base);
    let credentials =
        serde_json::json!({ "email": "ada@sick.example", "password": world::PASSWORD });
    let refused = login.post("/v1/auth/login", credentials).await;
    refused.expect(503).refused(Code::Overloaded);
    healthy
        .owner()
        .at(&base)
        .get("/v1/entries")
        .await
        .expect(200);
    assert_eq!(versions(&world, healthy.id().as_str()).await, ["1", "2"]);
    assert_eq!(versions(&world, sick.id().as_str()).await, ["1"]);
    // The release before goes on serving the tenant, and the other one too: it is merely ahead.
    sick.owner().get("/v1/entries").await.expect(200);
    healthy
        .owner()
        .post("/v1/entries", entry("Ahead"))
        .await
        .expect(201);
    let path = format!("/v1/tenants/{}", sick.id());
    let failure = eventually(DEADLINE, "the operators see it", || async {
        let tenant = world.operator().get(&path).await.expect(200).json();
        tenant["migration_failures"]
            .as_array()
            .and_then(|failures| failures.first().cloned())
    })
    .await;
    assert_eq!(failure["owner"], "ledger");
    assert_eq!(failure["sqlstate"], "23514");
    assert!(
        failure["migration"]
            .as_str()
            .unwrap()
            .contains("V2__bounded"),
        "{failure}"
    );
    // Once the cause is gone, the platform's call brings it up.
    let cure = "delete from ledger.line where id = 500";
    world.postgres().run(sick.id().as_str(), cure).await;
    let later = world.add_app_replica().await;
    let owner = sick.owner().at(&world.app_url(later));
    eventually(DEADLINE, "the tenant is well again", || async {
        (owner.get("/v1/entries").await.status() == 200).then_some(())
    })
    .await;
    assert_eq!(versions(&world, sick.id().as_str()).await, ["1", "2"]);
    eventually(DEADLINE, "the operators see that", || async {
        let tenant = world.operator().get(&path).await.expect(200).json();
        (tenant["migration_failures"]
            .as_array()
            .is_some_and(Vec::is_empty))
        .then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_migration_that_broke_off_is_no_failed_one() {
    let second = Arc::new(AtomicBool::new(false));
    let switch = Arc::clone(&second);
    // The first of two that are behind is brought up on the way in, the other one afterwards.
    let options = WorldOptions::default().app(move || {
        let mut journal = vec![migration("V1__page", "create table journal.page (id int);")];
        if switch.load(Ordering::SeqCst) {
            let sql = "alter table journal.page add number int;";
            journal.push(migration("V2__number", sql));
        }
        App::new()
            .module(auth::module())
            .module(entries::module())
            .module(Module::new("journal", journal))
            .module(ledger(&switch))
    });
    let world = World::with(options).await;
    let (server, acme) = (world.postgres(), world.tenant("broken").await);
    second.store(true, Ordering::SeqCst);
    let newer = world.add_app_replica().await;
    let owner = acme.owner().at(&world.app_url(newer));
    let id = acme.id().as_str();
    let held = server.lock(id, "ledger.line").await;
    let (answer, ()) = tokio::join!(owner.get("/v1/entries"), async {
        let end = "select count(pg_terminate_backend(pid)) from pg_stat_activity
             where wait_event_type = 'Lock' and query like '%line_id_check%'";
        until("it waits for the table and is ended", || async {
            server.number("postgres", end).await == 1
        })
        .await;
        held.commit().await;
    });
    if answer.status() != 200 {
        answer.refused(Code::TenantUnavailable);
    }
    until("the tenant is served", || async {
        owner.get("/v1/entries").await.status() == 200
    })
    .await;
    assert_eq!(versions(&world, id).await, ["1", "2"]);
    let failures = "select count(*) from registry.migration_failure";
    assert_eq!(server.number("registry", failures).await, 0);
}

#[tokio::test]
async fn a_migration_that_ends_its_session_again_and_again_has_failed() {
    let second = Arc::new(AtomicBool::new(false));
    let switch = Arc::clone(&second);
    let options = WorldOptions::default().app(move || {
        let fatal = "select pg_terminate_backend(pg_backend_pid());";
        App::new()
            .module(auth::module())
            .module(ledger_with(&switch, fatal))
    });
    let world = World::with(options).await;
    let acme = world.tenant("fatal").await;
    second.store(true, Ordering::SeqCst);
    let newer = world.add_app_replica().await;
    let owner = acme.owner().at(&world.app_url(newer));
    let refused = eventually(DEADLINE, "it counts as failed", || async {
        let answer = owner.get("/v1/me").await.expect(503);
        (answer.code() == Code::MigrationFailed).then_some(answer)
    })
    .await;
    refused.refused(Code::MigrationFailed);
    until("the operators see it", || async {
        let failures = "select count(*) from registry.migration_failure";
        world.postgres().number("registry", failures).await == 1
    })
    .await;
}

#[tokio::test]
async fn a_tenant_that_can_be_served_as_it_is_does_not_wait_for_its_migration() {
    let second = Arc::new(AtomicBool::new(false));
    let switch = Arc::clone(&second);
    let options = WorldOptions::default().app(move || {
        App::new()
            .module(auth::module())
            .module(ledger(&switch).minimum(1))
    });
    let world = World::with(options).await;
    let (server, acme) = (world.postgres(), world.tenant("meanwhile").await);
    let id = acme.id().as_str();
    second.store(true, Ordering::SeqCst);
    let newer = world.add_app_replica().await;
    let owner = acme.owner().at(&world.app_url(newer));
    let held = server.lock(id, "ledger.line").await;
    owner.get("/v1/me").await.expect(200);
    until("it is being migrated", || async {
        let waits = "select count(*) from pg_stat_activity
             where wait_event_type = 'Lock' and query like '%line_id_check%'";
        server.number("postgres", waits).await == 1
    })
    .await;
    owner.get("/v1/me").await.expect(200);
    assert_eq!(versions(&world, id).await, ["1"]);
    held.commit().await;
    // One that did not get its lock is tried again after half a minute.
    eventually(DEADLINE * 2, "it is up", || async {
        (versions(&world, id).await == ["1", "2"]).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_history_that_was_emptied_lets_no_migration_through() {
    let (world, second) = with_releases().await;
    let emptied = world.tenant("emptied").await;
    let empty = "delete from ledger.refinery_schema_history";
    world.postgres().run(emptied.id().as_str(), empty).await;
    second.store(true, Ordering::SeqCst);
    let newer = world.add_app_replica().await;
    let owner = emptied.owner().at(&world.app_url(newer));
    let refused = owner.get("/v1/entries").await;
    refused.expect(503).refused(Code::MigrationFailed);
    let history = versions(&world, emptied.id().as_str()).await;
    assert_eq!(history, Vec::<String>::new());
}

#[tokio::test]
async fn a_new_release_makes_new_tenants_with_its_schema() {
    let (world, second) = with_releases().await;
    let before = world.tenant("before").await;
    second.store(true, Ordering::SeqCst);
    world.add_app_replica().await;
    // The stock of the release before is replaced behind; until then a claim is brought up.
    let after = world.tenant("after").await;
    assert_eq!(versions(&world, after.id().as_str()).await, ["1", "2"]);
    assert_eq!(versions(&world, before.id().as_str()).await, ["1"]);
    eventually(DEADLINE, "the stock is of the new template", || async {
        let stale = "select count(*) from registry.stock s join registry.template t
             on t.cluster = s.cluster and t.number = s.template
             where s.status = 'ready' and (t.schema_versions ->> 'ledger')::int < 2";
        let fresh = "select count(*) from registry.stock where status = 'ready'";
        let stale = world.postgres().number("registry", stale).await;
        let fresh = world.postgres().number("registry", fresh).await;
        (stale == 0 && fresh >= 2).then_some(())
    })
    .await;
}

#[tokio::test]
async fn hooks_of_a_new_module_are_run_by_a_replica_that_has_them() {
    let second = Arc::new(AtomicBool::new(false));
    let switch = Arc::clone(&second);
    let options = WorldOptions::default().app(move || {
        let app = App::new().module(auth::module());
        if switch.load(Ordering::SeqCst) {
            let ledger = Module::new("ledger", vec![migration("V1__ledger", FIRST)]);
            app.module(ledger.on_provision(|db, _| {
                Box::pin(async move {
                    let line = "insert into ledger.line values (7) on conflict do nothing";
                    sqlx::raw_sql(line).execute(db).await?;
                    Ok(())
                })
            }))
        } else {
            app
        }
    });
    let world = World::with(options).await;
    second.store(true, Ordering::SeqCst);
    world.add_app_replica().await;
    for _ in 0..3 {
        // The one of the release before is the one that was heard of last.
        let order = "update registry.replica set last_seen_at = now() - interval '1 hour'
             where owns::text like '%ledger%'";
        world.postgres().run("registry", order).await;
        let tenant = world.tenant("hooked").await;
        let lines = "select count(*) from ledger.line";
        let lines = world.postgres().number(tenant.id().as_str(), lines).await;
        assert_eq!(lines, 1);
    }
}

#[tokio::test]
async fn a_tenant_behind_is_left_to_the_roll_out_where_the_setting_says_so() {
    let second = Arc::new(AtomicBool::new(false));
    let switch = Arc::clone(&second);
    let options = WorldOptions::default()
        .app_setting("migrations.on_demand", "minimum")
        .app(move || {
            App::new()
                .module(auth::module())
                .module(ledger(&switch).minimum(1))
        });
    let world = World::with(options).await;
    let acme = world.tenant("waits").await;
    let id = acme.id().as_str();
    second.store(true, Ordering::SeqCst);
    let newer = world.add_app_replica().await;
    // The replica of the release before is gone: whoever is called has the newer one.
    world.take_app_replica(newer - 1).stop().await;
    for _ in 0..5 {
        acme.owner()
            .at(&world.app_url(0))
            .get("/v1/me")
            .await
            .expect(200);
    }
    assert_eq!(versions(&world, id).await, ["1"]);
    // The platform's own call migrates, and again changes nothing.
    let info = format!("/internal/tenants/{}/db-info", acme.id());
    let route = world.service().get(&info).await.expect(200).json();
    let request = serde_json::json!({ "database": route["database"] });
    for _ in 0..2 {
        let answer = world
            .platform()
            .post("/internal/migrate", &request)
            .await
            .expect(200);
        assert_eq!(answer.json()["schema_versions"]["ledger"], 2);
        assert_eq!(versions(&world, id).await, ["1", "2"]);
    }
}

#[tokio::test]
async fn a_migration_that_another_holds_up_is_waited_for_and_then_refused() {
    let options = WorldOptions::default().app_setting("tenants.wait", "3s");
    let world = World::with(options).await;
    let acme = world.tenant("held-up").await;
    let beta = world.tenant("at-ease").await;
    // The schema is behind its minimum for a moment: nothing of `entries` is reported.
    let mut lock = world
        .postgres()
        .lock(acme.id().as_str(), "entries.entry")
        .await;
    let sql = format!(
        "update registry.tenant set schema_versions = '{{}}' where id = '{}'",
        acme.id()
    );
    world.postgres().run("registry", &sql).await;
    let unmigrate = "delete from entries.refinery_schema_history where version = 2";
    world.postgres().run(acme.id().as_str(), unmigrate).await;
    world.set_status(acme.id(), "active").await;
    let answer = eventually(DEADLINE, "the news is here", || async {
        let answer = acme.owner().get("/v1/me").await;
        (answer.status() == 503).then_some(answer)
    })
    .await;
    assert!(
        matches!(answer.code(), Code::TenantMigrating | Code::MigrationFailed),
        "{answer}"
    );
    beta.owner().get("/v1/entries").await.expect(200);
    lock.run("alter table entries.entry drop column search")
        .await;
    lock.commit().await;
    eventually(DEADLINE * 2, "the tenant is served", || async {
        (acme.owner().get("/v1/entries").await.status() == 200).then_some(())
    })
    .await;
    assert_eq!(history(&world, acme.id().as_str()).await, ["1 1", "2 1"]);
}

#[tokio::test]
async fn a_release_that_comes_while_a_template_is_made_has_its_own_soon() {
    let newest = Arc::new(AtomicI32::new(1));
    let releases = Arc::clone(&newest);
    let options = WorldOptions::default()
        // Nobody looks by the clock.
        .platform_setting("stock.check_every", "1h")
        .app(move || {
            let release = |number| {
                let sql = format!("create table ledger.book_{number} (id bigint)");
                migration(&format!("V{number}__book"), &sql)
            };
            let releases = 1..=releases.load(Ordering::SeqCst);
            let ledger = Module::new("ledger", releases.map(release).collect());
            App::new().module(auth::module()).module(ledger)
        });
    let world = World::with(options).await;
    let mut lock = world
        .postgres()
        .begin("registry", "lock table registry.template in share mode")
        .await;
    newest.store(2, Ordering::SeqCst);
    world.add_app_replica().await;
    until("the template of the second release is begun", || async {
        let waiting = "select count(*) from pg_stat_activity
             where wait_event_type = 'Lock' and query ilike '%into registry.template%'";
        world.postgres().number("postgres", waiting).await > 0
    })
    .await;
    newest.store(3, Ordering::SeqCst);
    world.add_app_replica().await;
    lock.run("commit").await;
    until("the third release has a template", || async {
        let made = "select count(*) from registry.template
             where status = 'ready' and schema_versions->>'ledger' = '3'";
        world.postgres().number("registry", made).await == 1
    })
    .await;
}
