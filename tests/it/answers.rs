//! What every answer has in common, whatever was asked: its coding, who may read it, and what is kept
//! of it.
//!
//! Deliberately of one operation each: the layers are the same for all.

use std::io::Read;

use contract::{Code, ProblemDocument};
use flate2::read::GzDecoder;
use http::Method;
use serde_json::{Value, json};
use world::{Answer, DEADLINE, Logs, PASSWORD, World, WorldOptions, eventually, until};

use crate::support::{entry, unique};

/// The body, as a client reads it that minds `content-encoding`.
pub(crate) fn decoded(answer: &Answer) -> Vec<u8> {
    match answer.header("content-encoding") {
        "" => answer.body().to_vec(),
        "gzip" => {
            let mut plain = Vec::new();
            let read = GzDecoder::new(answer.body()).read_to_end(&mut plain);
            read.unwrap_or_else(|error| panic!("{error}: {answer}"));
            plain
        }
        other => panic!("{other} was not asked for"),
    }
}

/// The access line of a request, once it is written.
async fn access_line(world: &World, request_id: &str) -> Value {
    eventually(DEADLINE, "the request's line is written", || async {
        let lines = world.logs().with(request_id);
        let mut lines = lines.iter().map(|line| serde_json::from_str(line).unwrap());
        lines.find(|line: &Value| line["target"] == "access")
    })
    .await
}

#[tokio::test]
async fn large_answers_are_compressed_and_can_be_read_refusals_too() {
    let world = World::shared().await;
    let owner = world.tenant("coded").await.owner();
    let unknown = "x".repeat(2_000);
    let refused = json!({ "title": "Coded", "body": {}, unknown: 1 });
    let taken = json!({ "title": "Coded", "body": { "text": "x".repeat(2_000) } });
    for (body, status) in [(refused, 422), (taken, 201)] {
        let request = owner.request(Method::POST, "/v1/entries");
        let request = request.header("accept-encoding", "gzip").json(body);
        let answer = request.send().await.expect(status);
        assert_eq!(answer.header("content-encoding"), "gzip", "{answer}");
        let varies = answer.headers().get_all("vary").iter();
        let varies: Vec<&str> = varies.map(|value| value.to_str().unwrap()).collect();
        assert!(varies.contains(&"accept-encoding"), "{varies:?}");
        let plain = decoded(&answer);
        assert!(plain.len() > answer.body().len());
        if status == 422 {
            let problem: ProblemDocument = serde_json::from_slice(&plain).unwrap();
            assert_eq!(problem.code, Code::ValidationFailed);
            let named = answer.header("x-request-id");
            assert_eq!(problem.request_id.as_deref(), Some(named));
        } else {
            serde_json::from_slice::<Value>(&plain).unwrap();
        }
    }
}

#[tokio::test]
async fn a_coding_that_nobody_has_hides_no_answer() {
    let world = World::shared().await;
    let owner = world.tenant("uncoded").await.owner();
    for accepted in ["identity;q=0", "*;q=0", "br, *;q=0"] {
        let send = async |body: Value| {
            let request = owner.request(Method::POST, "/v1/entries");
            let request = request.header("accept-encoding", accepted);
            request.json(body).send().await
        };
        let made = send(entry(accepted)).await;
        assert_eq!(made.expect(201).json()["title"], accepted);
        let refused = send(entry("")).await;
        refused.expect(422).refused(Code::ValidationFailed);
    }
}

#[tokio::test]
async fn browsers_of_the_origins_that_are_set_are_let_in() {
    const OURS: &str = "https://app.example.com";
    let options = WorldOptions::default()
        .platform_setting("public.cors.allowed_origins", OURS)
        .app_setting("public.cors.allowed_origins", OURS);
    let world = World::with(options).await;
    for speaker in [world.anonymous(), world.visitor()] {
        for (origin, allowed) in [(OURS, OURS), ("https://evil.example", "")] {
            let asked = speaker
                .request(Method::OPTIONS, "/v1/signup")
                .header("origin", origin)
                .header("access-control-request-method", "POST")
                .header("access-control-request-headers", "x-tenant-id");
            let preflight = asked.send().await.expect(200);
            let refusal = speaker.request(Method::GET, "/v1/nothing");
            let refusal = refusal.header("origin", origin).send().await.expect(404);
            for answer in [preflight, refusal] {
                let said = answer.header("access-control-allow-origin");
                assert_eq!(said, allowed, "{origin}: {answer}");
            }
        }
    }
    // Nobody's browser by default, and never at the internal listeners.
    let shared = World::shared().await;
    for speaker in [shared.anonymous(), world.platform(), world.service()] {
        let request = speaker.request(Method::GET, "/livez");
        let answer = request.header("origin", OURS).send().await;
        assert_eq!(answer.header("access-control-allow-origin"), "", "{answer}");
    }
}

#[tokio::test]
async fn an_access_line_says_who_asked_what_of_whom_and_what_became_of_it() {
    let world = World::shared().await;
    let acme = world.tenant("logged").await;
    let me = acme.owner().get("/v1/me").await.expect(200).json();
    let request_id = format!("logged-{:08x}", rand::random::<u32>());
    let request = acme
        .owner()
        .request(Method::GET, "/v1/entries/ent_nonsense");
    let answer = request.header("x-request-id", &request_id).send().await;
    answer.expect(400).refused(Code::IdMalformed);
    let line = access_line(&world, &request_id).await;
    for (field, value) in [
        ("level", json!("INFO")),
        ("listener", json!("public")),
        ("request.id", json!(request_id)),
        ("method", json!("GET")),
        ("route", json!("/v1/entries/{id}")),
        ("operation", json!("entries.show")),
        ("status", json!(400)),
        ("tenant.id", json!(acme.id())),
        ("tenant.tier", json!("standard")),
        ("user.id", me["user"]["id"].clone()),
        ("lookup", json!("hit")),
        ("code", json!("id-malformed")),
    ] {
        assert_eq!(line[field], value, "{field} of {line}");
    }
    for field in ["duration_ms", "db_ms"] {
        assert!(line[field].is_number(), "{field} of {line}");
    }
}

#[tokio::test]
async fn whatever_a_request_holds_it_is_one_line_and_forges_none() {
    let _everything = Logs::everything();
    const FORGED: &str = r#"{"level":"ERROR","target":"access","status":200}"#;
    let world = World::shared().await;
    let acme = world.tenant("forger").await;
    let me = acme.owner().get("/v1/me").await.expect(200).json();
    let mark = unique("mark");
    let mut sent = Vec::new();
    let broken = format!("\r\n{FORGED}\r\n");
    for nasty in [
        broken.as_str(),
        "\u{1b}[2J\u{1b}]0;owned\u{7}",
        "\u{202e}\u{2066}",
        "\u{2028}\u{2029}\u{85}",
        "\"}\\u000a{\"",
        "=cmd|' /C calc'!A0",
    ] {
        let text = format!("{mark}{nasty}{mark}");
        let escaped: String = text.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let hostile = [
            (Method::POST, "/v1/entries".to_owned(), entry(&text)),
            (
                Method::POST,
                "/v1/entries".to_owned(),
                json!({ "title": "a", "body": { &text: &text } }),
            ),
            (Method::GET, format!("/v1/entries?q={escaped}"), json!(0)),
            (Method::GET, format!("/v1/entries/{escaped}"), json!(0)),
            (
                Method::POST,
                "/v1/users".to_owned(),
                json!({ "email": &text, "password": &text, "role": &text, &text: 1 }),
            ),
        ];
        for (method, path, body) in hostile {
            let id = unique("forged");
            let request = acme.owner().request(method, &path).json(body);
            let request = request.header("x-request-id", &id);
            // What a header may hold of it.
            let printable = text.replace(|c: char| c.is_ascii_control(), "");
            let answer = request.header_bytes("user-agent", printable.as_bytes());
            assert!(answer.send().await.status() < 500, "{path}");
            sent.push(id);
        }
        let email = json!({ "email": &text, "password": &text });
        let door = acme.anonymous();
        door.post("/v1/auth/login", email).await.expect(401);
        let company = json!({ "company": &text, "email": &text, "password": &text, "slug": &text });
        let refused = world.visitor().post("/v1/signup", company).await;
        refused.expect(422);
        let asked = format!("/v1/tenants?text={escaped}");
        assert!(world.operator().get(&asked).await.status() < 500);
        let nowhere = world.anonymous().get(&format!("/{escaped}")).await;
        nowhere.expect(404);
    }
    for id in &sent {
        let lines = eventually(DEADLINE, "the request's line is written", || async {
            let lines = world.logs().with(id);
            let access = lines
                .iter()
                .filter(|line| line.contains(r#""target":"access""#));
            let lines: Vec<Value> = access
                .map(|line| serde_json::from_str(line).unwrap())
                .collect();
            (!lines.is_empty()).then_some(lines)
        })
        .await;
        assert_eq!(lines.len(), 1, "{lines:?}");
        assert_eq!(lines[0]["request.id"], json!(id));
        assert_eq!(lines[0]["tenant.id"], json!(acme.id()));
        assert_eq!(lines[0]["user.id"], me["user"]["id"]);
    }
    assert_eq!(world.logs().with(FORGED), Vec::<String>::new());
    // Where any of it is told at all.
    for line in world.logs().with(&mark) {
        let event: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("{line:?}"));
        assert!(
            event.is_object() && !line.chars().any(char::is_control),
            "{line:?}"
        );
    }
}

#[tokio::test]
async fn the_platform_s_line_says_how_long_the_registry_was_held() {
    let world = World::shared().await;
    let operator = world.operator();
    let spent = async |path: &str| {
        let request_id = format!("held-{:08x}", rand::random::<u32>());
        let request = operator.request(Method::GET, path);
        let answer = request.header("x-request-id", &request_id).send().await;
        answer.expect(200);
        let line = access_line(&world, &request_id).await;
        let [held, all] = ["db_ms", "duration_ms"].map(|field| line[field].as_f64().unwrap());
        assert!(held <= all, "{line}");
        held
    };
    assert!(spent("/v1/tenants?limit=1").await > 0.0);
    assert!(spent("/livez").await <= 0.0, "it asks no database");
}

#[tokio::test]
async fn a_line_says_how_long_a_database_was_held_also_of_a_request_that_failed() {
    let world = World::shared().await;
    let acme = world.tenant("held-long").await;
    let held = async |method: Method, path: &str, body: Value, status: u16| {
        let request_id = format!("held-{:08x}", rand::random::<u32>());
        let request = acme.owner().request(method, path).json(body);
        let answer = request.header("x-request-id", &request_id).send().await;
        answer.expect(status);
        let line = access_line(&world, &request_id).await;
        let [held, all] = ["db_ms", "duration_ms"].map(|field| line[field].as_f64().unwrap());
        assert!(0.0 < held && held <= all, "{line}");
    };
    held(Method::GET, "/v1/entries", json!(null), 200).await;
    held(Method::POST, "/v1/entries", entry("Held"), 201).await;
    // A transaction that its handler leaves behind, and a read whose statement fails.
    let again = json!({ "email": acme.email(), "password": PASSWORD, "role": "viewer" });
    held(Method::POST, "/v1/users", again, 409).await;
    let gone = "alter table entries.entry rename to gone";
    world.postgres().run(acme.id().as_str(), gone).await;
    held(Method::GET, "/v1/entries", json!(null), 500).await;
}

#[tokio::test]
async fn an_array_stands_for_no_fields() {
    let world = World::shared().await;
    let acme = world.tenant("arrays").await;
    let slug = unique("array");
    let signup = json!([
        "Array Co",
        slug,
        "ada@array.example",
        PASSWORD,
        null,
        null,
        null
    ]);
    let login = json!([acme.email(), PASSWORD]);
    let answers = [
        world.visitor().post("/v1/signup", signup).await,
        world.visitor().post("/v1/signup", json!([])).await,
        acme.anonymous().post("/v1/auth/login", login).await,
        acme.owner().post("/v1/entries", json!(["arr", {}])).await,
    ];
    for answer in answers {
        let problem = answer.expect(422).refused(Code::ValidationFailed);
        let [error] = &problem.errors[..] else {
            panic!("{problem:?}");
        };
        assert_eq!(error.pointer, "");
        assert!(error.detail.ends_with("expected an object"), "{error:?}");
    }
}

#[tokio::test]
async fn what_is_measured_has_the_names_that_dashboards_know() {
    let world = World::shared().await;
    let acme = world.tenant("measured").await;
    acme.owner().get("/v1/entries").await.expect(200);
    // One recorder for the process: both services show the same.
    let names = [
        "http_request_duration_seconds_bucket{listener=\"public\",operation=\"entries.list\",status=\"2xx\"",
        "tenants_known ",
        "tenant_refusals ",
        "limited_keys{limit=\"sign_in_per_address\"}",
        "limited_keys{limit=\"sign_in_per_account\"}",
        "tenant_connections{cluster=\"main\",state=\"share\"}",
        "tenant_connections{cluster=\"main\",state=\"taken\"}",
        "tenant_connections{cluster=\"main\",state=\"idle\"}",
        "tenant_connections{cluster=\"main\",state=\"waiting\"}",
        "tenant_connections_opened_total ",
        "operations_live{state=",
        "tenants{status=\"active\"}",
        "stock_ready{cluster=\"main\"}",
        "tenants_behind ",
    ];
    for speaker in [world.platform(), world.service()] {
        for name in names {
            until(name, || async {
                let page = speaker.get("/metrics").await.expect(200).text();
                page.lines().any(|line| line.starts_with(name))
            })
            .await;
        }
    }
}
