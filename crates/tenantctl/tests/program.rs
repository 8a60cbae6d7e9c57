//! The program without a server: wrong use, keys, profiles, help.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const KEY: &str = "opk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
/// Nobody listens there.
const NOWHERE: &str = "http://127.0.0.1:1";

fn program(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tenantctl"));
    command
        .env_clear()
        .env("HOME", home)
        .env("PATH", "/nowhere")
        .stdin(Stdio::null());
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn help_is_an_answer_and_a_wrong_word_is_wrong_use() {
    let home = tempfile::tempdir().unwrap();
    let help = program(home.path())
        .args(["tenants", "--help"])
        .output()
        .unwrap();
    assert_eq!(help.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&help.stdout).contains("suspend"));
    let wrong = program(home.path())
        .args(["tenants", "lsit"])
        .output()
        .unwrap();
    assert_eq!(wrong.status.code(), Some(2));
    assert!(said(&wrong).contains("list"), "{}", said(&wrong));
}

#[test]
fn a_key_on_the_command_line_is_refused_and_not_repeated() {
    let home = tempfile::tempdir().unwrap();
    for arguments in [
        vec!["login", "--url", NOWHERE, KEY],
        vec!["tenants", "list", "--profile", KEY],
        vec!["--key=opk_x", "tenants", "list"],
    ] {
        let output = program(home.path()).args(&arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let words = said(&output);
        assert!(words.contains("TENANTCTL_KEY"), "{words}");
        assert!(!words.contains("AAAA"), "{words}");
    }
}

#[test]
fn without_a_server_or_a_key_it_says_how_to_name_one() {
    let home = tempfile::tempdir().unwrap();
    let list = ["tenants", "list"];
    let output = program(home.path()).args(list).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        said(&output).contains("tenantctl login --url"),
        "{}",
        said(&output)
    );
    let keyless = program(home.path())
        .args(list)
        .env("TENANTCTL_URL", NOWHERE)
        .output()
        .unwrap();
    assert_eq!(keyless.status.code(), Some(4));
    assert!(said(&keyless).contains("--key-stdin"), "{}", said(&keyless));
    let nobody = program(home.path())
        .args(list)
        .env("TENANTCTL_URL", NOWHERE)
        .env("TENANTCTL_KEY", KEY)
        .output()
        .unwrap();
    assert_eq!(nobody.status.code(), Some(6));
    assert!(said(&nobody).contains(NOWHERE), "{}", said(&nobody));
    assert!(!said(&nobody).contains("AAAA"), "{}", said(&nobody));
}

#[test]
fn failures_are_documents_where_documents_are_asked_for() {
    let home = tempfile::tempdir().unwrap();
    let output = program(home.path())
        .args(["tenants", "list", "-o", "json"])
        .output()
        .unwrap();
    assert!(output.stdout.is_empty());
    let error: serde_json::Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(error["error"]["code"], "usage");
    assert_eq!(error["error"]["exit"], 2);
}

#[test]
fn a_profile_is_read_from_a_file_of_its_owner_alone() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("config.toml");
    let text =
        format!("current = \"here\"\n[profiles.here]\nurl = \"{NOWHERE}\"\nkey = \"{KEY}\"\n");
    std::fs::write(&file, text).unwrap();
    let run = |arguments: &[&str]| {
        program(home.path())
            .args(arguments)
            .env("TENANTCTL_CONFIG", &file)
            .output()
            .unwrap()
    };
    std::fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    let open = run(&["tenants", "list"]);
    assert_eq!(open.status.code(), Some(4));
    assert!(said(&open).contains("chmod 600"), "{}", said(&open));
    std::fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    assert_eq!(run(&["tenants", "list"]).status.code(), Some(6));
    let profiles = run(&["profiles", "-o", "ndjson"]);
    let profile: serde_json::Value = serde_json::from_slice(&profiles.stdout).unwrap();
    assert_eq!(profile["key"], "kept");
    assert_eq!(profile["current"], true);
    // The profile's key is for the profile's server.
    let elsewhere = run(&["tenants", "list", "--url", "http://127.0.0.1:2"]);
    assert_eq!(elsewhere.status.code(), Some(4));
    assert!(said(&elsewhere).contains("is for"), "{}", said(&elsewhere));
    let unknown = run(&["tenants", "list", "--profile", "hre"]);
    assert!(
        said(&unknown).contains("did you mean here?"),
        "{}",
        said(&unknown)
    );
}

#[test]
fn every_shell_gets_a_completion_script() {
    let home = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let output = program(home.path())
            .args(["completion", shell])
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0));
        let script = String::from_utf8_lossy(&output.stdout);
        assert!(script.contains("rollouts"), "{shell}");
        assert!(script.contains("tenantctl complete-tenants"), "{shell}");
        assert!(!script.contains(":_default"), "{shell}");
    }
}

#[test]
fn the_completion_of_ids_is_silent_and_quick_where_there_is_nothing_to_ask() {
    let home = tempfile::tempdir().unwrap();
    // It takes connections and says nothing.
    let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mute = format!("http://{}", mute.local_addr().unwrap());
    for server in [None, Some(NOWHERE), Some(mute.as_str())] {
        let mut command = program(home.path());
        if let Some(server) = server {
            command
                .env("TENANTCTL_URL", server)
                .env("TENANTCTL_KEY", KEY);
        }
        let began = std::time::Instant::now();
        let output = command.args(["complete-tenants", "t_"]).output().unwrap();
        // Much less than the longest wait of any other command.
        assert!(began.elapsed() < std::time::Duration::from_secs(10));
        assert_eq!(output.status.code(), Some(0), "{server:?}");
        assert!(output.stdout.is_empty(), "{server:?}");
        assert_eq!(said(&output), "", "{server:?}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let home = tempfile::tempdir().unwrap();
    let mut child = program(home.path())
        .args(["completion", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(said(&output), "");
}
