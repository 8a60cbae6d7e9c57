//! The program as it is started, without a server: what it says, and who may not be listening.
//!
//! Deliberately no PostgreSQL: the guides' own commands show the rest.

use std::process::{Command, Output, Stdio};

/// Runs it against a server that is not there.
fn without_a_server(stdout: Stdio) -> std::io::Result<Output> {
    let data = tempfile::tempdir()?;
    Command::new(env!("CARGO_BIN_EXE_local"))
        .args([
            "--port",
            "0",
            "--database-url",
            "postgres://ada:x@127.0.0.1:1",
        ])
        .arg("--data")
        .arg(data.path())
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(Stdio::piped())
        .spawn()
        .and_then(std::process::Child::wait_with_output)
}

#[test]
fn a_reader_that_has_gone_changes_nothing() {
    let heard = without_a_server(Stdio::piped()).unwrap();
    let words = String::from_utf8_lossy(&heard.stdout).into_owned();
    assert!(
        words.contains("PostgreSQL") && words.contains("failed"),
        "{words}"
    );

    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let unheard = without_a_server(writer.into()).unwrap();
    assert_eq!(unheard.status.code(), heard.status.code(), "{unheard:?}");
    assert_eq!(unheard.stderr, heard.stderr);
}
