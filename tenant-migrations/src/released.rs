//! Whether the files that a lock lists are as they were when they were released.
//!
//! Deliberately shared with `platform-migrations` as a file: the crates of migrations depend on nothing
//! of ours. Invariant: a line that cannot be read is a complaint and no line that is skipped.

use refinery::Migration;

/// An owner's migrations.
pub(crate) type Owned = (&'static str, Vec<Migration>);

/// The name of a migration's file.
pub(crate) fn file_name(migration: &Migration) -> String {
    format!("V{}__{}.sql", migration.version(), migration.name())
}

/// How many files a lock lists.
pub(crate) fn listed(lock: &str) -> usize {
    lines(lock).count()
}

/// What is wrong with the lines of a lock, in words that say what to do.
pub(crate) fn complaints(lock: &str, embedded: &[Owned]) -> Vec<String> {
    lines(lock)
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let (Some(owner), Some(file), Some(checksum), None) =
                (words.next(), words.next(), words.next(), words.next())
            else {
                return Some(format!("`{line}` is not `<owner> <file> <checksum>`"));
            };
            let files = embedded.iter().find(|(name, _)| *name == owner);
            let found = files.and_then(|(_, files)| files.iter().find(|one| file_name(one) == file));
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

fn lines(lock: &str) -> impl Iterator<Item = &str> {
    lock.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
}
