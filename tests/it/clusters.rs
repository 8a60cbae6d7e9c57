//! Servers that become clusters, and that are none any more: whose they are already.
//!
//! Deliberately nothing of what a cluster is used for. Invariant: a server of another installation is not
//! touched unless that installation is named.

mod addresses;
mod certificates;
mod kills;
mod removals;

use contract::Code;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use world::{Postgres, World};

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
