//! What an operation says of why it failed: the server's own words, for operators, and for nobody else.
//!
//! Deliberately with servers that refuse by themselves or by a trigger. Invariant: when the cause is gone,
//! the same operation goes on.

use contract::Code;
use http::Method;
use serde_json::{Value, json};
use world::{World, until};

use super::harness::{operation_of, reaches, try_again};
use crate::support::entry;

#[tokio::test]
async fn what_a_server_refuses_is_said_with_its_words_and_goes_on_when_mended() {
    let world = World::shared().await;
    let operator = world.operator();
    let acme = world.tenant("words").await;
    let id = acme.id();
    let owner = |role: &str| format!("alter database {id} owner to {role}");
    world
        .postgres()
        .run("postgres", &owner("current_user"))
        .await;
    let suspend = format!("/v1/tenants/{id}/suspend");
    let body = json!({ "wall": "blocked", "reason": "invoice of May" });
    let refused = operator.post(&suspend, body).await;
    let operation = operation_of(&refused);
    reaches(&world, &operation, "stuck", "a wall that is refused").await;
    let path = format!("/v1/operations/{operation}");
    let shown: Value = operator.get(&path).await.expect(200).json();
    let words = shown["failure"]["detail"].as_str().unwrap();
    assert!(
        words.contains("42501") && words.contains("permission denied for database"),
        "{shown:#}"
    );
    assert!(!words.contains("revoke"), "no statement is in it: {words}");
    let log = shown["log"].as_array().unwrap();
    let failed = log.iter().find(|line| line["event"] == "failed").unwrap();
    assert_eq!(failed["detail"], words);

    world
        .postgres()
        .run("postgres", &owner("tn_platform"))
        .await;
    try_again(&world, &operation).await;
    reaches(&world, &operation, "done", "the same after the mend").await;
}

#[tokio::test]
async fn who_waits_for_nothing_is_told_that_it_is_recorded_even_where_it_failed_at_once() {
    let world = World::shared().await;
    let (acme, beta) = (world.tenant("at-once").await, world.tenant("fine").await);
    let owner = format!("alter database {} owner to current_user", acme.id());
    world.postgres().run("postgres", &owner).await;
    let operator = world.operator();
    for (tenant, end) in [(&acme, "stuck"), (&beta, "done")] {
        let operator = operator.clone().header("idempotency-key", tenant.slug());
        let ask = async |wait: &str| {
            let path = format!("/v1/tenants/{}/suspend?wait={wait}", tenant.id());
            operator.post(&path, json!({ "wall": "blocked" })).await
        };
        let operation = operation_of(&ask("none").await.expect(202));
        reaches(&world, &operation, end, "what nobody waits for").await;
        // Asked again, it is over before it is looked at, as one that ends at once is.
        let over = ask("none").await.expect(202);
        assert_eq!(over.json()["state"], end, "{over}");
        let place = format!("/v1/operations/{operation}");
        assert_eq!(over.header("location"), place);
        let waited = ask("done").await.status();
        assert_eq!(waited == 200, end == "done", "{waited}");
        if end == "stuck" {
            let owner = owner.replace("current_user", "tn_platform");
            world.postgres().run("postgres", &owner).await;
            try_again(&world, &operation).await;
            reaches(&world, &operation, "done", "the same after the mend").await;
        }
    }
}

#[tokio::test]
async fn a_server_without_room_is_told_as_such_and_waited_for() {
    let world = World::shared().await;
    let acme = world.tenant("no-room").await;
    let id = acme.id().as_str();
    let no_room = "create function public.no_room() returns trigger language plpgsql as $$ begin
             raise exception 'could not extend file \"base/1/2\": No space left on device'
                 using errcode = '53100', detail = 'secret-detail';
         end $$;
         create trigger no_room before insert on entries.entry execute function public.no_room();
         create trigger no_room before insert on auth.account execute function public.no_room()";
    world.postgres().run(id, no_room).await;
    let refused = acme.owner().post("/v1/entries", entry("late")).await;
    let said = refused.refused(Code::DatabaseExhausted);
    assert_eq!(said.detail, None, "tenants learn no words of the server");
    assert_eq!(refused.header("retry-after"), "1");
    assert!(said.retryable);

    let operator = world.operator();
    let body = json!({
        "to": format!("grace@{}.example", acme.slug()), "password": world::PASSWORD, "others": "keep",
    });
    let transfer = format!("/v1/tenants/{id}/transfer?wait=none");
    let begun = operator.post(&transfer, body).await.expect(202);
    let operation = operation_of(&begun);
    until("it says what it waits for", || async {
        let path = format!("/v1/operations/{operation}");
        let shown: Value = operator.get(&path).await.expect(200).json();
        shown["state"] == "running" && shown["failure"]["code"] == "database-exhausted"
    })
    .await;
    world
        .postgres()
        .run(id, "drop function public.no_room() cascade")
        .await;
    reaches(&world, &operation, "done", "the same when there is room").await;
    acme.owner()
        .request(Method::POST, "/v1/entries")
        .json(entry("later"))
        .send()
        .await
        .expect(201);
}
