//! Released migrations stay as they are.

use refinery::Migration;

use crate::released::{complaints, file_name, listed};

const LOCK: &str = include_str!("../released.lock");

#[test]
fn released_files_are_unchanged() {
    assert_eq!(complaints(LOCK, &crate::all()), Vec::<String>::new());
    assert!(listed(LOCK) >= 4, "what was released is listed");
}

#[test]
fn an_edit_and_a_removal_are_noticed() {
    let complaints = |lock: &str| complaints(lock, &crate::all());
    let auth = crate::auth();
    let first = auth.first().expect("auth has migrations");
    let file = file_name(first);
    assert!(complaints(&format!("auth {file} {}", first.checksum())).is_empty());
    assert_eq!(complaints(&format!("auth {file} 1")).len(), 1);
    assert_eq!(complaints("auth V1__gone.sql 1").len(), 1);
    assert_eq!(complaints("auth V1__auth.sql").len(), 1);
}

#[test]
fn versions_of_an_owner_have_no_gaps() {
    for (owner, migrations) in crate::all() {
        let versions: Vec<i32> = migrations.iter().map(Migration::version).collect();
        let expected: Vec<i32> = (1..).take(migrations.len()).collect();
        assert_eq!(versions, expected, "{owner}");
    }
}
