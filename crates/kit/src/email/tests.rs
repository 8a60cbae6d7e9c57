//! The edges of an e-mail address.

use rand::RngExt as _;

use super::{Email, EmailKey};

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

#[test]
fn an_account_has_one_key_however_its_address_is_typed() {
    let key = EmailKey::of("admin@acme.example");
    for typed in [
        "ADMIN@Acme.Example",
        "  admin@acme.example\t",
        "adm\u{130}n@acme.example",
    ] {
        assert_eq!(EmailKey::of(typed), key, "{typed:?}");
    }
    // A letter is a letter, wherever it stands.
    assert_eq!(EmailKey::of("ΟΔΟΣ@x.gr").as_str(), "οδοσ@x.gr");
    assert_eq!(
        EmailKey::of("Ü@bücher.example"),
        EmailKey::of("ü@BÜCHER.example")
    );
    for other in [
        "admin@acme.exampl",
        "admın@acme.example",
        "adm i n@acme.example",
    ] {
        assert_ne!(EmailKey::of(other), key, "{other:?}");
    }
}

#[test]
fn whatever_is_an_address_can_stand_in_a_header_and_in_a_log() {
    let letters: Vec<char> = "abcz.ü+-019@ \t\r\n\0<>;:,\"\\\u{a0}\u{2028}"
        .chars()
        .collect();
    let mut rng = rand::rng();
    let mut taken = 0;
    for _ in 0..100_000 {
        let mut part = |longest: usize| -> String {
            let length = rng.random_range(0..longest);
            // Mostly what an address may hold.
            let most = [letters.len(), 11][usize::from(rng.random_range(0..4) > 0)];
            (0..length)
                .map(|_| letters[rng.random_range(0..most)])
                .collect()
        };
        let text = format!("{}@{}.{}", part(70), part(70), part(10));
        let Ok(email) = text.parse::<Email>() else {
            continue;
        };
        taken += 1;
        let email = email.as_str();
        assert!(email.len() <= Email::MAX_BYTES, "{text:?}");
        assert_eq!(email, text.trim());
        assert_eq!(email.matches('@').count(), 1, "{text:?}");
        let unfit = |c: char| c.is_whitespace() || c.is_control() || r#"()<>[]:;\,""#.contains(c);
        assert!(!email.contains(unfit), "{text:?}");
        assert_eq!(EmailKey::of(email), EmailKey::of(&text));
    }
    assert!(taken > 100, "{taken}");
}
