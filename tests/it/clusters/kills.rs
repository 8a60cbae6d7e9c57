//! Adding and removing a cluster, which are no operations: the platform is killed between the server and the
//! registry, and giving the command again is the remedy.

use contract::Code;
use http::Method;
use serde_json::json;
use world::{Postgres, Request, World, WorldOptions, until};

use super::cluster;
use super::removals::{REMOVE, SECOND, add_again, known, mark, names, remove};

/// Sends a request that is not answered, because the platform dies meanwhile.
fn unanswered(request: Request) {
    tokio::spawn(request.try_send());
}

async fn roles(server: &Postgres) -> i64 {
    let sql = "select count(*) from pg_roles where rolname like 'tn\\_%'";
    server.number("postgres", sql).await
}

#[tokio::test]
async fn a_server_of_an_addition_that_was_killed_is_added_again() {
    for name in ["second", "another"] {
        let world = World::with(WorldOptions::default().stock_level(1)).await;
        let server = world.server().await;
        // The addition waits where it writes down what it made.
        let writing = world
            .postgres()
            .begin("registry", "lock table registry.cluster in share mode")
            .await;
        let mut body = cluster("second", &server);
        body["region"] = json!("here");
        let add = world.operator().request(Method::POST, "/v1/clusters");
        unanswered(add.json(&body));
        until("the addition is to be written down", || async {
            let waits = "select count(*) from pg_stat_activity
                 where wait_event_type = 'Lock' and query like '%into registry.cluster%'";
            mark(&server).await != [""] && world.postgres().number("postgres", waits).await > 0
        })
        .await;
        world.kill_platform();
        writing.commit().await;
        world.start_platform().await;
        assert_eq!(known(&world).await, Vec::<String>::new());
        assert!(roles(&server).await >= 4, "the server has our roles");

        body["name"] = json!(name);
        let operator = world.operator();
        operator.post("/v1/clusters", body).await.expect(201);
        until("it has stock", || async {
            let path = format!("/v1/clusters/{name}");
            let shown = operator.get(&path).await.expect(200).json();
            shown["stock"].as_u64() > Some(0)
        })
        .await;
        let tenant = world.tenant("placed").await;
        let path = format!("/v1/tenants/{}", tenant.id());
        if operator.get(&path).await.expect(200).json()["cluster"] != name {
            let to = json!({ "to": name });
            let moved = operator.post(&format!("{path}/move"), to).await;
            moved.expect(200);
        }
        tenant.owner().get("/v1/me").await.expect(200);
    }
}

#[tokio::test]
async fn what_a_removal_that_was_killed_left_goes_when_it_is_added_and_removed_again() {
    let world = World::with(WorldOptions::default().stock_level(2)).await;
    let second = world.second_cluster().await;
    let before = names(second).await;
    // The removal waits before it clears the server: nobody adds it meanwhile.
    let adding = world
        .postgres()
        .begin(
            "registry",
            "select pg_advisory_xact_lock(27985274398336370)",
        )
        .await;
    unanswered(world.operator().request(Method::DELETE, REMOVE));
    until("the registry has forgotten it", || async {
        known(&world).await.is_empty()
    })
    .await;
    world.kill_platform();
    adding.commit().await;
    world.start_platform().await;
    world.operator().get(SECOND).await.refused(Code::NotFound);
    assert_eq!(names(second).await, before);
    assert_ne!(mark(second.postgres()).await, [""]);

    add_again(&world, second).await;
    let removed = remove(&world).await.expect(200).json();
    assert_eq!(removed["server"], "done", "{removed}");
    assert_eq!(names(second).await, Vec::<String>::new());
    assert_eq!(mark(second.postgres()).await, [""]);
}
