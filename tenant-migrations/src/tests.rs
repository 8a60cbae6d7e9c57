//! Released migrations stay as they are.

use std::collections::BTreeMap;

use refinery::Migration;

const LOCK: &str = include_str!("../released.lock");

fn file_name(migration: &Migration) -> String {
    format!("V{}__{}.sql", migration.version(), migration.name())
}

/// What is wrong with the lines of a lock file, in words that say what to do.
fn complaints(lock: &str) -> Vec<String> {
    let embedded: BTreeMap<_, _> = crate::all().into_iter().collect();
    lock.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let (Some(owner), Some(file), Some(checksum), None) =
                (words.next(), words.next(), words.next(), words.next())
            else {
                return Some(format!("`{line}` is not `<owner> <file> <checksum>`"));
            };
            let found = embedded
                .get(owner)
                .and_then(|files| files.iter().find(|migration| file_name(migration) == file));
            match found {
                None => Some(format!("{owner}/{file} is released and was removed or renamed")),
                Some(migration) if migration.checksum().to_string() != checksum => Some(format!(
                    "{owner}/{file} is released and was edited: its checksum is {} and not {checksum}",
                    migration.checksum()
                )),
                Some(_) => None,
            }
        })
        .collect()
}

#[test]
fn released_files_are_unchanged() {
    assert_eq!(complaints(LOCK), Vec::<String>::new());
}

#[test]
fn an_edit_and_a_removal_are_noticed() {
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
