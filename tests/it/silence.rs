//! A platform that takes everything and answers nothing: what those meet whom a replica does not know.
//!
//! Deliberately no clocks: what is answered at once is answered before what waits.

use contract::Code;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use serde_json::json;
use world::{Answer, Mode, PASSWORD, World, WorldOptions, until};

/// Log-ins to tenants that nobody has, at once and each from an address of its own.
fn log_ins(world: &World, count: usize) -> FuturesUnordered<impl Future<Output = Answer>> {
    let log_ins = (0..count).map(|_| {
        let made_up = format!("t_made_up_{:08x}", rand::random::<u32>());
        let door = world.anonymous().in_tenant(&made_up);
        let body = json!({ "email": "a@b.example", "password": PASSWORD });
        async move { door.post("/v1/auth/login", body).await }
    });
    log_ins.collect()
}

fn platform_is_unavailable(answer: &Answer) {
    let answer = answer.clone().expect(503);
    assert!(answer.refused(Code::PlatformUnavailable).retryable);
    assert_eq!(answer.header("retry-after"), "1");
}

#[tokio::test]
async fn a_platform_that_is_silent_is_not_taken_for_a_migration() {
    // Shorter than what a look-up itself has.
    let options = WorldOptions::default().app_setting("tenants.wait", "3s");
    let world = World::with(options).await;
    let acme = world.tenant("unheard").await;
    let fresh = world.add_app_replica().await;
    let there = acme.owner().at(&world.app_url(fresh));
    world.platform_link().set(Mode::Blackhole);
    platform_is_unavailable(&there.get("/v1/me").await);
    let door = acme.anonymous().at(&world.app_url(fresh));
    let body = json!({ "email": acme.email(), "password": PASSWORD });
    platform_is_unavailable(&door.post("/v1/auth/login", body).await);
    world.platform_link().set(Mode::Pass);
    until("it answers again", || async {
        there.get("/v1/me").await.status() == 200
    })
    .await;
}

#[tokio::test]
async fn while_the_platform_is_known_to_be_silent_few_wait_for_it() {
    /// Those who try whether it answers again.
    const TRIES: usize = 4;
    let options = WorldOptions::default().app_setting("auth.unknown_look_ups", "1000/1s");
    let world = World::with(options).await;
    let acme = world.tenant("known").await;
    world.platform_link().set(Mode::Blackhole);
    // More than are asked for at once.
    let mut first = log_ins(&world, 100);
    while let Some(answer) = first.next().await {
        platform_is_unavailable(&answer);
    }
    let mut then = log_ins(&world, 20);
    for _ in TRIES..20 {
        platform_is_unavailable(&then.next().await.unwrap());
    }
    acme.owner().get("/v1/me").await.expect(200);
    // Those who try still wait, and are answered as soon as there is an answer.
    world.platform_link().set(Mode::Pass);
    while let Some(answer) = then.next().await {
        answer.expect(401).refused(Code::CredentialsWrong);
    }
    let mut last = log_ins(&world, 20);
    while let Some(answer) = last.next().await {
        answer.expect(401).refused(Code::CredentialsWrong);
    }
}
