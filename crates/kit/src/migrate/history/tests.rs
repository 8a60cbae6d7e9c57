//! Which histories are the usual case.

use refinery_core::Migration;
use time::OffsetDateTime;

use super::missing;

fn file(version: i32) -> Migration {
    let sql = format!("create table t{version} (id int)");
    Migration::unapplied(&format!("V{version}__t{version}"), &sql).unwrap()
}

fn files(versions: impl IntoIterator<Item = i32>) -> Vec<Migration> {
    versions.into_iter().map(file).collect()
}

fn applied(versions: impl IntoIterator<Item = i32>) -> Vec<Migration> {
    files(versions)
        .into_iter()
        .map(|file| {
            let now = OffsetDateTime::UNIX_EPOCH;
            Migration::applied(file.version(), file.name().to_owned(), now, file.checksum())
        })
        .collect()
}

fn versions(applied: &[Migration], files: &[Migration]) -> Option<Vec<i32>> {
    let missing = missing(applied, files)?;
    Some(missing.into_iter().map(Migration::version).collect())
}

#[test]
fn what_follows_the_history_is_missing_in_order() {
    let shuffled = files([3, 1, 2]);
    assert_eq!(versions(&[], &shuffled), Some(vec![1, 2, 3]));
    assert_eq!(versions(&applied([1]), &shuffled), Some(vec![2, 3]));
    assert_eq!(versions(&applied([1, 2, 3]), &shuffled), Some(vec![]));
}

#[test]
fn a_database_ahead_misses_nothing() {
    assert_eq!(versions(&applied([1, 2, 3]), &files([1, 2])), Some(vec![]));
}

#[test]
fn a_history_that_contradicts_the_files_is_refinerys() {
    // A file that was left out, and one that came in later below the newest.
    assert_eq!(versions(&applied([1, 3]), &files([1, 2, 3])), None);
    // Other content under the same version.
    let changed = Migration::unapplied("V2__t2", "create table other (id int)").unwrap();
    assert_eq!(versions(&applied([1, 2]), &[file(1), changed]), None);
    // Two files of one version.
    assert_eq!(versions(&applied([1]), &files([1, 2, 2])), None);
    // A kind of file whose place no version says.
    let unversioned = Migration::unapplied("U2__t2", "create table t2 (id int)").unwrap();
    assert_eq!(versions(&applied([1]), &[file(1), unversioned]), None);
}
