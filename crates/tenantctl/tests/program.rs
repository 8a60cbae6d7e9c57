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

#[test]
fn a_secret_is_read_from_a_file_of_its_owner_alone() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("operator_key");
    std::fs::write(&file, KEY).unwrap();
    let login = |mode| {
        std::fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
        program(home.path())
            .args(["login", "--url", NOWHERE, "--key-file"])
            .arg(&file)
            .output()
            .unwrap()
    };
    for mode in [0o644, 0o640, 0o602] {
        let open = login(mode);
        assert_eq!(open.status.code(), Some(4), "{mode:o} {}", said(&open));
        assert!(said(&open).contains("chmod 600"), "{}", said(&open));
        assert!(said(&open).contains("--key-stdin <"), "{}", said(&open));
        assert!(!said(&open).contains("AAAA"), "{}", said(&open));
    }
    let own = login(0o400);
    assert_eq!(own.status.code(), Some(6), "{}", said(&own));
}

/// The Idempotency-Key of a request that was read to its end.
fn key_of(stream: &mut std::net::TcpStream) -> std::io::Result<String> {
    use std::io::{BufRead as _, Read as _};
    let mut reader = std::io::BufReader::new(stream);
    let (mut key, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim().split_once(": ") else {
            if line.trim().is_empty() {
                break;
            }
            continue;
        };
        match name.to_ascii_lowercase().as_str() {
            "idempotency-key" => key = value.to_owned(),
            "content-length" => length = value.parse().map_err(std::io::Error::other)?,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(key)
}

#[test]
fn a_file_of_tenants_whose_answer_is_lost_is_sent_again_under_the_same_key() {
    const ID: &str = "op_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f";
    let home = tempfile::tempdir().unwrap();
    let rows = home.path().join("tenants.csv");
    std::fs::write(&rows, "company,slug,email\nAcme,acme,ada@acme.example\n").unwrap();
    // So many answers are lost before one is given.
    let bulk = |lost: usize| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let server = format!("http://{}", listener.local_addr().unwrap());
        let platform = std::thread::spawn(move || {
            let mut keys = Vec::new();
            for mut stream in listener
                .incoming()
                .map(Result::unwrap)
                .take(lost.min(3) + 1)
            {
                keys.push(key_of(&mut stream).unwrap());
                if keys.len() > lost {
                    let view = format!(r#"{{"id":"{ID}","kind":"bulk_create","state":"running"}}"#);
                    let answer = format!(
                        "HTTP/1.1 202 Accepted\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{view}",
                        view.len()
                    );
                    std::io::Write::write_all(&mut stream, answer.as_bytes()).unwrap();
                }
            }
            keys
        });
        let output = program(home.path())
            .args(["tenants", "bulk", "--no-wait"])
            .arg(&rows)
            .env("TENANTCTL_URL", &server)
            .env("TENANTCTL_KEY", KEY)
            .output()
            .unwrap();
        // Whoever was not asked so often is asked no more.
        for _ in 0..4 {
            let _ = std::net::TcpStream::connect(server.trim_start_matches("http://"));
        }
        (output, platform.join())
    };
    let (output, keys) = bulk(1);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(String::from_utf8_lossy(&output.stdout).contains(ID));
    let keys = keys.unwrap();
    assert!(
        keys.len() == 2 && keys[0] == keys[1] && !keys[0].is_empty(),
        "{keys:?}"
    );

    let (output, _) = bulk(4);
    assert_eq!(output.status.code(), Some(6), "{}", said(&output));
    let look = "tenantctl operations list --kind bulk_create";
    assert!(said(&output).contains(look), "{}", said(&output));
}

#[test]
fn a_version_that_nobody_told_is_not_made_up() {
    let home = tempfile::tempdir().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let server = format!("http://{}", listener.local_addr().unwrap());
    let platform = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        key_of(&mut stream).unwrap();
        let answer = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}";
        std::io::Write::write_all(&mut stream, answer.as_bytes()).unwrap();
    });
    let output = program(home.path())
        .args(["tenants", "update", "t_acme", "--tier", "premium"])
        .env("TENANTCTL_URL", &server)
        .env("TENANTCTL_KEY", KEY)
        .output()
        .unwrap();
    platform.join().unwrap();
    let words = said(&output);
    assert!(words.contains("not like a platform-service"), "{words}");
}
