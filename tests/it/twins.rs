//! Two tenants that are alike in everything that somebody could take for a key.
//!
//! Deliberately without a pause between requests: what is kept of one is there when the other asks.

use contract::Code;
use futures::{StreamExt as _, stream};
use http::Method;
use serde_json::json;
use world::{PASSWORD, Speaker, World, WorldOptions, until};

use crate::limits::lay_over;
use crate::support::{signup, unique};

const EMAIL: &str = "ada@twins.example";
const ACCOUNT: &str = "0192f0c1-a4b2-7c3d-8e9f-a0b1c2d3e4f5";
const ENTRIES: usize = 8;

fn entry_id(number: usize) -> String {
    format!("0192f0c1a4b27c3d8e9fa0b1c2d3e{number:03x}")
}

/// A tenant with the ids, addresses and entity tags of its twin; only the titles are its own.
async fn twin(world: &World) -> (String, Speaker) {
    let slug = unique("twin");
    let mut body = signup(&slug);
    body["email"] = json!(EMAIL);
    let made = world.sign_up(body).await;
    let id = made["id"].as_str().unwrap().to_owned();
    let rows: String = (0..ENTRIES)
        .map(|number| {
            format!(
                "insert into entries.entry (id, title, body, created_by, created_at, updated_at)
                 values ('{}', 'of {id}', '{{}}', 'usr_x', '2026-01-01', '2026-01-01');",
                entry_id(number)
            )
        })
        .collect();
    let alike = format!(
        "set session_replication_role = replica;
         update auth.account set id = '{ACCOUNT}', name = 'of {id}';
         update auth.membership set account_id = '{ACCOUNT}';
         {rows}"
    );
    world.postgres().run(&id, &alike).await;
    let limits = json!({ "limits": { "requests_per_second": null } });
    lay_over(world, &id, limits).await;
    let door = world.anonymous().in_tenant(&id);
    let login = json!({ "email": EMAIL, "password": PASSWORD });
    let tokens = door.post("/v1/auth/login", login).await.expect(200).json();
    let owner = door.bearer(tokens["access_token"].as_str().unwrap());
    until("the limit is lifted", || async {
        let me = owner.get("/v1/me").await.expect(200).json();
        me["limits"]["requests_per_second"].is_null()
    })
    .await;
    (id, owner)
}

#[tokio::test]
async fn of_two_tenants_alike_in_everything_each_gets_its_own() {
    const ASKED: usize = 10_000;
    const AT_ONCE: usize = 64;
    let world = World::with(WorldOptions::default()).await;
    let twins = [twin(&world).await, twin(&world).await];
    let paths: Vec<String> = (0..ENTRIES)
        .map(|number| format!("/v1/entries/ent_{}", entry_id(number)))
        .chain(["/v1/me".to_owned(), "/v1/entries?limit=2&q=of".to_owned()])
        .collect();
    // Without an end: on a busy machine some are told that there is too much to do at once.
    let asked = (0..).map(|number: usize| {
        let (id, owner) = &twins[number % 2];
        let path = &paths[number / 2 % paths.len()];
        let request = owner.request(Method::GET, path);
        // What the twin was told that it has.
        let request = request.header("if-none-match", "\"1\"");
        async move { (id, request.send().await) }
    });
    let mut answers = stream::iter(asked).buffer_unordered(AT_ONCE);
    let mut seen = 0;
    while seen < ASKED
        && let Some((id, answer)) = answers.next().await
    {
        let text = answer.text();
        let other = twins.iter().find(|(other, _)| other != id).unwrap();
        if answer.status() == 503 {
            assert!(!text.contains("of t_"), "{id}: {answer}");
            answer.refused(Code::Overloaded);
            continue;
        }
        let answer = answer.expect(200);
        assert!(text.contains(&format!("of {id}")), "{id}: {answer}");
        assert!(!text.contains(&other.0), "{id}: {answer}");
        assert_eq!(answer.header("cache-control"), "no-store", "{answer}");
        let varies = answer.headers().get_all("vary").iter();
        let varies: Vec<&str> = varies.map(|value| value.to_str().unwrap()).collect();
        let varies = varies.join(", ").to_ascii_lowercase();
        assert!(
            varies.contains("authorization") && varies.contains("x-tenant-id"),
            "{varies}"
        );
        seen += 1;
    }
}
