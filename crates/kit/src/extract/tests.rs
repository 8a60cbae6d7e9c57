//! Every way in which a body does not fit names its code and the field.

use contract::Code;
use serde::Deserialize;

use super::parse;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only the parsing is looked at")]
struct Body {
    name: String,
    items: Vec<Item>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "only the parsing is looked at")]
struct Item {
    count: u8,
}

fn refusal(text: &str) -> (Code, String) {
    let problem = parse::<Body>(text.as_bytes()).unwrap_err();
    let pointer = problem
        .document(None)
        .errors
        .first()
        .map(|error| error.pointer.clone().into_owned())
        .unwrap_or_default();
    (problem.code(), pointer)
}

#[test]
fn refusals_point_at_the_field() {
    use Code::{JsonMalformed, ValidationFailed};
    for (text, code, pointer) in [
        ("", JsonMalformed, ""),
        ("{", JsonMalformed, ""),
        (r#"{"name":"a","items":[]} x"#, JsonMalformed, ""),
        (r#"{"name":1,"items":[]}"#, ValidationFailed, "/name"),
        (
            r#"{"name":"a","items":[{"count":1},{"count":"x"}]}"#,
            ValidationFailed,
            "/items/1/count",
        ),
        (
            r#"{"name":"a","items":[],"role":"owner"}"#,
            ValidationFailed,
            "/role",
        ),
        (r#"{"name":"a"}"#, ValidationFailed, ""),
    ] {
        assert_eq!(refusal(text), (code, pointer.to_owned()), "{text}");
    }
}

#[test]
fn depth_is_limited() {
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let problem = parse::<serde_json::Value>(deep.as_bytes()).unwrap_err();
    assert_eq!(problem.code(), Code::JsonMalformed);
}
