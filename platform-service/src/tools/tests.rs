//! Which programs are chosen, and what their words are cut down to.

use super::*;

fn tools(majors: &[i32]) -> Vec<Tool> {
    majors
        .iter()
        .map(|&major| Tool {
            major,
            bin_dir: PathBuf::from(format!("/{major}")),
        })
        .collect()
}

#[test]
fn versions_are_read_as_the_programs_say_them() {
    for (answer, expected) in [
        ("pg_dump (PostgreSQL) 15.18 (Debian 15.18-1)", Some(15)),
        ("pg_dump (PostgreSQL) 18beta1", Some(18)),
        ("pg_dump (PostgreSQL) 9.6.24", Some(9)),
        ("pg_dump", None),
        ("pg_dump (PostgreSQL)", None),
    ] {
        assert_eq!(parse_major(answer), expected, "{answer}");
    }
}

#[test]
fn the_oldest_that_fits_both_servers_is_chosen() {
    let all = tools(&[15, 16, 17]);
    for (source, target, chosen) in [
        (150_018, 150_002, 15),
        (150_018, 170_001, 15),
        (160_000, 170_001, 16),
        (170_000, 170_001, 17),
    ] {
        assert_eq!(pick(&all, source, target).unwrap().major, chosen);
    }
    assert_eq!(pick(&tools(&[14, 17]), 150_000, 170_000).unwrap().major, 17);
}

#[test]
fn a_downgrade_is_refused_by_name_and_a_missing_program_says_which() {
    let refused = pick(&tools(&[15, 16]), 160_001, 150_002).unwrap_err();
    assert_eq!(refused.code(), Code::DowngradeRefused);
    let words = refused.document(None).detail.unwrap();
    assert!(
        words.contains("PostgreSQL 16") && words.contains("PostgreSQL 15"),
        "{words}"
    );

    for (found, source, target) in [
        (&[][..], 150_000, 150_000),
        (&[14], 150_000, 150_000),
        (&[16], 150_000, 150_000),
        (&[14, 18], 150_000, 170_000),
    ] {
        let refused = pick(&tools(found), source, target).unwrap_err();
        assert_eq!(refused.code(), Code::ToolsMissing);
        let words = refused.document(None).detail.unwrap();
        assert!(
            words.contains("version 15") || words.contains("from 15 to 17"),
            "{words}"
        );
    }
}

/// Makes a `pg_dump` that says it is of a version and counts how often it was asked.
fn install(folder: &Path, major: i32) {
    use std::os::unix::fs::PermissionsExt as _;
    let asked = folder.join("asked");
    let script = format!(
        "#!/bin/sh\necho once >> {}\necho 'pg_dump (PostgreSQL) {major}.1'\n",
        asked.display()
    );
    // Put in its place whole, as installers do.
    let made = folder.join("made");
    std::fs::write(&made, script).unwrap();
    std::fs::set_permissions(&made, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::rename(&made, folder.join("pg_dump")).unwrap();
}

#[tokio::test]
async fn a_program_is_asked_once_and_anew_when_it_was_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let asked = || {
        let lines = std::fs::read_to_string(folder.path().join("asked")).unwrap();
        lines.lines().count()
    };
    assert_eq!(major_of(folder.path()).await, None);
    install(folder.path(), 15);
    for _ in 0..3 {
        assert_eq!(major_of(folder.path()).await, Some(15));
    }
    assert_eq!(asked(), 1);
    install(folder.path(), 17);
    assert_eq!(major_of(folder.path()).await, Some(17));
    assert_eq!(asked(), 2);
    std::fs::remove_file(folder.path().join("pg_dump")).unwrap();
    assert_eq!(major_of(folder.path()).await, None);
}
