//! `cargo up` as its user meets it: the program in a process of its own, its lines pasted into a shell.
//!
//! Deliberately one long story, because each start takes seconds. Invariant: what is looked at is what stands
//! on the terminal, what a shell makes of it, and what is left on the disk.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![expect(clippy::panic, reason = "a test says why it fails")]

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// How long a line may be waited for; far longer than any takes.
const PATIENCE: Duration = Duration::from_secs(180);

/// A start of the program.
struct Up {
    child: Child,
    lines: Receiver<String>,
    said: Vec<String>,
}

impl Up {
    fn start(data: &Path, port: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_local"))
            .args(["--port", port, "--data"])
            .arg(data)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        let errors = sender.clone();
        let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        std::thread::spawn(move || {
            let mut lines = BufReader::new(out).lines().map_while(Result::ok);
            lines.all(|line| sender.send(line).is_ok())
        });
        std::thread::spawn(move || {
            let mut lines = BufReader::new(err).lines().map_while(Result::ok);
            lines.all(|line| errors.send(line).is_ok())
        });
        Self {
            child,
            lines,
            said: Vec::new(),
        }
    }

    /// Reads on until a line has these words.
    fn until(&mut self, words: &str) -> &mut Self {
        while !self.said.iter().any(|line| line.contains(words)) {
            let next = self.lines.recv_timeout(PATIENCE);
            let next = next.unwrap_or_else(|_| panic!("{words:?} is not in {:#?}", self.said));
            self.said.push(next);
        }
        self
    }

    /// What stands behind a name in what was announced.
    fn value(&self, name: &str) -> String {
        let line = self
            .said
            .iter()
            .find_map(|line| line.trim().strip_prefix(name));
        line.unwrap_or_else(|| panic!("{name} is not in {:#?}", self.said))
            .split_whitespace()
            .next()
            .unwrap()
            .to_owned()
    }

    /// The lines that are to be pasted.
    fn to_paste(&self) -> Vec<String> {
        let is_one = |line: &&String| line.starts_with("curl ") || line.starts_with("TOKEN=");
        self.said.iter().filter(is_one).cloned().collect()
    }

    fn signal(&self, signal: &str) {
        let process = self.child.id().to_string();
        let sent = Command::new("kill").args([signal, &process]).status();
        assert!(sent.unwrap().success());
    }

    fn over(&mut self) -> (ExitStatus, String) {
        let status = self.child.wait().unwrap();
        self.said.extend(self.lines.iter());
        (status, self.said.join("\n"))
    }
}

impl Drop for Up {
    /// Stops what a failed test leaves running, server and all.
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal("-INT");
            let _ = self.child.wait();
        }
    }
}

/// What a shell makes of a line.
fn pasted(line: &str) -> String {
    let ran = Command::new("sh").args(["-c", line]).output().unwrap();
    assert!(ran.status.success(), "{line}\n{ran:?}");
    String::from_utf8(ran.stdout).unwrap()
}

/// The process of the server, as its own file says.
fn server_process(data: &Path) -> String {
    let file = data.join("postgres/data/postmaster.pid");
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file:?}: {error}"));
    text.lines().next().unwrap().to_owned()
}

/// A new tenant; its slug is the second of the clock.
fn try_signing_up(up: &Up) {
    let signed_up = pasted(&up.to_paste()[0]);
    assert!(signed_up.contains(r#""id":"t_globex_"#), "{signed_up}");
}

fn try_reading(up: &Up) {
    let lines = up.to_paste();
    let listed = pasted(&lines[1]);
    assert_eq!(listed.matches(r#""title":"#).count(), 3, "{listed}");
    let refused = pasted(&lines[2]);
    assert!(refused.trim().ends_with("403"), "{refused}");
}

#[test]
fn a_start_is_found_again_adopted_and_stopped() {
    let data = tempfile::tempdir().unwrap();
    // A server does not run as root: its user must get here.
    std::fs::set_permissions(data.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let mut first = Up::start(data.path(), "0");
    first.until("Ctrl-C stops it");
    try_signing_up(&first);
    try_reading(&first);
    let (url, key) = (first.value("API"), first.value("Operator key"));
    let port = url.rsplit(':').next().unwrap().to_owned();
    let docs = pasted(&format!(
        "curl -sL -o /dev/null -w '%{{http_code}}' {url}/docs"
    ));
    assert_eq!(docs, "200");
    let secrets = std::fs::metadata(data.path().join("local/credentials.json")).unwrap();
    assert_eq!(secrets.permissions().mode() & 0o777, 0o600);

    // A second start breaks nothing and says the same.
    let (status, said) = Up::start(data.path(), "0").over();
    assert!(status.success(), "{said}");
    for known in ["It is running already", &url, &key] {
        assert!(said.contains(known), "{known} is not in {said}");
    }

    // A port that somebody has is named.
    let elsewhere = tempfile::tempdir().unwrap();
    let (status, said) = Up::start(elsewhere.path(), &port).over();
    assert!(!status.success());
    assert!(said.contains(&port), "{said}");

    // Killed: the next start adopts the server, with all that it holds.
    let server = server_process(data.path());
    first.signal("-KILL");
    first.over();
    let mut second = Up::start(data.path(), "0");
    second.until("Ctrl-C stops it");
    assert_eq!(server_process(data.path()), server);
    assert_eq!(second.value("Operator key"), key);
    try_reading(&second);

    second.signal("-INT");
    let (status, said) = second.over();
    assert!(status.success(), "{said}");
    assert!(!data.path().join("postgres/data/postmaster.pid").exists());
}

/// Runs it against a server that is not there.
fn without_a_server(stdout: Stdio) -> Output {
    let data = tempfile::tempdir().unwrap();
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
        .and_then(Child::wait_with_output)
        .unwrap()
}

#[test]
fn a_reader_that_has_gone_changes_nothing() {
    let heard = without_a_server(Stdio::piped());
    let words = String::from_utf8_lossy(&heard.stdout).into_owned();
    assert!(
        words.contains("PostgreSQL") && words.contains("failed"),
        "{words}"
    );

    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let unheard = without_a_server(writer.into());
    assert_eq!(unheard.status.code(), heard.status.code(), "{unheard:?}");
    assert_eq!(unheard.stderr, heard.stderr);
}
