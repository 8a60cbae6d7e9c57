//! What is kept of an object, what it costs, and where a part of it is refused.

use serde_json::value::RawValue;

use super::CompactObject;

fn read(text: &str) -> Result<CompactObject, (String, String)> {
    let raw: Box<RawValue> = serde_json::from_str(text).unwrap();
    CompactObject::read(&raw).map_err(|refused| {
        let text = refused.to_string();
        let (pointer, rule) = crate::extract::PartRefused::split(&text).unwrap();
        (pointer.to_owned(), rule.to_owned())
    })
}

#[test]
fn it_is_kept_as_it_was_sent_without_the_space_between() {
    for (sent, kept) in [
        ("{ }", "{}"),
        (
            "{ \"a\" : [ 1 ,\t-2.50 , { \"b c\" : null } ] ,\r\n \"d\" : true }",
            r#"{"a":[1,-2.50,{"b c":null}],"d":true}"#,
        ),
        (
            r#"{"x":12345678901234567890123,"y":0.1000000000000000055511151231257827,"z":1E+2}"#,
            r#"{"x":12345678901234567890123,"y":0.1000000000000000055511151231257827,"z":1E+2}"#,
        ),
        (
            r#"{"\u0041\ud83d\ude00":"\u00e9 \"\\ \/ \n"}"#,
            r#"{"A😀":"é \"\\ / \n"}"#,
        ),
        (
            r#"{"a\\":"\\\"","b":"{ , : [ 1e9 }"}"#,
            r#"{"a\\":"\\\"","b":"{ , : [ 1e9 }"}"#,
        ),
    ] {
        assert_eq!(read(sent).unwrap().text, kept, "{sent}");
    }
}

#[test]
fn numbers_are_counted_as_they_are_written_out() {
    for (number, written) in [
        ("0", "0"),
        ("-7", "-7"),
        ("1e3", "1000"),
        ("1.50e1", "15.0"),
        ("1.5E-3", "0.0015"),
        ("-25e-1", "-2.5"),
        ("1e0", "1"),
    ] {
        let object = read(&format!("{{\"n\":{number}}}")).unwrap();
        assert_eq!(object.written_out, 6 + written.len(), "{number}");
    }
    let wide = |digits: usize| "9".repeat(digits);
    for (number, fits) in [
        (wide(1000), true),
        (wide(1001), false),
        (format!("0.{}", wide(1000)), true),
        (format!("0.{}", wide(1001)), false),
        ("1e999".to_owned(), true),
        ("1e1000".to_owned(), false),
        ("1e-1000".to_owned(), true),
        ("1e-1001".to_owned(), false),
        ("1e999999".to_owned(), false),
        ("-1e-99999999999999999999999".to_owned(), false),
        ("0e9223372036854775807".to_owned(), false),
        ("0e-9223372036854775808".to_owned(), false),
    ] {
        assert_eq!(
            read(&format!("{{\"n\":{number}}}")).is_ok(),
            fits,
            "{number}"
        );
    }
}

#[test]
fn a_refusal_points_at_the_part() {
    for (sent, at) in [
        ("[]", ""),
        ("null", ""),
        ("7", ""),
        (r#""{}""#, ""),
        (r#"{"a":"\u0000"}"#, "/a"),
        (r#"{"a":[1,{"b/c~d":["x","y\u0000"]}]}"#, "/a/1/b~1c~0d/1"),
        (r#"{"a":{"b\u0000":1}}"#, "/a/b\0"),
        (r#"{"a":{},"b":[[],[1e5000]]}"#, "/b/1/0"),
        (r#"{"a":1,"b":"\ud800"}"#, "/b"),
        (r#"{"a":1,"\udc00":1}"#, ""),
    ] {
        assert_eq!(read(sent).unwrap_err().0, at, "{sent}");
    }
}

#[test]
fn depth_costs_no_stack() {
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(200_000), "]".repeat(200_000));
    let raw = RawValue::from_string(deep.clone());
    // serde_json's own limit does not reach into raw text.
    assert_eq!(CompactObject::read(&raw.unwrap()).unwrap().text, deep);
}
