//! Entity tags in and out.

use http::{HeaderMap, HeaderValue, header};

use super::{Version, read};

#[test]
fn a_tag_comes_back_as_its_version() {
    for version in [1, 42, 999_999_999_999_999_999].map(Version) {
        let mut headers = HeaderMap::new();
        headers.insert(header::IF_MATCH, version.etag());
        assert_eq!(read(&headers).unwrap(), Some(version));
    }
    assert_eq!(read(&HeaderMap::new()).unwrap(), None);
}

#[test]
fn anything_but_one_strong_tag_is_refused() {
    let refused = [
        "*",
        "1",
        "\"\"",
        "\"0\"",
        "\"01\"",
        "\"-1\"",
        "\"+1\"",
        "\"1",
        "1\"",
        "W/\"1\"",
        "\"1\", \"2\"",
        "\"a\"",
        "\"1.0\"",
        "\" 1\"",
        "\"9999999999999999999\"",
        "",
    ];
    for text in refused {
        let mut headers = HeaderMap::new();
        headers.insert(header::IF_MATCH, HeaderValue::from_static(text));
        let problem = read(&headers).expect_err(text);
        assert_eq!(problem.code(), contract::Code::HeaderInvalid, "{text}");
    }
    let mut twice = HeaderMap::new();
    twice.append(header::IF_MATCH, HeaderValue::from_static("\"1\""));
    twice.append(header::IF_MATCH, HeaderValue::from_static("\"1\""));
    assert!(read(&twice).is_err());
}
