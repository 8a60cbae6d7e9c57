//! Version numbers, the choice between candidates, and the words for what will not do.

use super::{Binaries, FindError, Origin, Rejected, Version, newest};
use crate::data::Notice;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::pin::pin;

fn version(major: u16, minor: u16) -> Version {
    Version { major, minor }
}

#[test]
fn versions_are_read() {
    let read = |answer| Version::parse(answer).unwrap();
    assert_eq!(
        read("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"),
        version(15, 18)
    );
    assert_eq!(read("postgres (PostgreSQL) 9.6.24"), version(9, 6));
    assert_eq!(read("postgres (PostgreSQL) 18beta1"), version(18, 0));
    assert_eq!(
        read("postgres (PostgreSQL) 19devel (Debian 19.0~devel)"),
        version(19, 0)
    );
    assert_eq!(Version::parse("mysqld 8.0"), None);
}

#[test]
fn the_newest_wins_and_an_older_one_is_named() {
    let found = |major, minor| {
        Ok(Binaries {
            origin: Origin::Usual,
            bin_dir: PathBuf::from(format!("/v{major}")),
            version: version(major, minor),
        })
    };
    let old = || Rejected {
        bin_dir: "/v13".into(),
        why: "is PostgreSQL 13.4, which is older than 15".to_owned(),
    };
    let (best, rejected) = newest(
        vec![found(9, 9), found(17, 2), Err(old()), found(16, 11)],
        Vec::new(),
    )
    .unwrap();
    assert_eq!(best.version, version(17, 2));
    assert_eq!(rejected, [old()]);
    let none = newest(vec![Err(old())], Vec::new())
        .unwrap_err()
        .to_string();
    assert!(
        none.contains("/v13 is PostgreSQL 13.4, which is older than 15"),
        "{none}"
    );
    assert!(
        none.contains("apt install postgresql") && !none.contains('\n'),
        "{none}"
    );
}

#[test]
fn an_old_setting_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    program(&folder.path().join("initdb"), "");
    let set = Binaries::find(Some(folder.path())).unwrap_err();
    assert!(set.to_string().contains("has no `postgres`"), "{set}");
    program(
        &folder.path().join("postgres"),
        "echo 'postgres (PostgreSQL) 14.9'",
    );
    let set = Binaries::find(Some(folder.path())).unwrap_err();
    assert!(matches!(set, FindError::Setting(_)));
    assert!(
        set.to_string()
            .contains("is PostgreSQL 14.9, which is older than 15"),
        "{set}"
    );
}

#[tokio::test]
async fn what_a_download_stands_in_for_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let bin_dir = earlier_download(folder.path());
    let old = Rejected {
        bin_dir: "/usr/lib/postgresql/13/bin".into(),
        why: "is PostgreSQL 13.4, which is older than 15".to_owned(),
    };
    let fetched = Binaries::fetch_instead(vec![old.clone()], folder.path()).await;
    let (found, notices) = fetched.unwrap();
    assert_eq!(found.bin_dir, bin_dir);
    assert_eq!(found.unusual(), Some(bin_dir.as_path()), "nobody finds it");
    let notice = Notice::PassedOver(old);
    assert!(notices.contains(&notice), "{notices:?}");
    assert_eq!(
        notice.to_string(),
        "not used: /usr/lib/postgresql/13/bin is PostgreSQL 13.4, which is older than 15"
    );
}

#[tokio::test]
async fn two_processes_download_once() {
    let folder = tempfile::tempdir().unwrap();
    let downloading = std::fs::File::create(folder.path().join("lock")).unwrap();
    downloading.lock().unwrap();
    let mut second = pin!(Binaries::fetch_instead(Vec::new(), folder.path()));
    tokio::select! {
        biased;
        early = &mut second => panic!("it has its turn: {early:?}"),
        () = tokio::task::yield_now() => {}
    }
    let bin_dir = earlier_download(folder.path());
    drop(downloading);
    let (found, _) = second.await.unwrap();
    assert_eq!(found.bin_dir, bin_dir, "what the first one downloaded");
}

/// A release as a download leaves it in this folder; answers where its programs are.
fn earlier_download(folder: &Path) -> PathBuf {
    let bin_dir = folder.join("17.9.0").join("bin");
    std::fs::create_dir_all(&bin_dir).unwrap();
    for open in [folder, &folder.join("17.9.0"), &bin_dir] {
        std::fs::set_permissions(open, PermissionsExt::from_mode(0o755)).unwrap();
    }
    program(&bin_dir.join("initdb"), "");
    let version = "echo 'postgres (PostgreSQL) 17.9'";
    program(&bin_dir.join("postgres"), version);
    bin_dir
}

fn program(path: &Path, body: &str) {
    std::fs::write(path, format!("#!/bin/sh\n{body}\n")).unwrap();
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
}
