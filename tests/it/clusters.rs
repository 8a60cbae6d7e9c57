//! Servers that become clusters, and that are none any more: whose they are already.
//!
//! Deliberately nothing of what a cluster is used for. Invariant: a server of another installation is not
//! touched unless that installation is named.

mod removals;

use contract::Code;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use world::{Postgres, TenantHandle, World, until};

use crate::support::entry;

fn cluster(name: &str, server: &Postgres) -> Value {
    let superuser = server.superuser();
    json!({
        "name": name, "region": "elsewhere", "host": "localhost", "port": superuser.port, "tls": "disable",
        "connection_budget": 10, "admin_user": superuser.user,
        "admin_password": superuser.password.expose_secret(),
    })
}

#[tokio::test]
async fn a_server_of_another_installation_is_taken_only_by_its_name() {
    const OTHER: &str = "6f9b2c1e-0000-4000-8000-000000000001";
    let world = World::start().await;
    let (operator, server) = (world.operator(), world.server().await);
    let theirs = format!(
        "create role tn_platform login password 'theirs';
         comment on role tn_platform is 'tenantry:cluster:main:{OTHER}'"
    );
    server.run("postgres", &theirs).await;
    let password = "select rolpassword from pg_authid where rolname = 'tn_platform'";
    let before = server.texts("postgres", password).await;
    let mut body = cluster("taken", &server);
    for other in [Value::Null, json!("6f9b2c1e-0000-4000-8000-000000000002")] {
        body["takes_over_from"] = other;
        let refused = operator
            .post("/v1/clusters", body.clone())
            .await
            .refused(Code::Conflict);
        let detail = refused.detail.unwrap_or_default();
        assert!(detail.contains(OTHER), "{detail}");
    }
    assert_eq!(server.texts("postgres", password).await, before);
    body["takes_over_from"] = json!(OTHER);
    operator.post("/v1/clusters", body).await.expect(201);
    assert_ne!(server.texts("postgres", password).await, before);
    // From now on it is ours, under whatever address.
    let mut again = cluster("again", &server);
    again["host"] = json!("127.0.0.1");
    let refused = operator
        .post("/v1/clusters", again)
        .await
        .refused(Code::Conflict);
    let detail = refused.detail.unwrap_or_default();
    assert!(detail.contains("the cluster taken already"), "{detail}");
}

#[tokio::test]
async fn a_cluster_is_reached_at_another_address_once_it_proves_itself_there() {
    let world = World::start().await;
    let operator = world.operator();
    world.second_cluster().await;
    let acme = tenant_on_main(&world).await;
    let change = async |body: Value| operator.patch("/v1/clusters/main", body).await;
    let moved = change(json!({ "host": "localhost" })).await.expect(200);
    assert_eq!(moved.json()["host"], "localhost");
    let info = format!("/internal/tenants/{}/db-info", acme.id());
    let route: Value = world.service().get(&info).await.expect(200).json();
    assert_eq!(route["database"]["cluster"]["host"], "localhost");
    until("sessions come by the new address", || async {
        acme.owner().get("/v1/entries").await.expect(200);
        operator.get("/v1/clusters/main").await.expect(200).json()["host"] == "localhost"
    })
    .await;
    acme.owner()
        .post("/v1/entries", entry("Moved"))
        .await
        .expect(201);
    tenant_on_main(&world).await;

    let other: Value = operator.get("/v1/clusters/second").await.expect(200).json();
    let taken = change(json!({ "host": other["host"], "port": other["port"] })).await;
    taken.refused(Code::Conflict);
    // Under another name of that server's address.
    let wrong = change(json!({ "port": other["port"] })).await.expect(422);
    assert_eq!(wrong.json()["errors"][0]["pointer"], "/host", "{wrong}");
    for (odd, field) in [
        (json!({ "port": 1 }), "/host"),
        (json!({ "host": "a b" }), "/host"),
        (json!({ "port": 0 }), "/port"),
        (json!({ "tls": "require" }), "/tls"),
    ] {
        let refused = change(odd).await.expect(422);
        assert_eq!(refused.json()["errors"][0]["pointer"], field, "{refused}");
    }
    let kept: Value = operator.get("/v1/clusters/main").await.expect(200).json();
    assert_eq!(
        (&kept["host"], &kept["port"]),
        (&moved.json()["host"], &moved.json()["port"])
    );
    acme.owner().get("/v1/entries").await.expect(200);
}

/// Signs up until somebody is placed on the first cluster.
async fn tenant_on_main(world: &World) -> TenantHandle {
    let full = json!({ "status": "full" });
    let operator = world.operator();
    operator
        .patch("/v1/clusters/second", full)
        .await
        .expect(200);
    world.tenant("here").await
}
