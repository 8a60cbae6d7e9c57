//! Released migrations stay as they are.

use crate::released::{Owned, complaints, file_name, listed};

const LOCK: &str = include_str!("../released.lock");

fn embedded() -> [Owned; 1] {
    [(crate::SCHEMA, crate::migrations())]
}

#[test]
fn released_files_are_unchanged() {
    assert_eq!(complaints(LOCK, &embedded()), Vec::<String>::new());
    assert!(listed(LOCK) >= 8, "what was released is listed");
}

#[test]
fn an_edit_and_a_removal_are_noticed() {
    let complaints = |lock: &str| complaints(lock, &embedded());
    let migrations = crate::migrations();
    let first = migrations.first().expect("the registry has migrations");
    let file = file_name(first);
    assert!(complaints(&format!("registry {file} {}", first.checksum())).is_empty());
    assert_eq!(complaints(&format!("registry {file} 1")).len(), 1);
    assert_eq!(complaints("registry V1__gone.sql 1").len(), 1);
}
