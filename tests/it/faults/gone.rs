//! A tenant whose database is gone: its requests cost the server that others share next to nothing.

use contract::Code;
use futures::future::join_all;
use http::Method;
use world::{World, WorldOptions, until};

use crate::support::{away, server_lines, server_logged};

/// Longer than the test: what is remembered here is forgotten for a reason.
const REMEMBERED: &str = "10m";

#[tokio::test]
async fn requests_of_a_tenant_without_a_database_make_one_session_until_there_is_news() {
    let options = WorldOptions::default().app_setting("tenants.refusal", REMEMBERED);
    let world = World::with(options).await;
    let gone = world.tenant("gone").await;
    let owner = gone.owner();
    owner.get("/v1/entries").await.expect(200);
    away(&world, &gone).await;
    let from = server_logged(&world).await;
    // The first one finds that its session was ended, and opens another.
    for _ in 0..20 {
        let answer = owner.get("/v1/entries").await.expect(503);
        assert!(!answer.header("retry-after").is_empty(), "{answer}");
        answer.refused(Code::TenantUnavailable);
    }
    join_all((0..20).map(|_| async {
        owner
            .request(Method::GET, "/v1/entries")
            .send()
            .await
            .refused(Code::TenantUnavailable);
    }))
    .await;
    let refused = format!("FATAL: +database \"{}\" does not exist", gone.id());
    let refused = server_lines(&world, from, &refused).await;
    assert_eq!(refused.len(), 1, "{refused:#?}");

    // What is remembered of a generation is forgotten with it.
    let back = format!("alter database \"elsewhere\" rename to \"{}\"", gone.id());
    world.postgres().run("postgres", &back).await;
    world.set_status(gone.id(), "active").await;
    until("it is served again", || async {
        owner.get("/v1/entries").await.status() == 200
    })
    .await;
}
