//! Reading `postmaster.pid`, and not mistaking another process for a postmaster.

use super::{PidFile, clear_reused, live};

#[test]
fn the_file_is_read() {
    let text = "4242\n/data\n1700000000\n5433\n\n127.0.0.1\n  1234 5\nready   \n";
    assert_eq!(
        PidFile::parse(text),
        Some(PidFile {
            pid: 4242,
            port: 5433
        })
    );
    assert_eq!(
        PidFile::parse("-4242\n/data\n1700000000\n5433\n"),
        None,
        "single-user mode"
    );
    assert_eq!(PidFile::parse("4242\n/data\n"), None, "half written");
    assert_eq!(PidFile::parse(""), None);
}

#[test]
fn a_number_given_to_another_process_is_no_postmaster() {
    let data = tempfile::tempdir().unwrap();
    let path = data.path().join("postmaster.pid");
    std::fs::write(
        &path,
        format!("{}\n/data\n1700000000\n5433\n", std::process::id()),
    )
    .unwrap();
    assert_eq!(live(data.path()), None);
    clear_reused(data.path());
    assert!(!path.exists());
}
