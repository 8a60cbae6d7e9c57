//! What counts as words in which script, and what shows nothing.

use super::{check, check_optional};

#[test]
fn words_are_seen_and_stay_in_their_line() {
    for words in [
        "a",
        " a ",
        "Acme & Söhne",
        "日本",
        "שלום\u{200f}!",
        // Persian needs a non-joiner, Sinhala a joiner, and so do families and flags.
        "می\u{200c}خواهم",
        "ශ්\u{200d}රී",
        "👩\u{200d}👩\u{200d}👧",
        "❤\u{fe0f}",
        "🏴\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}",
        "soft\u{ad}hyphen",
        "zero\u{200b}width",
    ] {
        assert_eq!(check(words, 200), Ok(()), "{words:?}");
    }
    for nothing in [
        "",
        " \u{a0}\u{3000}",
        "\u{200b}",
        "\u{200d}\u{200c}\u{2060}\u{feff}",
        "\u{200e}\u{200f}\u{61c}",
        "\u{ad}",
        "\u{3164}\u{ffa0}\u{115f}",
        "\u{2800}",
        "\u{fe0f}",
        "\u{e0067}\u{e007f}",
        " \u{180e} ",
    ] {
        assert!(check(nothing, 200).is_err(), "{nothing:?}");
    }
    for breaks in [
        "a\0b",
        "a\nb",
        "a\u{1b}[2J",
        "a\u{7f}",
        "a\u{85}",
        "a\u{2028}b",
        "a\u{2029}b",
        "a\u{202a}b",
        "a\u{202e}b",
        "a\u{2066}b",
        "a\u{2069}",
    ] {
        assert!(check(breaks, 200).is_err(), "{breaks:?}");
        assert!(check_optional(breaks, 200).is_err(), "{breaks:?}");
    }
}

#[test]
fn words_are_counted_in_characters() {
    assert!(check(&"é".repeat(200), 200).is_ok());
    assert!(check(&"é".repeat(201), 200).is_err());
}

#[test]
fn words_that_may_be_left_out_are_seen_where_they_are_not() {
    for left_out in ["", "  "] {
        assert_eq!(check_optional(left_out, 3), Ok(()));
    }
    assert_eq!(check_optional("abc", 3), Ok(()));
    for odd in ["\u{200b}", "abcd", "\n"] {
        assert!(check_optional(odd, 3).is_err(), "{odd:?}");
    }
}
