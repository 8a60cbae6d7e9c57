//! The isolation matrix: every operation of the OpenAPI documents, tried by everybody who must not.
//!
//! Deliberately generated from the documents: an operation that has no row here fails. Invariant:
//! whoever lacks a right gets the same answer for what exists and for what does not.

use std::collections::{BTreeMap, BTreeSet};

use contract::Code;
use http::Method;
use serde_json::{Value, json};
use world::{Answer, PASSWORD, Request, Speaker, TenantHandle, World, until};

use crate::bodies::undocumented;
use crate::support::{Described, document, entry, operations};
use crate::tokens::Forge;

/// How an operation is called with everything right, and what it then answers.
struct Row {
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Option<Value>,
    success: u16,
}

impl Row {
    fn new(path: &str, success: u16) -> Self {
        Self {
            path: path.to_owned(),
            headers: Vec::new(),
            body: None,
            success,
        }
    }

    fn body(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }

    fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    fn request(&self, speaker: &Speaker, method: &Method) -> Request {
        let mut request = speaker.request(method.clone(), &self.path);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        match &self.body {
            Some(body) => request.json(body),
            None => request,
        }
    }
}

/// The row of an operation of app-service in a tenant; every operation has one.
async fn row(operation: &Described, acme: &TenantHandle) -> Row {
    let made = async || {
        let made = acme
            .owner()
            .post("/v1/entries", entry("Ours"))
            .await
            .expect(201);
        made.header("location").to_owned()
    };
    match operation.id.as_str() {
        "entries.create" => Row::new("/v1/entries", 201).body(entry("New")),
        "entries.create_batch" => {
            Row::new("/v1/entries/batch", 201).body(json!({ "entries": [entry("New")] }))
        }
        "entries.list" => Row::new("/v1/entries", 200),
        "entries.show" => Row::new(&made().await, 200),
        "entries.update" => Row::new(&made().await, 200)
            .header("if-match", "\"1\"")
            .body(json!({ "title": "Changed" })),
        "entries.remove" => Row::new(&made().await, 204),
        "users.me" => Row::new("/v1/me", 200),
        "users.list" => Row::new("/v1/users", 200),
        "users.create" => Row::new("/v1/users", 201).body(json!({
            "email": format!("{:08x}@matrix.example", rand::random::<u32>()),
            "password": PASSWORD,
            "role": "viewer",
        })),
        // Ends the session of whoever succeeds; access tokens stay good.
        "auth.logout" => Row::new("/v1/auth/logout", 204),
        unknown => panic!("{unknown} has no row in the isolation matrix: add one"),
    }
}

/// An answer without what differs from request to request.
fn essence(answer: &Answer) -> (u16, BTreeMap<String, String>, Value) {
    let mut body = answer.json();
    if let Some(object) = body.as_object_mut() {
        object.remove("request_id");
    }
    let headers = answer
        .headers()
        .iter()
        .filter(|(name, _)| !matches!(name.as_str(), "date" | "x-request-id"))
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()))
        .collect();
    (answer.status(), headers, body)
}

#[tokio::test]
async fn every_operation_in_a_tenant_is_walled() {
    let world = World::shared().await;
    let acme = world.tenant("matrix-a").await;
    let beta = world.tenant("matrix-b").await;
    let held = world.tenant("matrix-c").await;
    let held_row_maker = held.clone();
    let document = document(&world.anonymous()).await;
    let sql = "insert into auth.role (name, title, position) values ('nobody', 'Nobody', 9)";
    world.postgres().run(acme.id().as_str(), sql).await;
    let powerless = acme.member("nobody").await;
    let expired = Forge::new(&world, &acme).await.expired();

    let mut tried = 0;
    let mut held_rows = Vec::new();
    for operation in operations(&document) {
        if operation.access["door"] != "in-tenant" {
            continue;
        }
        tried += 1;
        let row = row(&operation, &acme).await;
        held_rows.push((
            operation.clone(),
            self::row(&operation, &held_row_maker).await,
        ));
        let method = &operation.method;
        let try_as = async |speaker: &Speaker| row.request(speaker, method).send().await;
        let name = &operation.id;

        // Nobody, and nobody with something that is no token, or none any more.
        try_as(&acme.anonymous())
            .await
            .expect(401)
            .refused(Code::TokenMissing);
        try_as(&acme.anonymous().bearer("nonsense"))
            .await
            .expect(401)
            .refused(Code::TokenInvalid);
        try_as(&acme.anonymous().bearer(&expired))
            .await
            .expect(401)
            .refused(Code::TokenExpired);
        try_as(
            &world
                .operator()
                .at(acme.owner().base())
                .in_tenant(acme.id().as_str()),
        )
        .await
        .expect(401)
        .refused(Code::TokenInvalid);
        // Somebody of another tenant who names this one, and somebody of this one who names another:
        // one that exists, one that does not, with the same answer.
        let foreign = beta.owner().in_tenant(acme.id().as_str());
        try_as(&foreign)
            .await
            .expect(403)
            .refused(Code::TenantMismatch);
        let exists = try_as(&acme.owner().in_tenant(beta.id().as_str())).await;
        let does_not = try_as(&acme.owner().in_tenant("t_nobody_has_this_one")).await;
        exists.clone().expect(403).refused(Code::TenantMismatch);
        assert_eq!(essence(&exists), essence(&does_not), "{name}");
        // The header missing, repeated (alike and not) and no tenant id.
        let headless = acme.owner().without_header("x-tenant-id");
        try_as(&headless)
            .await
            .expect(400)
            .refused(Code::TenantHeaderMissing);
        for second in [acme.id(), beta.id()] {
            let twice = row
                .request(&headless, method)
                .header("x-tenant-id", acme.id().as_str())
                .header("x-tenant-id", second.as_str());
            twice
                .send()
                .await
                .expect(400)
                .refused(Code::TenantHeaderRepeated);
        }
        let malformed = try_as(&acme.owner().in_tenant("acme")).await;
        malformed.expect(400).refused(Code::TenantHeaderMalformed);
        // Somebody of this tenant with too little power.
        let answer = try_as(&powerless).await;
        match operation.access["permission"].as_str() {
            Some("signed-in") => assert_eq!(answer.status(), row.success, "{name}: {answer}"),
            Some(_) => {
                answer.expect(403).refused(Code::PermissionMissing);
            }
            None => panic!("{name} names no permission"),
        }
        // The owner.
        let answer = try_as(&acme.owner()).await;
        assert_eq!(answer.status(), row.success, "{name}: {answer}");
        if !answer.body().is_empty() {
            let beyond = undocumented(&document, &operation, &answer);
            assert!(beyond.is_empty(), "{beyond:?}: {answer}");
        }
    }
    assert!(tried >= 10, "the document has the operations: {tried}");

    world.set_status(held.id(), "suspended").await;
    until("the news of the suspension has come", || async {
        held.owner().get("/v1/me").await.status() == 403
    })
    .await;
    for (operation, row) in held_rows {
        let answer = row.request(&held.owner(), &operation.method).send().await;
        answer.expect(403).refused(Code::TenantSuspended);
        // Shown to its own token alone.
        let foreign = acme.owner().in_tenant(held.id().as_str());
        let answer = row.request(&foreign, &operation.method).send().await;
        answer.expect(403).refused(Code::TenantMismatch);
    }
}

#[tokio::test]
async fn operations_outside_of_tenants_are_the_known_ones() {
    let world = World::shared().await;
    let document = document(&world.anonymous()).await;
    let mut open = BTreeSet::new();
    for operation in operations(&document) {
        match operation.access["door"].as_str() {
            Some("in-tenant") => {}
            door => {
                open.insert(format!(
                    "{} {} {}",
                    operation.method,
                    operation.path,
                    door.unwrap_or("-")
                ));
            }
        }
    }
    let expected = [
        "GET /.well-known/jwks.json -",
        "POST /v1/auth/login sign-in",
        "POST /v1/auth/refresh sign-in",
    ];
    assert_eq!(
        open,
        expected.map(str::to_owned).into(),
        "a new open door needs its tests"
    );
}

#[tokio::test]
async fn tokens_of_one_tenant_do_not_refresh_in_another() {
    let world = World::shared().await;
    let acme = world.tenant("refresh-a").await;
    let beta = world.tenant("refresh-b").await;
    let login = json!({ "email": acme.email(), "password": PASSWORD });
    let answer = acme
        .anonymous()
        .post("/v1/auth/login", &login)
        .await
        .expect(200)
        .json();
    let body = json!({ "refresh_token": answer["refresh_token"] });
    let refused = beta.anonymous().post("/v1/auth/refresh", &body).await;
    refused.expect(401).refused(Code::RefreshTokenInvalid);
    beta.anonymous()
        .post("/v1/auth/login", &login)
        .await
        .expect(401);
    acme.anonymous()
        .post("/v1/auth/refresh", &body)
        .await
        .expect(200);
}
