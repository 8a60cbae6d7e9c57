//! What operators see of each other and of those who serve: the audit, the replicas.

use contract::Code;
use http::Method;
use serde_json::{Value, json};
use world::{Answer, Speaker, World, WorldOptions, until};

async fn page(speaker: &Speaker, query: &str) -> Value {
    let path = format!("/v1/audit?{query}");
    speaker.get(&path).await.expect(200).json()
}

async fn entries(speaker: &Speaker, query: &str) -> Vec<Value> {
    let page = page(speaker, &format!("limit=100&{query}")).await;
    page["data"].as_array().unwrap().clone()
}

fn actions(entries: &[Value]) -> Vec<&str> {
    let actions = entries.iter();
    actions
        .map(|entry| entry["action"].as_str().unwrap())
        .collect()
}

/// Makes a key: its id and its bearer.
async fn key(world: &World, name: &str, scopes: Value) -> (String, Speaker) {
    let body = json!({ "name": name, "scopes": scopes });
    let made = world.operator().post("/v1/operator-keys", body).await;
    let made: Value = made.expect(201).json();
    let bearer = world.visitor().bearer(made["key"].as_str().unwrap());
    (made["id"].as_str().unwrap().to_owned(), bearer)
}

async fn suspend(speaker: &Speaker, id: &str) -> Answer {
    let path = format!("/v1/tenants/{id}/suspend");
    speaker.post(&path, json!({ "wall": "blocked" })).await
}

#[tokio::test]
async fn the_audit_says_who_did_what_and_when() {
    let world = World::shared().await;
    let (acme, beta) = (world.tenant("audited").await, world.tenant("other").await);
    let scopes = json!(["tenants:write", "operations:read"]);
    let (id, writer) = key(&world, "on-call", scopes).await;
    let (_, auditor) = key(&world, "auditor", json!(["audit:read"])).await;
    suspend(&writer, acme.id().as_str()).await.expect(200);
    suspend(&writer, beta.id().as_str()).await.expect(200);
    let operator = world.operator();
    let resume = format!("/v1/tenants/{}/resume", acme.id());
    let resume = operator.request(Method::POST, &resume).send();
    resume.await.expect(200);

    let tenant = format!("tenant={}", acme.id());
    let of_acme = entries(&auditor, &tenant).await;
    let expected = [
        "resume.begun",
        "suspend.begun",
        "tenant.activated",
        "tenant.requested",
    ];
    assert_eq!(actions(&of_acme), expected, "{of_acme:#?}");
    let suspended = &of_acme[1];
    assert_eq!(suspended["actor"], format!("operator/{id}"));
    assert_eq!(suspended["actor_name"], "on-call");
    assert_eq!(suspended["detail"]["wall"], "blocked", "{suspended}");
    assert_eq!(
        (&of_acme[3]["actor"], &of_acme[3]["actor_name"]),
        (&json!("signup"), &Value::Null)
    );

    // By who did it, as the list of keys names it, and as the audit does.
    for actor in [id.clone(), format!("operator/{id}")] {
        let theirs = entries(&auditor, &format!("actor={actor}")).await;
        let tenants: Vec<_> = theirs.iter().map(|one| one["tenant"].clone()).collect();
        assert_eq!(tenants, [json!(beta.id()), json!(acme.id())]);
    }
    // By what was done, of one tenant; by the time.
    let action = format!("{tenant}&action=suspend.begun");
    let found = entries(&auditor, &action).await;
    assert_eq!(found, std::slice::from_ref(suspended));
    let at = suspended["at"].as_str().unwrap();
    let since = format!("{tenant}&since={at}");
    assert_eq!(actions(&entries(&auditor, &since).await), expected[..2]);
    let until = format!("{tenant}&until={at}");
    assert_eq!(actions(&entries(&auditor, &until).await), expected[2..]);

    // Page by page it is the same.
    let mut paged: Vec<Value> = Vec::new();
    let mut has_more = true;
    while has_more {
        let after = paged.last().map(|last| last["id"].clone());
        let after = after.map_or(String::new(), |id| format!("&starting_after={id}"));
        let page = page(&auditor, &format!("{tenant}&limit=1{after}")).await;
        paged.extend(page["data"].as_array().unwrap().iter().cloned());
        has_more = page["has_more"] == true;
    }
    assert_eq!(paged, of_acme);
}

#[tokio::test]
async fn the_audit_is_shown_to_who_may_see_it_and_refuses_what_means_nothing() {
    let world = World::shared().await;
    let (_, reader) = key(&world, "reader", json!(["tenants:read", "operations:read"])).await;
    let refused = reader
        .get("/v1/audit")
        .await
        .refused(Code::PermissionMissing);
    assert!(refused.detail.unwrap().contains("audit:read"));
    // Who makes keys may see what was done with them, and lets others.
    let (_, keeper) = key(&world, "keeper", json!(["keys:write"])).await;
    entries(&keeper, "action=operator_key.created").await;
    let body = json!({ "name": "auditor", "scopes": ["audit:read"] });
    keeper.post("/v1/operator-keys", body).await.expect(201);
    for wrong in [
        "actor=somebody",
        "action=tenant.exploded",
        "since=yesterday",
        "until=1",
        "starting_after=opr_1",
        "tenant=acme",
        "limit=101",
        "cluster=main",
    ] {
        let answer = world.operator().get(&format!("/v1/audit?{wrong}")).await;
        assert_eq!(answer.status(), 400, "{wrong}: {answer}");
    }
    let nobody = "actor=opr_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f";
    assert!(entries(&world.operator(), nobody).await.is_empty());
}

async fn replicas(world: &World) -> Vec<Value> {
    let page = world.operator().get("/v1/replicas").await.expect(200);
    page.json()["data"].as_array().unwrap().clone()
}

#[tokio::test]
async fn replicas_are_listed_with_what_they_bring_and_have_heard() {
    let options = WorldOptions::default()
        .app_replicas(2)
        .stock_level(1)
        .platform_setting("replicas.heartbeat_every", "300ms")
        .platform_setting("replicas.silent_after", "6s")
        .platform_setting("replicas.forgotten_after", "9s");
    let world = World::with(options).await;
    let acme = world.tenant("heard").await;
    suspend(&world.operator(), acme.id().as_str())
        .await
        .expect(200);
    let feed = "select last_number from registry.feed";
    let newest = world.postgres().number("registry", feed).await;
    until("both have acted on the newest change", || async {
        let all = replicas(&world).await;
        let here = |one: &Value| one["acknowledged"] == newest && one["live"] == true;
        all.len() == 2 && all.iter().all(here)
    })
    .await;
    let all = replicas(&world).await;
    let mut urls: Vec<_> = all.iter().map(|one| one["internal_url"].clone()).collect();
    let mut expected = [0, 1].map(|number| json!(world.app_internal_url(number)));
    urls.sort_by_key(Value::to_string);
    expected.sort_by_key(Value::to_string);
    assert_eq!(urls, expected);
    for one in &all {
        assert_eq!(
            (&one["live"], &one["newest_change"]),
            (&json!(true), &json!(newest))
        );
        let owns = one["owns"].as_array().unwrap();
        assert!(
            owns.iter().any(|schema| schema["owner"] == "entries"),
            "{one}"
        );
    }
    let first = world
        .operator()
        .get("/v1/replicas?limit=1")
        .await
        .expect(200)
        .json();
    assert_eq!(
        (&first["data"][0]["id"], &first["has_more"]),
        (&all[0]["id"], &json!(true))
    );
    let after = format!(
        "/v1/replicas?starting_after={}",
        all[0]["id"].as_str().unwrap()
    );
    let rest = world.operator().get(&after).await.expect(200).json();
    assert_eq!(rest["data"].as_array().unwrap().len(), 1);

    // One that is killed is silent, and forgotten once nothing of it is left.
    let killed = json!(world.app_internal_url(1));
    let is_killed = |one: &&Value| one["internal_url"] == killed;
    let id = all.iter().find(is_killed).unwrap()["id"].as_str().unwrap();
    let name = id.replace("rep_", "app-service/");
    let session = format!("set application_name = '{name}'");
    let session = world.postgres().begin("postgres", &session).await;
    drop(world.take_app_replica(1));
    until("it is not heard of any more", || async {
        let all = replicas(&world).await;
        all.iter().find(is_killed).unwrap()["live"] == false
    })
    .await;
    drop(session);
    until("it is forgotten", || async {
        replicas(&world).await.len() == 1
    })
    .await;
}
