//! What the services say about themselves and about refusals, as it is sent.

mod kept;
mod names;
mod values;

pub(crate) use self::names::started;

use std::collections::BTreeSet;

use contract::{Code, ProblemDocument};
use http::Method;
use serde_json::{Value, json};
use world::{Answer, Speaker, World};

use crate::bodies::answer_to_head;
use crate::support::{entry, signup, unique};

async fn document(speaker: &Speaker) -> Value {
    let answer = speaker.get("/openapi.json").await.expect(200);
    assert_eq!(answer.header("content-type"), "application/json");
    answer.json()
}

/// Each document with the name of its snapshot.
async fn documents(world: &World) -> [(&'static str, Value); 4] {
    [
        ("openapi_app", document(&world.anonymous()).await),
        ("openapi_app_internal", document(&world.platform()).await),
        ("openapi_platform", document(&world.visitor()).await),
        (
            "openapi_platform_internal",
            document(&world.service()).await,
        ),
    ]
}

#[tokio::test]
async fn the_documents_are_the_known_ones() {
    let world = World::shared().await;
    for (name, document) in documents(&world).await {
        let text = serde_json::to_string_pretty(&document).unwrap();
        insta::assert_snapshot!(name, text);
    }
}

#[tokio::test]
async fn every_operation_is_described() {
    let world = World::shared().await;
    let mut missing = Vec::new();
    for (name, document) in documents(&world).await {
        assert_eq!(
            document["openapi"].as_str().map(|v| &v[..3]),
            Some("3.1"),
            "{name}"
        );
        let mut ids = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                if method.parse::<Method>().is_err() || operation.get("responses").is_none() {
                    continue;
                }
                let here = format!("{name}: {method} {path}");
                let id = operation["operationId"]
                    .as_str()
                    .unwrap_or_else(|| panic!("{here}: no id"));
                assert!(ids.insert(id.to_owned()), "{here}: {id} twice");
                assert!(
                    !operation["tags"].as_array().unwrap().is_empty(),
                    "{here}: no tag"
                );
                let says = operation["summary"]
                    .as_str()
                    .or(operation["description"].as_str());
                assert!(
                    says.is_some_and(|words| !words.is_empty()),
                    "{here}: no words"
                );
                assert!(
                    operation["responses"]["default"].is_object(),
                    "{here}: no problem"
                );
                if let Some(body) = operation.get("requestBody") {
                    // Bytes that are not text have no schema, and no example of it.
                    let content = body["content"].as_object().unwrap();
                    let described = content
                        .values()
                        .filter(|media| media.get("schema").is_some());
                    for media in described.filter(|media| !has_example(&document, media)) {
                        missing.push(format!("{here}: no example of its body {media}"));
                    }
                }
                for parameter in operation["parameters"].as_array().into_iter().flatten() {
                    if parameter["in"] == "path" && !has_example(&document, parameter) {
                        missing.push(format!("{here}: no example of {parameter}"));
                    }
                }
            }
        }
        assert_no_outside_references(&document, &document);
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

/// Whether a media type, parameter or schema has an example, or all of its required fields do.
fn has_example(document: &Value, described: &Value) -> bool {
    if described.get("example").is_some() || described.get("examples").is_some() {
        return true;
    }
    if let Some(schema) = described.get("schema") {
        return has_example(document, schema);
    }
    if let Some(reference) = described["$ref"].as_str() {
        let pointer = reference.strip_prefix('#').unwrap();
        return has_example(document, document.pointer(pointer).unwrap());
    }
    if let Some(items) = described.get("items") {
        return has_example(document, items);
    }
    let constant = described.get("enum").is_some() || described.get("format").is_some();
    let Some(properties) = described["properties"].as_object() else {
        let plain = ["boolean", "integer", "number"];
        let types: Vec<&str> = match &described["type"] {
            Value::String(one) => vec![one.as_str()],
            Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
            _ => vec![],
        };
        return constant || types.iter().any(|name| plain.contains(name));
    };
    let required: Vec<&str> = described["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    properties
        .iter()
        .filter(|(name, _)| required.contains(&name.as_str()))
        .all(|(_, property)| has_example(document, property))
}

fn assert_no_outside_references(document: &Value, value: &Value) {
    match value {
        Value::Object(object) => {
            if let Some(reference) = object.get("$ref").and_then(Value::as_str) {
                let pointer = reference
                    .strip_prefix('#')
                    .unwrap_or_else(|| panic!("{reference}"));
                assert!(
                    document.pointer(pointer).is_some(),
                    "{reference} leads nowhere"
                );
            }
            object
                .values()
                .for_each(|inner| assert_no_outside_references(document, inner));
        }
        Value::Array(values) => {
            values
                .iter()
                .for_each(|inner| assert_no_outside_references(document, inner));
        }
        _ => {}
    }
}

#[tokio::test]
async fn the_documentation_page_needs_no_other_host() {
    let world = World::shared().await;
    for speaker in [
        world.anonymous(),
        world.visitor(),
        world.platform(),
        world.service(),
    ] {
        let mut path = "/docs".to_owned();
        let mut page = speaker.get(&path).await;
        while matches!(page.status(), 301..=308) {
            path = page.header("location").to_owned();
            page = speaker.get(&path).await;
        }
        let page = page.expect(200);
        assert!(
            page.header("content-security-policy")
                .contains("default-src 'self'"),
            "{page}"
        );
        let base = path
            .trim_end_matches("index.html")
            .trim_end_matches('/')
            .to_owned();
        let text = page.text();
        let mut linked = 0;
        for attribute in ["src=\"", "href=\""] {
            for rest in text.split(attribute).skip(1) {
                let target = rest.split('"').next().unwrap();
                assert!(!target.contains("//"), "the page loads {target}");
                if target.starts_with("data:") || target.starts_with('#') {
                    continue;
                }
                let target = target.trim_start_matches("./");
                let full = if target.starts_with('/') {
                    target.to_owned()
                } else {
                    format!("{base}/{target}")
                };
                speaker.get(&full).await.expect(200);
                linked += 1;
            }
        }
        assert!(linked >= 2, "the page has script and style: {text}");
        let settings = speaker.get(&format!("{base}/swagger-initializer.js")).await;
        let settings = settings.expect(200).text();
        assert!(
            settings.contains("\"validatorUrl\": \"none\""),
            "its document is shown to nobody: {settings}"
        );
        let nothing = speaker.get(&format!("{base}/nope")).await.expect(404);
        nothing.refused(Code::RouteNotFound);
        let policy = nothing.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'"), "{policy}");
    }
}

/// A refusal without what differs from run to run.
fn settled(answer: &Answer) -> String {
    let mut problem: ProblemDocument = answer.problem();
    problem.request_id = Some("[request id]".to_owned());
    if problem.proposal.is_some() {
        problem.proposal = Some("[proposal]".to_owned());
    }
    let text = serde_json::to_string_pretty(&problem).unwrap();
    format!("{} {text}", answer.status())
}

#[tokio::test]
async fn refusals_are_the_known_ones() {
    let world = World::shared().await;
    let acme = world.tenant("refusals").await;
    let owner = acme.owner();
    let made = owner.post("/v1/entries", entry("One")).await.expect(201);
    let path = made.header("location").to_owned();
    let viewer = acme.viewer().await;
    let taken = acme.slug().to_owned();
    let refusals = [
        ("unknown path", world.anonymous().get("/v1/nowhere").await),
        (
            "wrong method",
            world.anonymous().delete("/v1/entries").await,
        ),
        ("no token", acme.anonymous().get("/v1/me").await),
        (
            "bad token",
            acme.anonymous().bearer("x").get("/v1/me").await,
        ),
        (
            "another tenant",
            owner.clone().in_tenant("t_another").get("/v1/me").await,
        ),
        (
            "no permission",
            viewer.post("/v1/entries", entry("No")).await,
        ),
        (
            "wrong password",
            world
                .anonymous()
                .in_tenant("t_nobody_here")
                .post(
                    "/v1/auth/login",
                    json!({ "email": "a@b.example", "password": "c" }),
                )
                .await,
        ),
        (
            "unknown entry",
            owner
                .get("/v1/entries/ent_0192f0c1a4b27c3d8e9fa0b1c2d3e4f5")
                .await,
        ),
        (
            "wrong kind of id",
            owner
                .get("/v1/entries/usr_0192f0c1a4b27c3d8e9fa0b1c2d3e4f5")
                .await,
        ),
        ("bad query", owner.get("/v1/entries?limit=101").await),
        (
            "bad fields",
            owner
                .post("/v1/entries", json!({ "title": "", "body": {} }))
                .await,
        ),
        (
            "unknown field",
            owner
                .post("/v1/entries", json!({ "title": "a", "body": {}, "x": 1 }))
                .await,
        ),
        (
            "bad JSON",
            owner
                .request(Method::POST, "/v1/entries")
                .body("{")
                .send()
                .await,
        ),
        (
            "not JSON",
            owner
                .request(Method::POST, "/v1/entries")
                .body_of_type("text/plain", "x")
                .send()
                .await,
        ),
        (
            "compressed",
            owner
                .request(Method::POST, "/v1/entries")
                .header("content-encoding", "gzip")
                .body("x")
                .send()
                .await,
        ),
        (
            "too large",
            owner
                .request(Method::POST, "/v1/entries")
                .body("x".repeat(3 << 20))
                .send()
                .await,
        ),
        (
            "no If-Match",
            owner.patch(&path, json!({ "title": "x" })).await,
        ),
        (
            "stale If-Match",
            owner
                .request(Method::DELETE, &path)
                .header("if-match", "\"9\"")
                .send()
                .await,
        ),
        ("no operator key", world.visitor().get("/v1/tenants").await),
        (
            "no service credential",
            world
                .service()
                .without_credential()
                .get("/internal/signing-keys")
                .await,
        ),
        (
            "slug reserved",
            world.visitor().post("/v1/signup", signup("postgres")).await,
        ),
        (
            "slug taken",
            world.visitor().post("/v1/signup", signup(&taken)).await,
        ),
        (
            "bad sign-up",
            world
                .visitor()
                .post("/v1/signup", json!({ "company": "x", "slug": "-" }))
                .await,
        ),
    ];
    let text: Vec<String> = refusals
        .iter()
        .map(|(name, answer)| format!("{name}: {}", settled(answer)))
        .collect();
    insta::assert_snapshot!("refusals", text.join("\n\n"));
}

#[tokio::test]
async fn every_answer_is_safe_to_show_and_to_trace() {
    let world = World::shared().await;
    let acme = world.tenant("answers").await;
    let given = unique("request");
    let with_id = acme.owner().header("x-request-id", &given);
    let traced = [
        with_id.get("/v1/me").await,
        with_id.get("/v1/nowhere").await,
        with_id.post("/v1/entries", json!({})).await,
    ];
    for answer in &traced {
        assert_eq!(answer.header("x-request-id"), given, "{answer}");
    }
    let own = [
        acme.anonymous().get("/v1/me").await,
        world.visitor().get("/v1/tiers").await,
        world.visitor().get("/v1/tenants").await,
    ];
    for answer in traced.into_iter().chain(own) {
        assert!(!answer.header("x-request-id").is_empty(), "{answer}");
        assert_eq!(
            answer.header("x-content-type-options"),
            "nosniff",
            "{answer}"
        );
        assert!(
            !answer.header("cache-control").is_empty(),
            "{answer}: may a cache keep it?"
        );
        assert!(answer.header("server").is_empty());
        assert!(
            answer.header("access-control-allow-origin").is_empty(),
            "no origin was set"
        );
    }
}

#[tokio::test]
async fn an_id_from_outside_is_kept_where_it_can_stand_in_a_log_and_replaced_elsewhere() {
    let world = World::shared().await;
    let acme = world.tenant("traced").await;
    let asked = async |id: &[u8]| {
        let request = acme.owner().request(Method::GET, "/v1/me");
        let request = request.header_bytes("x-request-id", id);
        let answer = request.send().await.expect(200);
        answer.headers()["x-request-id"].as_bytes().to_vec()
    };
    for good in ["3f0e-aB_9.2", "x", &"a".repeat(64)] {
        assert_eq!(asked(good.as_bytes()).await, good.as_bytes());
    }
    let mark = unique("hostile").replace('-', "");
    for hostile in [
        format!("{mark} {{\"level\":\"ERROR\"}}").as_bytes(),
        format!("{mark}\tb").as_bytes(),
        format!("{mark};b").as_bytes(),
        format!("{mark}%0a").as_bytes(),
        format!("{mark}\u{9b}2J").as_bytes(),
        &[mark.as_bytes(), b"\xff"].concat(),
        format!("{mark}{}", "a".repeat(65)).as_bytes(),
        b"",
    ] {
        let given = asked(hostile).await;
        assert_eq!(given.len(), 32, "{}", String::from_utf8_lossy(&given));
        assert!(given.iter().all(u8::is_ascii_hexdigit));
    }
    // What can end a line, or move a cursor, is no header at all.
    for bytes in ["\u{1b}[2J", "\u{7f}", "\u{8}"] {
        let head = format!(
            "GET /v1/me HTTP/1.1\r\nhost: x\r\nx-request-id: {mark}{bytes}\r\nconnection: close\r\n\r\n"
        );
        let answer = answer_to_head(acme.owner().base(), &head).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
    assert_eq!(world.logs().with(&mark), Vec::<String>::new());
}

/// The environment variables of a service's settings, without those that take a file.
fn variables(prefix: &str, defaults: &str) -> BTreeSet<String> {
    fn add(found: &mut BTreeSet<String>, name: &str, value: &toml::Value) {
        if let Some(table) = value.as_table() {
            for (key, value) in table {
                let key = key.to_ascii_uppercase();
                add(found, &format!("{name}__{key}"), value);
            }
        }
        found.insert(name.to_owned());
    }
    let defaults: toml::Table = toml::from_str(defaults).unwrap();
    let mut found = BTreeSet::new();
    add(&mut found, prefix, &toml::Value::Table(defaults));
    found
}

#[test]
fn the_settings_that_the_guides_name_are_there() {
    let mut known = variables("PLATFORM", platform_service::config::SPEC.defaults);
    known.extend(variables("APP", app_service::config::SPEC.defaults));
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    for page in ["README.md", "docs/OPERATIONS.md", "docs/ADD-A-MODULE.md"] {
        let text = std::fs::read_to_string(format!("{root}/{page}")).unwrap();
        let words = text.split(|c: char| !(c.is_ascii_uppercase() || c == '_'));
        let named: BTreeSet<&str> = words
            .filter(|word| word.starts_with("PLATFORM__") || word.starts_with("APP__"))
            // What stands for any of them.
            .filter(|word| !word.ends_with('_'))
            .collect();
        for name in &named {
            let setting = name.strip_suffix("_FILE").unwrap_or(name);
            assert!(known.contains(setting), "{page}: {name}");
        }
        if page == "README.md" {
            // By default nobody but the machine itself gets in.
            for listener in [
                "PLATFORM__PUBLIC",
                "PLATFORM__INTERNAL",
                "APP__PUBLIC",
                "APP__INTERNAL",
            ] {
                let listen = format!("{listener}__LISTEN");
                assert!(named.contains(&*listen), "{listen} is not set in {page}");
            }
        }
    }
}
