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
        (r#"["a",[]]"#, ValidationFailed, ""),
        (
            r#"{"name":"a","items":[[1]]}"#,
            ValidationFailed,
            "/items/0",
        ),
    ] {
        assert_eq!(refusal(text), (code, pointer.to_owned()), "{text}");
    }
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Shape {
    Dot,
    Circle(u8),
    Line(u8, u8),
    Box { width: u8 },
}

#[test]
fn a_struct_is_an_object_and_everything_else_what_it_was() {
    for text in ["[]", "1", "-1", "1.5", "true", "null", r#""a""#] {
        let problem = parse::<Item>(text.as_bytes()).unwrap_err();
        let words = &problem.document(None).errors[0].detail;
        assert!(words.ends_with(", expected an object"), "{text}: {words}");
    }
    let shapes = br#"["dot", {"circle": 1}, {"line": [1, 2]}, {"box": {"width": 3}}]"#;
    let read: Vec<Shape> = parse(shapes).unwrap();
    let known = [
        Shape::Dot,
        Shape::Circle(1),
        Shape::Line(1, 2),
        Shape::Box { width: 3 },
    ];
    assert_eq!(read, known);
    parse::<Shape>(br#"{"box": [3]}"#).unwrap_err();
    let pairs: Vec<(u8, Option<bool>)> = parse(b"[[1, true], [2, null]]").unwrap();
    assert_eq!(pairs, [(1, Some(true)), (2, None)]);
    let raw: Box<serde_json::value::RawValue> = parse(b"[1, [2]]").unwrap();
    assert_eq!(raw.get(), "[1, [2]]");
}

#[test]
fn depth_is_limited() {
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let problem = parse::<serde_json::Value>(deep.as_bytes()).unwrap_err();
    assert_eq!(problem.code(), Code::JsonMalformed);
}
