//! Patterns against permissions.

use std::collections::BTreeSet;

use super::granted;

fn of(patterns: &[&str]) -> Vec<String> {
    let declared: BTreeSet<String> = [
        "entries:read",
        "entries:write",
        "users:read",
        "users:manage",
    ]
    .map(str::to_owned)
    .into();
    let patterns: Vec<String> = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
    granted(&declared, &patterns).into_iter().collect()
}

#[test]
fn the_seeded_roles() {
    assert_eq!(of(&["*"]).len(), 4);
    assert_eq!(
        of(&["*:read", "*:write"]),
        ["entries:read", "entries:write", "users:read"]
    );
    assert_eq!(of(&["*:read"]), ["entries:read", "users:read"]);
}

#[test]
fn names_stand_for_themselves() {
    assert_eq!(of(&["users:manage"]), ["users:manage"]);
    assert_eq!(
        of(&["users:*", "users", "*:", ":read", "entries:readx", "**"]),
        Vec::<String>::new()
    );
    assert_eq!(of(&["billing:read"]), Vec::<String>::new());
    assert_eq!(of(&[]), Vec::<String>::new());
}
