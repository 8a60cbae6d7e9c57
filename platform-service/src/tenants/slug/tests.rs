//! Slugs from names, and proposals.

use proptest::prelude::*;

use super::*;

fn derived(text: &str) -> Option<String> {
    derive(text).map(|slug| slug.to_string())
}

#[test]
fn names_become_slugs() {
    for (name, slug) in [
        ("Acme", Some("acme")),
        ("Acme, Inc.", Some("acme-inc")),
        ("  Müller & Söhne GmbH ", Some("mueller-soehne-gmbh")),
        ("O'Reilly Media", Some("oreilly-media")),
        ("3M", Some("3m")),
        ("日本", None),
        ("x", None),
        ("", None),
    ] {
        assert_eq!(derived(name).as_deref(), slug, "{name}");
    }
}

#[test]
fn the_reserved_words_are_sorted_slugs() {
    assert!(RESERVED.is_sorted());
    for word in RESERVED {
        let slug: Slug = word.parse().unwrap();
        assert!(is_reserved(&slug));
    }
}

#[test]
fn the_first_proposal_counts_on() {
    let slug: Slug = "acme".parse().unwrap();
    assert_eq!(candidates(&slug)[0].as_str(), "acme-2");
}

#[test]
fn a_slug_is_not_proposed_instead_of_itself() {
    let slug: Slug = format!("{}-2", "a".repeat(MAX_BYTES - 2)).parse().unwrap();
    assert!(!candidates(&slug).contains(&slug));
}

proptest! {
    #[test]
    fn every_derived_slug_gives_proposals_that_are_slugs(text in "\\PC{0,80}") {
        if let Some(slug) = derive(&text) {
            let proposals = candidates(&slug);
            prop_assert!(proposals.len() >= 8);
            prop_assert!(proposals.iter().all(|p| p.as_str().len() <= MAX_BYTES && *p != slug));
        }
    }
}
