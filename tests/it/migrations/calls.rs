//! The platform's call for several databases: what came of each, and who had no turn.
//!
//! Deliberately with the replica's own listener, without a roll-out. Invariant: who had no turn is as before.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use app_service::{App, auth};
use contract::Code;
use serde_json::{Value, json};
use world::{Answer, TenantHandle, World, WorldOptions, until};

use super::{SECOND, ledger_with, versions};
use crate::support::away;

/// The settings of calls that begin all of their databases, however slow the machine is.
const PATIENT: &[(&str, &str)] = &[("migrations.call_budget", "1h")];
/// Of calls that are over after a [`SLOW`] one, however fast the machine is.
const HURRIED: &[(&str, &str)] = &[("migrations.call_budget", "20ms")];
/// Makes a database's migration last for half a second and more.
const SLOW: &str = "insert into ledger.line values (7)";
const POISON: &str = "insert into ledger.line values (500)";

/// A world with these settings of app-service, with tenants whose second release only the platform's call brings.
async fn with_tenants(settings: &[(&str, &str)], names: &[&str]) -> (World, Vec<TenantHandle>) {
    let second = Arc::new(AtomicBool::new(false));
    let switch = Arc::clone(&second);
    let sql = format!(
        "do $$ begin perform pg_sleep(0.6) from ledger.line where id = 7; end $$; {SECOND}"
    );
    let mut options = WorldOptions::default();
    for (key, value) in settings {
        options = options.app_setting(key, value);
    }
    let options = options
        .app_setting("migrations.on_demand", "minimum")
        .app(move || {
            let ledger = ledger_with(&switch, &sql).minimum(1);
            App::new().module(auth::module()).module(ledger)
        });
    let world = World::with(options).await;
    let mut tenants = Vec::new();
    for name in names {
        tenants.push(world.tenant(name).await);
    }
    second.store(true, Ordering::SeqCst);
    let newer = world.add_app_replica().await;
    world.take_app_replica(newer - 1).stop().await;
    (world, tenants)
}

/// One call for these tenants.
async fn call(world: &World, tenants: &[&TenantHandle]) -> Answer {
    let request = request(world, tenants).await;
    world.platform().post("/internal/migrate", &request).await
}

/// What it says.
async fn request(world: &World, tenants: &[&TenantHandle]) -> Value {
    let mut databases = Vec::new();
    for tenant in tenants {
        let info = format!("/internal/tenants/{}/db-info", tenant.id());
        let route = world.service().get(&info).await.expect(200).json();
        databases.push(json!({ "database": route["database"], "known": route["schema_versions"] }));
    }
    let mut request = databases.remove(0);
    request["more"] = Value::Array(databases);
    request
}

/// The versions that a call says of `ledger`, in the order of its databases.
fn told(answer: &Value) -> Vec<&Value> {
    let more = answer["more"].as_array().into_iter().flatten();
    let all = std::iter::once(answer).chain(more);
    all.map(|one| &one["schema_versions"]["ledger"]).collect()
}

#[tokio::test]
async fn a_call_for_several_databases_ends_with_the_first_that_does_not_come_up() {
    let names = ["c-one", "c-two", "c-sick", "c-gone", "c-last", "c-end"];
    let (world, tenants) = with_tenants(PATIENT, &names).await;
    let [one, two, sick, gone, last, end] = &tenants[..] else {
        panic!("six tenants");
    };
    world.postgres().run(sick.id().as_str(), POISON).await;
    away(&world, gone).await;
    let answer = call(&world, &[one, sick, last]).await.expect(200).json();
    assert_eq!(told(&answer), [&json!(2), &Value::Null], "{answer:#}");
    assert_eq!(answer["failed"], Value::Null);
    assert_eq!(answer["more"][0]["failed"]["sqlstate"], "23514");
    let answer = call(&world, &[sick, last]).await.expect(200).json();
    assert_eq!(answer["failed"]["migration"], "V2__bounded", "{answer:#}");
    assert_eq!(told(&answer).len(), 1, "{answer:#}");
    let answer = call(&world, &[two, gone, last]).await.expect(200).json();
    assert_eq!(told(&answer), [&json!(2)], "{answer:#}");
    let refused = call(&world, &[gone, last]).await;
    refused.expect(503).refused(Code::TenantUnavailable);
    for (tenant, reached) in [(one, 2), (two, 2), (sick, 1), (last, 1)] {
        assert_eq!(versions(&world, tenant.id().as_str()).await.len(), reached);
    }
    // What is newest, and what is not there any more to do, is told as well.
    let answer = call(&world, &[last, one, end]).await.expect(200).json();
    assert_eq!(told(&answer), [2, 2, 2], "{answer:#}");
    assert_eq!(versions(&world, end.id().as_str()).await, ["1", "2"]);
}

#[tokio::test]
async fn a_call_begins_no_further_database_after_a_slow_one() {
    let (world, tenants) = with_tenants(HURRIED, &["c-slow", "c-after"]).await;
    let [slow, after] = &tenants[..] else {
        panic!("two tenants");
    };
    world.postgres().run(slow.id().as_str(), SLOW).await;
    let answer = call(&world, &[slow, after]).await.expect(200).json();
    assert_eq!(told(&answer), [2], "{answer:#}");
    assert_eq!(versions(&world, after.id().as_str()).await, ["1"]);
}

#[tokio::test]
async fn a_call_does_not_wait_for_the_runs_of_others_beyond_its_first_database() {
    let settings = [HURRIED, &[("migrations.at_once", "1")]].concat();
    let (world, tenants) = with_tenants(&settings, &["c-new", "c-held", "c-next"]).await;
    let [new, held, next] = &tenants[..] else {
        panic!("three tenants");
    };
    let lock = world.postgres().lock(held.id().as_str(), "ledger.line");
    let lock = lock.await;
    let (mut request, held) = (request(&world, &[new, next]).await, [held]);
    // Needs no run: it is the next one that waits, for the slot of the run that is held up.
    request["known"]["ledger"] = json!(2);
    let meanwhile = async {
        let waiting = "select count(*) from pg_stat_activity
             where wait_event_type = 'Lock' and query like '%pg_sleep%'";
        until("the run that is held up", || async {
            world.postgres().number("registry", waiting).await == 1
        })
        .await;
        let answer = world.platform().post("/internal/migrate", &request).await;
        lock.commit().await;
        answer.expect(200).json()
    };
    let (answer, held) = tokio::join!(meanwhile, call(&world, &held));
    assert_eq!(told(&answer), [2], "{answer:#}");
    assert_eq!(versions(&world, next.id().as_str()).await, ["1"]);
    held.expect(200);
}
