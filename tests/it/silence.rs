//! A platform that takes everything and answers nothing, or has lost its registry: what those meet whom a
//! replica does not know.
//!
//! Deliberately no clocks: what is answered at once is answered before what waits.

use contract::Code;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use serde_json::json;
use world::{Answer, Mode, PASSWORD, Speaker, World, WorldOptions, until};

use crate::support::{entry, signup, unique};

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

#[tokio::test]
async fn with_the_registry_alone_away_known_tenants_are_served_and_others_refused_soon() {
    let options = WorldOptions::default()
        .stock_level(1)
        .app_setting("tenants.fresh_without_feed", "50ms");
    let world = World::with(options).await;
    let (acme, beta) = (world.tenant("met").await, world.tenant("unmet").await);
    let fresh = world.add_app_replica().await;
    let at_fresh = |speaker: Speaker| speaker.at(&world.app_url(fresh));
    at_fresh(acme.owner()).get("/v1/me").await.expect(200);
    // The platform that the services know reaches its registry over a link of its own.
    let (platform, registry) = world.platform_replica_over_link().await;
    let internal = platform.internal_url().replace("http://", "");
    // Connections to the other one end.
    world.platform_link().retarget(internal.parse().unwrap());
    world.platform_link().set(Mode::Reset);
    until("nobody talks to the other one", || async {
        world.platform_link().open() == 0
    })
    .await;
    world.platform_link().set(Mode::Pass);
    registry.set(Mode::Reset);
    let credentials = json!({ "email": acme.email(), "password": PASSWORD });
    for round in 0..3 {
        for owner in [acme.owner(), at_fresh(acme.owner())] {
            owner.get("/v1/me").await.expect(200);
            let title = format!("{round} without a registry");
            let written = owner.post("/v1/entries", entry(&title)).await;
            written.expect(201);
        }
        acme.anonymous()
            .post("/v1/auth/login", &credentials)
            .await
            .expect(200);
        // New connections, too.
        let end = format!(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity where usename = '{}'",
            acme.id()
        );
        world.postgres().run("postgres", &end).await;
    }
    // Whoever needs the registry is told when to come again.
    let slug = unique("refused");
    let visitor = world.visitor().header("idempotency-key", &slug);
    let visitor = visitor.at(&platform.url());
    let operator = world.operator().at(&platform.url());
    let path = format!("/v1/tenants/{}", acme.id());
    for refused in [
        at_fresh(beta.owner()).get("/v1/me").await,
        visitor.post("/v1/signup", signup(&slug)).await,
        operator.get(&path).await,
    ] {
        let refused = refused.expect(503);
        assert!(!refused.header("retry-after").is_empty(), "{refused}");
        assert!(refused.problem().retryable, "{refused}");
    }
    registry.set(Mode::Pass);
    until("who was refused is served", || async {
        at_fresh(beta.owner()).get("/v1/me").await.status() == 200
    })
    .await;
    until("the sign-up works", || async {
        let again = visitor.post("/v1/signup", signup(&slug)).await;
        again.status() == 201
    })
    .await;
    let suspend = json!({ "wall": "blocked" });
    let suspended = operator.post(&format!("{path}/suspend"), suspend).await;
    suspended.expect(200);
    for owner in [acme.owner(), at_fresh(acme.owner())] {
        until("the news is heard", || async {
            owner.get("/v1/me").await.status() == 403
        })
        .await;
    }
}

#[tokio::test]
async fn a_registry_that_takes_no_connections_is_away_and_no_mistake_of_ours() {
    let world = World::start().await;
    let acme = world.tenant("outlasts").await;
    let end = "select count(pg_terminate_backend(pid, 5000)) from pg_stat_activity
               where datname = 'registry' and pid <> pg_backend_pid()";
    let left = "select count(*) from pg_stat_activity where datname = 'registry'";
    let close = "alter database registry allow_connections false";
    world.postgres().run("postgres", close).await;
    until("nobody is in the registry", || async {
        world.postgres().number("postgres", end).await;
        world.postgres().number("postgres", left).await == 0
    })
    .await;
    let slug = unique("closed");
    let visitor = world.visitor().header("idempotency-key", &slug);
    let path = format!("/v1/tenants/{}", acme.id());
    let mut answers = vec![visitor.post("/v1/signup", signup(&slug)).await];
    // More than there are connections in a pool: those that ended are met first.
    for _ in 0..40 {
        answers.push(world.operator().get(&path).await);
    }
    for refused in answers {
        let refused = refused.expect(503);
        assert!(refused.refused(Code::DatabaseUnavailable).retryable);
        assert!(!refused.header("retry-after").is_empty(), "{refused}");
    }
    acme.owner().get("/v1/me").await.expect(200);
    let open = "alter database registry allow_connections true";
    world.postgres().run("postgres", open).await;
    until("it is there again", || async {
        world.operator().get(&path).await.status() == 200
    })
    .await;
}
