//! Calls for several tenants at once: whose trouble is whose, and who is left out has another turn.

use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use world::{World, WorldOptions, until};

use super::super::drift::{other_lives, outliving};
use super::super::harness::reaches;
use super::{Fleet, POISON};
use crate::support::away;

#[tokio::test]
async fn in_a_line_of_tenants_the_trouble_of_some_leaves_the_others_done() {
    const ALL: usize = 16;
    const SICK: usize = 5;
    const GONE: usize = 10;
    let fleet = Fleet::with(WorldOptions::default(), ALL).await;
    fleet.on(SICK, POISON).await;
    fleet.release().await;
    away(&fleet.world, &fleet.tenants[GONE]).await;
    let request = json!({ "concurrency": 1, "halt_share": 1.0 });
    let id = fleet.start(request).await;
    fleet.ends(&id, "done").await;
    let states = fleet.states(&id).await;
    let attempts = fleet.turns("attempts").await;
    for tenant in 0..ALL {
        let expected = match tenant {
            SICK => ("failed", "1"),
            GONE => ("failed", "4"),
            _ => ("done", "0"),
        };
        let found = (states[tenant].as_str(), attempts[tenant].as_str());
        assert_eq!(found, expected, "{tenant}: {states:?} {attempts:?}");
        if tenant != GONE {
            let reached = if tenant == SICK { 1 } else { 2 };
            assert_eq!(fleet.versions(tenant).await.len(), reached);
        }
    }
}

/// A service that owns a schema and brings up no more than so many databases of a call.
#[derive(Clone)]
struct Other {
    takes: usize,
    /// The tenants of each call.
    calls: Arc<Mutex<Vec<Vec<String>>>>,
}

impl Other {
    async fn start(world: &World, takes: usize) -> Self {
        let other = Self {
            takes,
            calls: Arc::default(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().route("/internal/migrate", post(Self::migrate));
        let router = router.with_state(other.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        other_lives(world, &url).await;
        other
    }

    async fn migrate(State(other): State<Self>, Json(request): Json<Value>) -> Json<Value> {
        let more = request["more"].as_array().into_iter().flatten();
        let named = std::iter::once(&request).chain(more);
        let named: Vec<String> = named
            .map(|one| one["database"]["name"].as_str().unwrap().to_owned())
            .collect();
        let migrated = json!({ "schema_versions": { "other": 2 } });
        let mut answer = migrated.clone();
        if other.takes > 1 {
            answer["more"] = vec![migrated; named.len().min(other.takes) - 1].into();
        }
        // Templates are not of the roll-out.
        if named[0].starts_with("t_") {
            other.calls.lock().unwrap().push(named);
        }
        Json(answer)
    }
}

/// Rolls out to the tenants of a service that takes so many: each has one turn, in the order of the
/// line, whether its calls turn out to be for one or for several.
async fn rolled_out(takes: usize) {
    const ALL: usize = 12;
    let world = World::with(outliving(WorldOptions::default())).await;
    let mut ids = Vec::new();
    for number in 0..ALL {
        let tenant = world.tenant(&format!("called{number}")).await;
        ids.push(tenant.id().to_string());
    }
    ids.sort();
    let other = Other::start(&world, takes).await;
    let begun = world
        .operator()
        .post("/v1/rollouts?wait=none", json!({ "concurrency": 1 }))
        .await;
    let id = begun.expect(202).json()["id"].as_str().unwrap().to_owned();
    reaches(&world, &id, "done", "the roll-out").await;
    let calls = other.calls.lock().unwrap().clone();
    let worked: Vec<&String> = calls
        .iter()
        .flat_map(|call| call.iter().take(takes))
        .collect();
    assert_eq!(worked, ids.iter().collect::<Vec<_>>(), "{calls:?}");
    let tried = "select count(*) from registry.rollout_tenant
         where state <> 'done' or attempts <> 0";
    assert_eq!(world.postgres().number("registry", tried).await, 0);
    let behind = "select count(*) from registry.tenant where schema_versions ->> 'other' <> '2'";
    assert_eq!(world.postgres().number("registry", behind).await, 0);
}

#[tokio::test]
async fn a_service_that_knows_of_one_database_a_call_is_called_for_each() {
    rolled_out(1).await;
}

#[tokio::test]
async fn who_is_left_out_of_a_call_is_next_and_was_not_tried() {
    rolled_out(2).await;
}

#[tokio::test]
async fn a_service_that_is_killed_in_a_call_for_several_fails_nobody() {
    const ALL: usize = 24;
    const HELD: usize = 20;
    let fleet = Fleet::with(WorldOptions::default(), ALL).await;
    fleet.release().await;
    let lock = fleet.held_up(HELD).await;
    let id = fleet.start(json!({ "concurrency": 1 })).await;
    let held = fleet.tenants[HELD].id().to_string();
    until("a call is held up", || async {
        let sql = format!(
            "select count(*) from pg_stat_activity
             where usename = 'tn_schema' and datname = '{held}' and wait_event_type = 'Lock'"
        );
        fleet.world.postgres().number("postgres", &sql).await == 1
    })
    .await;
    let rollout = fleet.rollout(&id).await;
    let running = rollout["tally"]["running"].as_u64();
    assert!(running > Some(1), "the call is for several: {rollout}");
    // Killed, and then there is another one.
    drop(fleet.world.take_app_replica(0));
    lock.commit().await;
    fleet.world.add_app_replica().await;
    let rollout = fleet.ends(&id, "done").await;
    assert_eq!(rollout["tally"]["done"], ALL, "{rollout}");
    for tenant in 0..ALL {
        assert_eq!(fleet.versions(tenant).await, ["1", "2"]);
    }
}
