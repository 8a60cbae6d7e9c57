//! The folder: the suite, and what only files can have.
//!
//! Deliberately on the machine's own file system. Invariant: nobody but the user can read an object.

use std::time::Duration;

use adapters::object_store::{FolderStore, ObjectError, ObjectStore};

use crate::suite::{self, path};

fn store(folder: &tempfile::TempDir) -> ObjectStore {
    ObjectStore::Folder(FolderStore::new(folder.path().join("objects")))
}

#[tokio::test]
async fn it_does_what_every_store_does() {
    let folder = tempfile::tempdir().unwrap();
    suite::run(&store(&folder)).await;
}

#[tokio::test]
async fn a_store_that_fails_says_so_and_works_when_it_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    // What stands where the folder should be cannot be written to, even by root.
    std::fs::write(folder.path().join("objects"), "in the way").unwrap();
    let failed = store.put(&path("a/b"), &b"x"[..]).await.unwrap_err();
    assert!(failed.is_retryable(), "{failed}");
    assert!(matches!(failed, ObjectError::Unavailable(_)), "{failed}");
    std::fs::remove_file(folder.path().join("objects")).unwrap();
    store.put(&path("a/b"), &b"x"[..]).await.unwrap();
}

#[tokio::test]
async fn parts_of_killed_writers_are_tidied_up_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    store.put(&path("a/b"), &b"x"[..]).await.unwrap();
    let part = folder.path().join("objects/a/.b.0123456789abcdef.part");
    std::fs::write(&part, "half").unwrap();
    assert_eq!(store.tidy(Duration::from_secs(60)).await.unwrap(), 0);
    assert!(part.exists());
    assert_eq!(store.tidy(Duration::ZERO).await.unwrap(), 1);
    assert!(!part.exists());
    assert_eq!(store.list(&path("a")).await.unwrap().len(), 1);
}

#[cfg(unix)]
#[tokio::test]
async fn files_and_folders_are_for_their_user_alone() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder);
    store.put(&path("a/b"), &b"x"[..]).await.unwrap();
    for (file, mode) in [
        ("objects", 0o700),
        ("objects/a", 0o700),
        ("objects/a/b", 0o600),
    ] {
        let about = std::fs::metadata(folder.path().join(file)).unwrap();
        assert_eq!(about.permissions().mode() & 0o777, mode, "{file}");
    }
}
