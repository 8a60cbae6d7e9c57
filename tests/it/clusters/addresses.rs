//! Clusters that are reached at another address: what has to prove itself there, and what turns to it.
//!
//! Deliberately with real servers, of which one follows the other. Invariant: whatever is refused leaves the
//! cluster where it was.

use contract::Code;
use serde_json::{Value, json};
use world::{Answer, Cluster, Mode, StopMode, TenantHandle, World, until};

use crate::support::entry;

pub(super) async fn change(world: &World, name: &str, body: Value) -> Answer {
    let path = format!("/v1/clusters/{name}");
    world.operator().patch(&path, body).await
}

/// A tenant on a further cluster.
pub(super) async fn tenant_on(world: &World, cluster: &Cluster) -> TenantHandle {
    let full = json!({ "status": "full" });
    change(world, "main", full).await.expect(200);
    let tenant = world.tenant("there").await;
    let names = cluster.postgres().names().await;
    assert!(
        names.contains(&format!("database {}", tenant.id())),
        "{names:?}"
    );
    tenant
}

/// Refused for what is named by a field.
pub(super) fn refused(answer: Answer, field: &str) -> String {
    let problem = answer.expect(422).json();
    let error = &problem["errors"][0];
    assert_eq!(error["pointer"], field, "{problem}");
    error["detail"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_cluster_is_reached_at_another_address_of_its_server() {
    let world = World::start().await;
    let near = world.cluster_behind_proxy("near").await;
    let tenant = tenant_on(&world, &near).await;
    let direct = near.postgres().superuser().port;
    let moved = change(&world, "near", json!({ "port": direct })).await;
    assert_eq!(moved.expect(200).json()["port"], direct);
    near.link().set(Mode::Reset);
    until("sessions come by the new address", || async {
        let posted = tenant.owner().post("/v1/entries", entry("Moved")).await;
        posted.status() == 201
    })
    .await;
    world.tenant("made-there-too").await;

    let main: Value = world.operator().get("/v1/clusters/main").await.json();
    let taken = json!({ "host": main["host"], "port": main["port"] });
    change(&world, "near", taken).await.refused(Code::Conflict);
    for (odd, field) in [
        // Another server, under another name of its address.
        (
            json!({ "host": "localhost", "port": main["port"] }),
            "/host",
        ),
        (json!({ "port": 1 }), "/host"),
        (json!({ "host": "a b" }), "/host"),
        (json!({ "port": 0 }), "/port"),
        (json!({ "tls": "require" }), "/tls"),
        (
            json!({ "max_databases": 3_000_000_000_u32 }),
            "/max_databases",
        ),
        (
            json!({ "host": "localhost", "connection_budget": 90_000 }),
            "/connection_budget",
        ),
    ] {
        refused(change(&world, "near", odd).await, field);
    }
    let kept: Value = world.operator().get("/v1/clusters/near").await.json();
    assert_eq!(kept["port"], direct);
    tenant.owner().get("/v1/entries").await.expect(200);
}

#[tokio::test]
async fn a_standby_takes_over_when_it_has_every_database_and_nobody_else_takes_writes() {
    let world = World::start().await;
    let near = world.cluster_in("near", "here").await;
    let tenant = tenant_on(&world, &near).await;
    let posted = tenant.owner().post("/v1/entries", entry("Before")).await;
    posted.expect(201);
    let standby = near.postgres().standby().await;
    let there = json!({ "port": standby.superuser().port });
    let why = refused(change(&world, "near", there.clone()).await, "/host");
    assert!(why.contains("standby"), "{why}");

    standby.promote().await;
    let id = tenant.id();
    let away = format!("alter database {id} rename to away");
    standby.run("postgres", &away).await;
    let why = refused(change(&world, "near", there.clone()).await, "/host");
    assert!(why.contains(id.as_str()), "{why}");
    let back = format!("alter database away rename to {id}");
    standby.run("postgres", &back).await;
    let refused = change(&world, "near", there.clone()).await;
    let why = refused.refused(Code::Conflict).detail.unwrap();
    assert!(why.contains("still takes writes"), "{why}");

    near.postgres().stop(StopMode::Immediate).await;
    change(&world, "near", there).await.expect(200);
    until("sessions come by the new address", || async {
        let posted = tenant.owner().post("/v1/entries", entry("After")).await;
        posted.status() == 201
    })
    .await;
    let titles = "select title from entries.entry order by title";
    assert_eq!(
        standby.texts(id.as_str(), titles).await,
        ["After", "Before"]
    );
}
