//! How a case is made: an operation called as described, and then bent.
//!
//! Deliberately only what an HTTP client can send. Invariant: a case follows from its generator alone.

use super::{Method, Request, RngExt, StdRng, Target, Value, json};
use rand::seq::IndexedRandom as _;

/// Texts that are meant to be taken for something else.
const TEXTS: [&str; 36] = [
    "",
    " ",
    "0",
    "-1",
    "1e999",
    "9223372036854775808",
    "NaN",
    "true",
    "null",
    "'",
    "\"",
    "'; drop table x; --",
    "$1",
    "%",
    "%s%n",
    "..",
    "../../etc/passwd",
    "/",
    "\\",
    "\u{0}",
    "a\u{0}b",
    "\r\nx: y",
    "\u{feff}",
    "\u{202e}abc",
    "\u{1f434}",
    "\u{10ffff}",
    "ÄÖÜ",
    "<script>",
    "{}",
    "[]",
    "*",
    "t_",
    "t_nobody",
    "op_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f",
    "0000-00-00T00:00:00Z",
    "9999-12-31T23:59:60Z",
];
const METHODS: [Method; 7] = [
    Method::GET,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
    Method::HEAD,
];
const HEADERS: [&str; 12] = [
    "x-tenant-id",
    "if-match",
    "idempotency-key",
    "content-type",
    "content-encoding",
    "accept",
    "accept-encoding",
    "authorization",
    "x-request-id",
    "x-forwarded-for",
    "traceparent",
    "range",
];
const MEDIA: [&str; 8] = [
    "application/json",
    "application/json; charset=latin1",
    "application/problem+json",
    "text/csv",
    "application/x-ndjson",
    "application/x-tar",
    "multipart/form-data",
    ";",
];

/// A text from the list, a long one, or some letters of any script.
pub(super) fn text(rng: &mut StdRng) -> String {
    match rng.random_range(0..8) {
        0 => "a".repeat(rng.random_range(1..4_000)),
        1 => (0..rng.random_range(0..12))
            .map(|_| rng.random::<char>())
            .collect(),
        _ => (*TEXTS.choose(rng).unwrap()).to_owned(),
    }
}

/// Any bytes, as a part of a URL.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes()
        .map(|byte| match plain(byte) {
            true => char::from(byte).to_string(),
            false => format!("%{byte:02X}"),
        })
        .collect()
}

fn value(rng: &mut StdRng) -> Value {
    match rng.random_range(0..12) {
        0 => Value::Null,
        1 => json!(rng.random::<bool>()),
        2 => json!(rng.random::<i64>()),
        3 => json!(u64::MAX),
        4 => json!(rng.random::<f64>() * 1e300),
        5 => json!(-1),
        6 => json!([]),
        7 => json!({}),
        8 => Value::Array((0..600).map(|n| json!(n)).collect()),
        9 => json!({ text(rng): text(rng) }),
        _ => Value::String(text(rng)),
    }
}

/// Where a body holds something.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                let name = name.replace('~', "~0").replace('/', "~1");
                places(field, &format!("{at}/{name}"), found);
            }
        }
        Value::Array(items) => {
            for (number, item) in items.iter().enumerate() {
                places(item, &format!("{at}/{number}"), found);
            }
        }
        _ => {}
    }
}

/// A body with some of it replaced, left out or added.
fn bent(rng: &mut StdRng, mut body: Value) -> Value {
    for _ in 0..rng.random_range(0..3) {
        let mut found = Vec::new();
        places(&body, "", &mut found);
        let at = found.choose(rng).unwrap().clone();
        let (around, name) = at.rsplit_once('/').unwrap_or(("", ""));
        match (rng.random_range(0..4), body.pointer_mut(around)) {
            (0, Some(Value::Object(fields))) => drop(fields.remove(name)),
            (1, Some(Value::Object(fields))) => drop(fields.insert(text(rng), value(rng))),
            _ => *body.pointer_mut(&at).unwrap() = value(rng),
        }
    }
    body
}

/// Bytes of a body that are meant to be JSON, or not even that.
fn bytes(rng: &mut StdRng, body: Value) -> Vec<u8> {
    let mut bytes = bent(rng, body).to_string().into_bytes();
    match rng.random_range(0..24) {
        0 => bytes.truncate(rng.random_range(0..=bytes.len())),
        1 => {
            bytes = (0..rng.random_range(0..200))
                .map(|_| rng.random())
                .collect()
        }
        2 => bytes = format!("{}1{}", "[".repeat(300), "]".repeat(300)).into_bytes(),
        3 => bytes.extend_from_slice(b"\xff\xfe"),
        4 => bytes = [b"{\"a\":1,\"a\":2,".as_slice(), &bytes[1..]].concat(),
        _ => {}
    }
    bytes
}

/// What of a case may be wrong.
pub(super) enum Bent {
    /// What the operation is told.
    Contents,
    /// Also which operation it is.
    Address,
}

/// A request of this target, mostly with something wrong.
pub(super) fn case_of(rng: &mut StdRng, target: &Target, there: &[String]) -> (Request, Bent) {
    let mut bent = Bent::Contents;
    let mut path = target.operation.path.clone();
    let mut query = Vec::new();
    let mut headers = Vec::new();
    for (name, place) in &target.parameters {
        let known = rng.random_range(0..4) > 0;
        let text = match known {
            true => there.choose(rng).unwrap().clone(),
            false => text(rng),
        };
        match place.as_str() {
            "path" => {
                path = path.replace(&format!("{{{name}}}"), &encoded(&text));
                if !known {
                    bent = Bent::Address;
                }
            }
            "query" if rng.random_range(0..3) == 0 => {
                let plain = ["1", "100", "none", "true", "csv", "2030-01-01T00:00:00Z"];
                let text = match rng.random_range(0..2) {
                    0 => (*plain.choose(rng).unwrap()).to_owned(),
                    _ => text,
                };
                query.push(format!("{}={}", encoded(name), encoded(&text)));
            }
            "header" if name.eq_ignore_ascii_case("if-match") => {
                headers.push((name.clone(), "\"1\"".to_owned()));
            }
            _ => {}
        }
    }
    // A wait that is asked for is none of what is tried here.
    if target.operation.id == "internal.changes" {
        query.push("wait_ms=0".to_owned());
    }
    match rng.random_range(0..16) {
        0 => query.push(format!("{}={}", encoded(&text(rng)), encoded(&text(rng)))),
        1 => query.push("%zz&&==%ff".to_owned()),
        2 => {
            path.push_str(&encoded(&text(rng)));
            bent = Bent::Address;
        }
        3 => headers.push(((*HEADERS.choose(rng).unwrap()).to_owned(), text(rng))),
        _ => {}
    }
    let method = match rng.random_range(0..40) {
        0 => {
            bent = Bent::Address;
            METHODS.choose(rng).unwrap().clone()
        }
        _ => target.operation.method.clone(),
    };
    let path = match query.is_empty() {
        true => path,
        false => format!("{path}?{}", query.join("&")),
    };
    let mut request = target.speaker.request(method, &path);
    for (name, value) in headers {
        // Control characters are no header's.
        let value: String = value
            .chars()
            .filter(|letter| !letter.is_control())
            .collect();
        request = request.header(&name, &value);
    }
    let media = match rng.random_range(0..20) {
        0 => MEDIA.choose(rng).unwrap(),
        _ => "application/json",
    };
    let request = match &target.body {
        Some(body) => request.body_of_type(media, bytes(rng, body.clone())),
        None if rng.random_range(0..8) == 0 => request.body_of_type(media, bytes(rng, json!({}))),
        None => request,
    };
    (request, bent)
}
