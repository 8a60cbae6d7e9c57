//! Templates that somebody gets into behind our back: what is left in them, and who sits in them.
//!
//! Deliberately by a superuser, since the walls let nobody else open one. Invariants: what was written into
//! a template that still stands open reaches no tenant; nobody holds sign-ups up by sitting in one.

use world::{Postgres, World, WorldOptions, eventually, until};

use crate::saga::id_of;
use crate::support::{signup, unique};

/// A world with one ready copy, and its template.
async fn stocked() -> (World, String) {
    let options = WorldOptions::default()
        .stock_level(1)
        .platform_setting("stock.check_every", "100ms")
        .platform_setting("operations.check_every", "100ms");
    let world = World::with(options).await;
    full(&world).await;
    let template = newest(&world).await;
    (world, template)
}

/// Waits until there is a ready copy, so that nobody copies just now.
async fn full(world: &World) {
    let ready = "select count(*) from registry.stock where status = 'ready'";
    let others = "select count(*) from registry.stock where status <> 'ready'";
    until("the stock is full", || async {
        let registry = world.postgres();
        registry.number("registry", ready).await == 1
            && registry.number("registry", others).await == 0
    })
    .await;
}

async fn newest(world: &World) -> String {
    let newest = "select 'tpl:' || max(number) from registry.template where status = 'ready'";
    world.postgres().texts("registry", newest).await.remove(0)
}

async fn set_open(server: &Postgres, template: &str, open: &str) {
    let set = format!("alter database \"{template}\" allow_connections {open}");
    server.run("postgres", &set).await;
}

/// A session in a template of somebody who is no superuser.
async fn sit(server: &Postgres, template: &str) -> sqlx::PgConnection {
    let sitter = format!(
        "create role sitter login password 'sitting';
         grant connect on database \"{template}\" to sitter"
    );
    server.run("postgres", &sitter).await;
    server
        .connect_as("sitter", "sitting", template)
        .await
        .unwrap()
}

/// Signs up until it works, with one key: what was undone for something that passes begins anew.
async fn signed_up(world: &World) -> String {
    let slug = unique("planted");
    eventually(world::DEADLINE, "a sign-up works", || async {
        let visitor = world.visitor().header("idempotency-key", &slug);
        let answer = visitor.post("/v1/signup", signup(&slug)).await;
        (answer.status() == 201).then_some(())
    })
    .await;
    id_of(&slug)
}

#[tokio::test]
async fn who_sits_in_a_template_holds_no_sign_up_up() {
    let (world, template) = stocked().await;
    let server = world.postgres();
    set_open(server, &template, "true").await;
    let mut inside = sit(server, &template).await;
    set_open(server, &template, "false").await;
    // The ready copy, and some that are made while the session is there.
    for _ in 0..3 {
        world.sign_up(signup(&unique("sat-in"))).await;
    }
    let alive = sqlx::raw_sql("select 1").execute(&mut inside).await;
    assert!(alive.is_err(), "nobody ended it");
}

#[tokio::test]
async fn what_is_planted_into_a_template_reaches_no_tenant() {
    let (world, template) = stocked().await;
    let server = world.postgres();
    set_open(server, &template, "true").await;
    let plant = "set session_replication_role = replica;
         insert into entries.entry (id, title, body, created_by)
         values (gen_random_uuid(), 'planted', '{}', gen_random_uuid())";
    server.run(&template, plant).await;
    let _inside = sit(server, &template).await;
    for _ in 0..3 {
        let tenant = signed_up(&world).await;
        let planted = "select count(*) from entries.entry";
        assert_eq!(server.number(&tenant, planted).await, 0, "{tenant}");
    }
    full(&world).await;
    assert_ne!(newest(&world).await, template, "it was made anew");
}
