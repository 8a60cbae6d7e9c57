//! Bodies: what nobody asked for, what is too much of it, and what answers hold.
//!
//! Deliberately generated from the documents, like the matrix of tenants in `isolation`. Invariant:
//! every object of a body is closed, and every field of an answer is described.

use contract::Code;
use http::Method;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use world::{Answer, Speaker, TenantHandle, World};

use crate::support::{Described, document, entry, operations, signup, undescribed, unique};

/// What somebody would like to say of himself.
const UNASKED: [&str; 7] = [
    "tenant_id",
    "role",
    "tier",
    "price",
    "created_at",
    "id",
    "status",
];

/// What a reference leads to.
fn resolved<'a>(document: &'a Value, mut schema: &'a Value) -> &'a Value {
    while let Some(reference) = schema["$ref"].as_str() {
        schema = document.pointer(&reference[1..]).unwrap();
    }
    // What may be null or one thing.
    for several in ["oneOf", "anyOf"] {
        if let Some(variants) = schema[several].as_array() {
            let mut real = variants.iter().filter(|one| one["type"] != "null");
            if let (Some(one), None) = (real.next(), real.next()) {
                return resolved(document, one);
            }
        }
    }
    schema
}

/// A value that fits a schema, with all its fields.
pub(crate) fn example(document: &Value, schema: &Value) -> Value {
    let schema = resolved(document, schema);
    if let Some(properties) = schema["properties"].as_object() {
        let mut whole = schema["example"].as_object().cloned().unwrap_or_default();
        for (name, property) in properties {
            if !whole.contains_key(name) {
                whole.insert(name.clone(), example(document, property));
            }
        }
        return Value::Object(whole);
    }
    if let Some(given) = schema.get("example") {
        return given.clone();
    }
    if let Some(first) = schema["enum"].get(0).or(schema["oneOf"].get(0)) {
        return match first.is_object() {
            true => example(document, first),
            false => first.clone(),
        };
    }
    let kind = schema["type"].as_str().or(schema["type"][0].as_str());
    match kind {
        Some("array") => json!([example(document, &schema["items"])]),
        Some("integer" | "number") => json!(1),
        Some("boolean") => json!(true),
        Some("string") => json!("2030-01-01T00:00:00Z"),
        _ => json!({}),
    }
}

/// Where a body holds objects whose fields are known, and which those are.
fn objects(document: &Value, schema: &Value, body: &Value, at: &str) -> Vec<(String, Vec<String>)> {
    let schema = resolved(document, schema);
    let mut found = Vec::new();
    if let (Some(properties), Some(fields)) = (schema["properties"].as_object(), body.as_object()) {
        found.push((at.to_owned(), properties.keys().cloned().collect()));
        for (name, field) in fields {
            let inner = properties.get(name).unwrap_or(&Value::Null);
            found.extend(objects(document, inner, field, &format!("{at}/{name}")));
        }
    }
    for (number, item) in body.as_array().into_iter().flatten().enumerate() {
        let at = format!("{at}/{number}");
        found.extend(objects(document, &schema["items"], item, &at));
    }
    found
}

/// The schema of an operation's JSON body.
pub(crate) fn body_schema<'a>(document: &'a Value, operation: &Described) -> Option<&'a Value> {
    let method = operation.method.as_str().to_ascii_lowercase();
    let content = &document["paths"][&operation.path][method]["requestBody"]["content"];
    content.get("application/json")?.get("schema")
}

/// Whoever may call an operation, and how its path reads for a tenant.
pub(crate) fn caller(
    world: &World,
    acme: &TenantHandle,
    operation: &Described,
) -> (Speaker, String) {
    let speaker = match operation.access["door"].as_str() {
        Some("in-tenant") => acme.owner(),
        Some("operator") => world.operator(),
        Some("sign-in") => acme.anonymous(),
        _ => world.visitor(),
    };
    let id = match operation.path.split('/').nth(2) {
        Some("tenants") => acme.id().to_string(),
        Some("entries") => "ent_0192f0c1a4b27c3d8e9fa0b1c2d3e4f5".to_owned(),
        Some("backups") => "bak_0192f0c1a4b27c3d8e9fa0b1c2d3e4f5".to_owned(),
        _ => "op_0192f0c1a4b27c3d8e9fa0b1c2d3e4f5".to_owned(),
    };
    let path = operation.path.replace("{id}", &id);
    (speaker, path.replace("{name}", "main"))
}

/// Every operation that takes JSON, of both public documents.
async fn that_take_json(world: &World) -> Vec<(Value, Described)> {
    let mut found = Vec::new();
    for document in [
        document(&world.anonymous()).await,
        document(&world.visitor()).await,
    ] {
        for operation in operations(&document) {
            if body_schema(&document, &operation).is_some() {
                found.push((document.clone(), operation));
            }
        }
    }
    assert!(found.len() >= 25, "{}", found.len());
    found
}

#[tokio::test]
async fn no_body_takes_a_field_that_it_has_not() {
    let world = World::shared().await;
    let acme = world.tenant("closed").await;
    let mut tried = 0;
    for (document, operation) in that_take_json(&world).await {
        let schema = body_schema(&document, &operation).unwrap();
        let whole = example(&document, schema);
        for (at, known) in objects(&document, schema, &whole, "") {
            for field in UNASKED {
                if known.iter().any(|name| name == field) {
                    continue;
                }
                let mut body = whole.clone();
                let object = body.pointer_mut(&at).unwrap().as_object_mut().unwrap();
                object.insert(field.to_owned(), json!("owner"));
                let (speaker, path) = caller(&world, &acme, &operation);
                let request = speaker.request(operation.method.clone(), &path);
                let request = request.header("if-match", "\"1\"").json(&body);
                let answer = request.send().await;
                let here = format!("{}: {at}/{field}: {answer}", operation.id);
                assert_eq!(answer.status(), 422, "{here}");
                let problem = answer.refused(Code::ValidationFailed);
                let named = problem.errors.iter().any(|error| {
                    let says = format!("{} {}", error.pointer, error.detail);
                    says.contains(field)
                });
                assert!(named, "{here}");
                tried += 1;
            }
        }
    }
    assert!(tried >= 200, "{tried}");
}

/// What a listener answers to a head, before anything of its body was sent.
pub(crate) async fn answer_to_head(base: &str, head: &str) -> String {
    let mut stream = TcpStream::connect(base.strip_prefix("http://").unwrap())
        .await
        .unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn bodies_that_cost_much_are_refused_before_they_cost_anything() {
    let world = World::shared().await;
    let acme = world.tenant("costly").await;
    for (_, operation) in that_take_json(&world).await {
        let here = &operation.id;
        let (speaker, path) = caller(&world, &acme, &operation);
        // A gigabyte that is only announced.
        let head = format!(
            "{} {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\nx-tenant-id: {}\r\n\
             content-type: application/json\r\nif-match: \"1\"\r\nconnection: close\r\n\
             x-forwarded-for: 10.1.2.3\r\ncontent-length: 1073741824\r\n\r\n",
            operation.method,
            speaker.token(),
            acme.id()
        );
        let answer = answer_to_head(speaker.base(), &head).await;
        assert!(answer.starts_with("HTTP/1.1 413 "), "{here}: {answer}");
        assert!(answer.contains("body-too-large"), "{here}: {answer}");
        // Ten thousand levels.
        let deep = format!("{}1{}", "{\"a\":".repeat(10_000), "}".repeat(10_000));
        let (speaker, path) = caller(&world, &acme, &operation);
        let request = speaker.request(operation.method.clone(), &path);
        let request = request.header("if-match", "\"1\"").body(deep);
        let answer = request.send().await;
        let code = answer.problem().code;
        // A closed object knows no "a", however deep.
        assert!(
            matches!(code, Code::JsonMalformed | Code::ValidationFailed),
            "{here}: {answer}"
        );
        assert!(answer.status() < 500, "{here}: {answer}");
    }
    // A bomb is not unpacked.
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::Write::write_all(&mut packed, &vec![b' '; 8 << 20]).unwrap();
    let request = acme.owner().request(Method::POST, "/v1/entries");
    let request = request.header("content-encoding", "gzip");
    let answer = request.body(packed.finish().unwrap()).send().await;
    answer.expect(415).refused(Code::ContentTypeUnsupported);
}

#[tokio::test]
async fn no_body_is_taken_compressed() {
    let world = World::shared().await;
    let acme = world.tenant("packed").await;
    let (app, platform) = (acme.owner(), world.operator());
    let tier = "/v1/tiers/standard?wait=none";
    let taken = [
        (&app, Method::POST, "/v1/entries", "application/json"),
        (&platform, Method::POST, "/v1/signup", "application/json"),
        (&platform, Method::PATCH, tier, "application/json"),
        (&platform, Method::POST, "/v1/tenants/bulk", "text/csv"),
        (
            &platform,
            Method::PUT,
            "/v1/imports/a.tar",
            "application/x-tar",
        ),
    ];
    for (speaker, method, path, media) in taken {
        for coding in [
            "gzip",
            "GZIP",
            "br",
            "identity, gzip",
            "x-unknown",
            ",br",
            "\u{e9}",
        ] {
            let request = speaker.request(method.clone(), path);
            let request = request.header("content-encoding", coding);
            let answer = request.body_of_type(media, "{}").send().await;
            let problem = answer.expect(415).refused(Code::ContentTypeUnsupported);
            let says = problem
                .detail
                .is_some_and(|words| words.contains("Content-Encoding"));
            assert!(says, "{path}: {coding}");
        }
    }
    // One that changes nothing is none.
    for coding in ["identity", "Identity", "identity , identity", ""] {
        let request = app.request(Method::POST, "/v1/entries");
        let request = request.header("content-encoding", coding);
        request.json(entry("Plain")).send().await.expect(201);
    }
}

#[tokio::test]
async fn words_for_people_can_be_seen_and_stay_in_their_line() {
    let world = World::shared().await;
    let acme = world.tenant("words").await;
    let (owner, operator) = (acme.owner(), world.operator());
    let tenant = format!("/v1/tenants/{}", acme.id());
    let [suspend, psql] = ["suspend", "psql"].map(|verb| format!("{tenant}/{verb}"));
    let tier = "/v1/tiers/standard";
    let user = json!({ "email": "a@b.example", "password": world::PASSWORD, "role": "viewer" });
    let etag = operator.get(&tenant).await.header("etag").to_owned();
    let at = [
        (
            &owner,
            Method::POST,
            "/v1/entries",
            "title",
            json!({ "body": {} }),
        ),
        (&owner, Method::POST, "/v1/users", "name", user),
        (
            &operator,
            Method::POST,
            "/v1/signup",
            "company",
            signup(&unique("unseen")),
        ),
        (
            &operator,
            Method::POST,
            "/v1/tenants",
            "company",
            signup(&unique("unseen")),
        ),
        (&operator, Method::PATCH, &tenant, "company", json!({})),
        (
            &operator,
            Method::POST,
            &suspend,
            "reason",
            json!({ "wall": "blocked" }),
        ),
        (&operator, Method::POST, &psql, "reason", json!({})),
        (&operator, Method::PATCH, tier, "title", json!({})),
        (&operator, Method::POST, "/v1/rollouts", "title", json!({})),
        (
            &operator,
            Method::POST,
            "/v1/operator-keys",
            "name",
            json!({ "scopes": ["tenants:read"] }),
        ),
    ];
    for (speaker, method, path, field, rest) in at {
        for unfit in [
            "\u{200b}\u{2060}",
            "\u{200d}",
            "\u{feff}",
            "a\u{202e}b",
            "a\u{2066}b",
            "a\u{7}b",
            "a\u{2028}b",
        ] {
            let mut body = rest.clone();
            body[field] = json!(unfit);
            let request = speaker.request(method.clone(), path);
            let request = request.header("if-match", &etag).json(&body);
            let problem = request.send().await.expect(422);
            let problem = problem.refused(Code::ValidationFailed);
            assert_eq!(problem.errors.len(), 1, "{path}: {unfit:?}: {problem:?}");
            assert_eq!(problem.errors[0].pointer, format!("/{field}"), "{path}");
        }
    }
    // What scripts and emoji need stays as it was written.
    for title in [
        "می\u{200c}خواهم",
        "👩\u{200d}👩\u{200d}👧 ❤\u{fe0f}",
        " \u{200f}שלום ",
    ] {
        let made = owner.post("/v1/entries", entry(title)).await.expect(201);
        assert_eq!(made.json()["title"], title);
    }
}

#[tokio::test]
async fn no_page_is_longer_than_a_hundred() {
    let world = World::shared().await;
    let acme = world.tenant("longest").await;
    let mut tried = 0;
    for document in [
        document(&world.anonymous()).await,
        document(&world.visitor()).await,
    ] {
        for operation in operations(&document) {
            let method = operation.method.as_str().to_ascii_lowercase();
            let described = &document["paths"][&operation.path][method];
            let asked = described["parameters"].as_array().into_iter().flatten();
            if !asked.clone().any(|one| one["name"] == "limit") {
                continue;
            }
            tried += 1;
            let (speaker, path) = caller(&world, &acme, &operation);
            for limit in ["101", "1000000000"] {
                let answer = speaker.get(&format!("{path}?limit={limit}")).await;
                assert_eq!(answer.status(), 400, "{}: {answer}", operation.id);
                answer.refused(Code::QueryInvalid);
            }
        }
    }
    assert!(tried >= 10, "{tried}");
}

/// Fields of an answer that its operation's description does not have.
pub(crate) fn undocumented(
    document: &Value,
    operation: &Described,
    answer: &Answer,
) -> Vec<String> {
    let method = operation.method.as_str().to_ascii_lowercase();
    let responses = &document["paths"][&operation.path][method]["responses"];
    let content = &responses[answer.status().to_string()]["content"]["application/json"];
    undescribed(document, &content["schema"], &answer.json(), &operation.id)
}

#[tokio::test]
async fn no_answer_has_a_field_that_is_not_described() {
    let world = World::shared().await;
    let acme = world.tenant("described").await;
    let made = acme.owner().post("/v1/entries", entry("One")).await;
    let made = made.expect(201).json()["id"].clone();
    let suspend = format!("/v1/tenants/{}/suspend", acme.id());
    let body = json!({ "wall": "read_only", "reason": "A look." });
    let suspended = world.operator().post(&suspend, body).await.expect(200);
    let suspended = suspended.json()["id"].clone();
    // What the platform logs in with stays its own.
    let own = "select platform_credential from registry.cluster";
    let own = world.postgres().texts("registry", own).await;
    let mut looked = Map::new();
    for (document, speaker) in [
        (document(&world.anonymous()).await, acme.owner()),
        (document(&world.visitor()).await, world.operator()),
        (document(&world.service()).await, world.service()),
    ] {
        for operation in operations(&document) {
            if operation.method != Method::GET {
                continue;
            }
            let id = match operation.path.split('/').nth(2) {
                Some("entries") => made.as_str().unwrap(),
                Some("operations") => suspended.as_str().unwrap(),
                _ => acme.id().as_str(),
            };
            let name = match operation.path.contains("/tiers/") {
                true => "standard",
                false => "main",
            };
            let path = operation.path.replace("{id}", id).replace("{name}", name);
            let path = match operation.id.as_str() {
                "internal.changes" => format!("{path}?after=0&wait_ms=0"),
                _ => path,
            };
            let answer = speaker.get(&path).await;
            if answer.status() != 200 || !answer.header("content-type").ends_with("/json") {
                continue;
            }
            let beyond = undocumented(&document, &operation, &answer);
            assert!(beyond.is_empty(), "{beyond:?}: {answer}");
            let text = answer.text();
            for unsaid in own
                .iter()
                .map(String::as_str)
                .chain(["platform_credential"])
            {
                assert!(!text.contains(unsaid), "{unsaid} in {answer}");
            }
            looked.insert(operation.id.clone(), json!(true));
        }
    }
    for wanted in [
        "entries.list",
        "entries.show",
        "users.me",
        "users.list",
        "auth.keys",
        "tenants.list",
        "tenants.show",
        "operations.list",
        "operations.show",
        "clusters.list",
        "clusters.show",
        "operator_keys.list",
        "keys.list",
        "tiers.list",
        "doctor.examine",
        "internal.route",
        "internal.changes",
        "internal.signing_keys",
    ] {
        assert!(looked.contains_key(wanted), "{wanted}: {looked:?}");
    }
}
