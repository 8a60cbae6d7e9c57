//! The edges of an e-mail address.

use super::Email;

#[test]
fn a_local_part_and_a_domain_and_nothing_that_quotes() {
    let valid = |text: &str| text.parse::<Email>().is_ok();
    for text in [
        "a@b.c",
        "Ada.Lovelace+x@acme.example",
        "ü@bücher.example",
        " a@b.example ",
    ] {
        assert!(valid(text), "{text:?}");
    }
    for text in [
        "",
        "@",
        "a@",
        "@b.c",
        "a",
        "a@b",
        "a@b@c.d",
        "a b@c.d",
        "a@b.c\r\nBcc: x@y.z",
        "a\0@b.c",
        ".a@b.c",
        "a.@b.c",
        "a..b@c.d",
        "a@-b.c",
        "a@b-.c",
        "a@b..c",
        "\"a\"@b.c",
        "<a@b.c>",
    ] {
        assert!(!valid(text), "{text:?}");
    }
    assert!(valid(&format!("{}@b.c", "a".repeat(64))));
    assert!(!valid(&format!("{}@b.c", "a".repeat(65))));
    let labels = "b".repeat(63);
    assert!(valid(&format!("a@{labels}.{labels}.{labels}.c")));
    assert!(!valid(&format!("a@{labels}.{labels}.{labels}.{labels}")));
}
