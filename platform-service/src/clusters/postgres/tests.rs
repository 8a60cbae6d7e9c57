//! Quoting, and which texts are names of ours.

use std::collections::BTreeSet;

use contract::TenantId;
use rand::RngExt as _;
use uuid::Uuid;

use super::name::NotOurs;
use super::*;

#[test]
fn quotes_cannot_be_left() {
    assert_eq!(
        ident("t_a\"; drop role x; --"),
        "\"t_a\"\"; drop role x; --\""
    );
    assert_eq!(literal("it's \\'"), "E'it''s \\\\'''");
}

#[test]
fn names_are_read_as_they_are_written() {
    let longest = format!("t_{}", "a".repeat(40));
    for text in [
        "t_acme",
        "stock:7",
        "tpl:12",
        "side:t_acme:4",
        "old:t_acme:3",
        &format!("deleted:{longest}:4294967295"),
        "scratch:0192f0c1a2b37c4d8e9f0a1b2c3d4e5f",
        "psql:0192f0c1a2b37c4d8e9f0a1b2c3d4e5f",
    ] {
        assert_eq!(text.parse::<Name>().unwrap().to_string(), text);
        assert!(text.len() <= 63, "{text}");
    }
    for text in [
        "",
        "postgres",
        "stock:",
        "stock:07",
        "stock:+7",
        "tpl:x",
        "deleted:t_acme",
        "deleted:t_acme:03",
        "old:acme:3",
        "scratch:0192F0C1A2B37C4D8E9F0A1B2C3D4E5F",
        "t_",
    ] {
        assert_eq!(text.parse::<Name>(), Err(NotOurs), "{text}");
    }
}

/// So many texts of these letters, of at most so many.
fn texts(letters: &str, longest: usize) -> impl Iterator<Item = String> {
    let letters: Vec<char> = letters.chars().collect();
    let mut rng = rand::rng();
    (0..100_000).map(move |_| {
        let length = rng.random_range(0..=longest);
        (0..length)
            .map(|_| letters[rng.random_range(0..letters.len())])
            .collect()
    })
}

#[test]
fn whatever_is_a_name_of_ours_is_safe_and_of_one_kind() {
    let kinds = [
        "t_",
        "stock:",
        "tpl:",
        "deleted:t_",
        "side:t_",
        "old:t_",
        "scratch:",
        "psql:",
        "",
    ];
    let mut taken = 0;
    for (number, rest) in texts("abc019__:-+'\"; ", 44).enumerate() {
        let text = format!("{}{rest}", kinds[number % kinds.len()]);
        let Ok(name) = text.parse::<Name>() else {
            continue;
        };
        taken += 1;
        assert_eq!(name.to_string(), text);
        assert!(text.len() <= 63, "{text}");
        let safe = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_:-".contains(&b);
        assert!(text.bytes().all(safe), "{text}");
        assert_eq!(
            text.contains(':'),
            !matches!(name, Name::Tenant(_)),
            "{text}"
        );
    }
    assert!(taken > 50, "{taken}");
}

#[test]
fn two_names_of_ours_are_two_texts_that_postgresql_keeps_whole() {
    let mut rng = rand::rng();
    let mut names = BTreeSet::new();
    for rest in texts("ab0_", 39).take(15_000) {
        let tenant: TenantId = format!("t_a{rest}0")
            .parse()
            .unwrap_or_else(|_| "t_a0".parse().unwrap());
        let (copy, number) = (rng.random_range(0..12), rng.random_range(0..1_000_i64));
        let id = Uuid::from_u64_pair(number.unsigned_abs(), copy.into());
        names.extend([
            Name::Tenant(tenant.clone()),
            Name::Stock(number),
            Name::Template(number),
            Name::Deleted(tenant.clone(), copy),
            Name::Side(tenant.clone(), copy),
            Name::Old(tenant, copy),
            Name::Scratch(id),
            Name::Psql(id),
        ]);
    }
    let texts: BTreeSet<String> = names.iter().map(ToString::to_string).collect();
    assert_eq!(names.len(), texts.len());
    assert!(texts.iter().all(|text| text.len() <= 63));
}

#[test]
fn what_is_quoted_is_one_word_whatever_it_is() {
    for text in texts("a'\"\\$;-\n\0ü ", 24) {
        let quoted = ident(&text);
        let inner = quoted.strip_prefix('"').unwrap().strip_suffix('"').unwrap();
        assert_eq!(inner.replace("\"\"", "\0"), text.replace('"', "\0"));
        let quoted = literal(&text);
        let inner = quoted
            .strip_prefix("E'")
            .unwrap()
            .strip_suffix('\'')
            .unwrap();
        let plain = inner.replace("\\\\", "").replace("''", "");
        assert!(!plain.contains(['\'', '\\']), "{quoted}");
        assert_eq!(inner.matches('\'').count(), 2 * text.matches('\'').count());
        assert_eq!(inner.matches('\\').count(), 2 * text.matches('\\').count());
    }
}
