//! `cargo up` as its user meets it: the program in a process of its own, its lines pasted into a shell.
//!
//! Deliberately few long stories, because each start takes seconds. Invariant: what is looked at is what stands
//! on the terminal, what a shell makes of it, and what is left on the disk.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![expect(clippy::panic, reason = "a test says why it fails")]
#![expect(
    clippy::disallowed_methods,
    reason = "the server is looked at as its superuser"
)]

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use postgres_server::{Binaries, DataFolder, Port, Profile, Server, ServerConfig};
use secrecy::ExposeSecret as _;
use serde_json::Value;
use sqlx::ConnectOptions as _;

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
        Self::run(data, &["--port", port])
    }

    fn run(data: &Path, arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_local"))
            .arg("--data")
            .arg(data)
            .args(arguments)
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

    /// Of every demo user.
    fn password(&self) -> &str {
        let (_, rest) = self
            .said
            .iter()
            .find_map(|line| line.split_once("password of everybody: "))
            .unwrap_or_else(|| panic!("no password in {:#?}", self.said));
        rest.trim_end_matches(')')
    }

    /// The lines that are to be pasted.
    fn to_paste(&self) -> Vec<String> {
        let is_one = |line: &&String| {
            let mut starts = ["curl ", "TOKEN=", "for T in "].into_iter();
            starts.any(|start| line.starts_with(start))
        };
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

    /// Asks it to stop, and waits for a good end.
    fn stop(mut self) -> String {
        self.signal("-INT");
        let (status, said) = self.over();
        assert!(status.success(), "{said}");
        said
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

/// The tenants that are held back or gone, as their people meet them.
fn try_the_closed(up: &Up) {
    let lines = up.to_paste();
    let refused = pasted(&lines[3]);
    assert!(
        refused.contains(r#""code":"tenant-read-only""#),
        "{refused}"
    );
    assert!(refused.trim().ends_with("403"), "{refused}");
    let refused = pasted(&lines[4]);
    let suspended = refused.find(r#""code":"tenant-suspended""#);
    let deleted = refused.find(r#""code":"tenant-deleted""#);
    assert!(suspended.is_some() && suspended < deleted, "{refused}");
    assert!(refused.contains("\n403\n"), "{refused}");
    assert!(refused.trim().ends_with("410"), "{refused}");
}

/// What the lines about the closed tenants show is private, and good for hours.
fn try_their_tokens(data: &Path) {
    for tenant in ["t_blocked", "t_gone"] {
        let file = data.join("local/gates").join(tenant);
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let shown = std::fs::read_to_string(&file).unwrap();
        let claims = URL_SAFE_NO_PAD.decode(shown.split('.').nth(1).unwrap());
        let claims: Value = serde_json::from_slice(&claims.unwrap()).unwrap();
        let later = SystemTime::now() + Duration::from_secs(3 * 60 * 60);
        let later = later.duration_since(UNIX_EPOCH).unwrap().as_secs();
        assert!(claims["exp"].as_u64().unwrap() > later, "{claims}");
        assert_eq!(claims["permissions"], serde_json::json!([]));
    }
}

/// The tenant that is a schema version behind until somebody comes.
fn try_the_one_behind(up: &Up) {
    let versions = || pasted(&up.to_paste()[5]).trim().to_owned();
    let newest = tenant_migrations::entries().len();
    let (old, new) = (newest - 1, newest);
    let before = versions();
    let behind = format!(r#""entries":{old}"#);
    assert!(before.contains(&behind), "{before}");
    let (url, password) = (up.value("API"), up.password());
    let came = pasted(&format!(
        "curl -s -o /dev/null -w '%{{http_code}}' {url}/v1/auth/login -H 'x-tenant-id: t_behind' \
         -H 'content-type: application/json' \
         -d '{{\"email\":\"owner@behind.example\",\"password\":\"{password}\"}}'"
    ));
    assert_eq!(came, "200");
    let began = Instant::now();
    while versions() != before.replace(&behind, &format!(r#""entries":{new}"#)) {
        assert!(began.elapsed() < PATIENCE, "{}", versions());
    }
}

/// One page about both APIs, with nothing from elsewhere.
fn try_the_documentation(url: &str) {
    let page = pasted(&format!("curl -sL {url}/docs"));
    assert!(page.contains("swagger-ui"), "{page}");
    assert!(!page.contains("://"), "{page}");
    for part in ["swagger-ui-bundle.js", "swagger-ui.css"] {
        assert!(page.contains(part), "{page}");
        let show = "-sL -o /dev/null -w '%{http_code} %{size_download}'";
        let loaded = pasted(&format!("curl {show} {url}/docs/{part}"));
        let (status, bytes) = loaded.split_once(' ').unwrap();
        assert_eq!(status, "200", "{part}");
        assert!(bytes.parse::<usize>().unwrap() > 10_000, "{part}: {bytes}");
    }
    let document = pasted(&format!("curl -s {url}/openapi.json"));
    for path in ["/v1/signup", "/v1/tenants/{id}/suspend", "/v1/entries"] {
        assert!(document.contains(&format!("\"{path}\":")), "{path}");
    }
}

/// A folder that the server's user can reach: a server does not run as root.
fn folder() -> tempfile::TempDir {
    let data = tempfile::tempdir().unwrap();
    std::fs::set_permissions(data.path(), PermissionsExt::from_mode(0o755)).unwrap();
    data
}

#[test]
fn a_start_is_found_again_adopted_stopped_and_wiped() {
    let data = folder();
    let mut first = Up::start(data.path(), "0");
    first.until("Ctrl-C stops it");
    try_signing_up(&first);
    try_reading(&first);
    let (url, key) = (first.value("API"), first.value("Operator key"));
    let port = url.rsplit(':').next().unwrap().to_owned();
    try_the_documentation(&url);
    try_the_closed(&first);
    try_their_tokens(data.path());
    try_the_one_behind(&first);
    // On data of its own, beside what runs.
    let mut tour = Up::run(data.path(), &["tour"]);
    let secrets = std::fs::metadata(data.path().join("local/credentials.json")).unwrap();
    assert_eq!(secrets.permissions().mode() & 0o777, 0o600);

    // A second start breaks nothing and says the same.
    let (status, said) = Up::start(data.path(), "0").over();
    assert!(status.success(), "{said}");
    for known in ["It is running already", &url, &key] {
        assert!(said.contains(known), "{known} is not in {said}");
    }

    // Nor does one that would wipe.
    let (status, said) = Up::run(data.path(), &["--port", "0", "--fresh"]).over();
    assert!(!status.success(), "{said}");
    assert!(said.contains("stop that one first"), "{said}");

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
    try_the_closed(&second);
    assert_eq!(signed_up(&second), 1, "what was signed up is there");
    has_toured(&mut tour);
    second.stop();
    assert!(!data.path().join("postgres/data/postmaster.pid").exists());

    // Wiped: other secrets, and nothing of what was there.
    let mut fresh = Up::run(data.path(), &["--port", "0", "--fresh"]);
    fresh.until("Ctrl-C stops it");
    assert_ne!(fresh.value("Operator key"), key);
    try_reading(&fresh);
    assert_eq!(signed_up(&fresh), 0, "nothing is left");
    fresh.stop();
}

/// How many of the sign-ups that were pasted are there.
fn signed_up(up: &Up) -> usize {
    let (url, key) = (up.value("API"), up.value("Operator key"));
    let found = pasted(&format!(
        "curl -s '{url}/v1/tenants?text=globex' -H 'authorization: Bearer {key}'"
    ));
    found.matches(r#""id":"t_globex_"#).count()
}

/// It ends well, and has shown what it promises.
fn has_toured(tour: &mut Up) {
    let (status, said) = tour.over();
    assert!(status.success(), "{said}");
    let (_, summary) = said.split_once("That was it:").unwrap();
    for shown in [
        "two tenants with databases of their own",
        "403 tenant-mismatch at the API, and PostgreSQL's own \"permission denied",
        " s without platform-service: ",
        "requests, 0 failed",
        ", 0 failed otherwise; all served again",
    ] {
        assert!(summary.contains(shown), "{shown:?} is not in {said}");
    }
}

/// A server that is not the program's.
async fn somebodys_server() -> Server {
    let config = ServerConfig {
        binaries: Binaries::of_workspace().await.unwrap(),
        data: DataFolder::Temporary,
        port: Port::Free,
        profile: Profile::ThrowAway,
        max_connections: 120,
        extra: Vec::new(),
    };
    Server::start(config).await.unwrap().0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_of_somebody_else_is_used_and_left_as_it_is() {
    let server = somebodys_server().await;
    let superuser = server.superuser();
    let url = format!(
        "postgres://{}:{}@{}:{}",
        superuser.user,
        superuser.password.expose_secret(),
        superuser.host,
        superuser.port
    );
    let data = folder();
    let mut up = Up::run(data.path(), &["--port", "0", "--database-url", &url]);
    up.until("Ctrl-C stops it");
    try_reading(&up);
    let said = up.stop();
    let named = format!("the server at 127.0.0.1:{}, as postgres", superuser.port);
    assert!(said.contains(&named), "{said}");
    assert!(!said.contains(superuser.password.expose_secret()), "{said}");
    assert!(
        !data.path().join("postgres").exists(),
        "no server of its own"
    );
    // It serves on, with everything in it.
    let mut superuser = superuser.options("postgres").connect().await.unwrap();
    let tenants =
        "select count(*) from pg_database where datname in ('t_acme', 'tenantry_registry')";
    let tenants: i64 = sqlx::query_scalar(tenants)
        .fetch_one(&mut superuser)
        .await
        .unwrap();
    assert_eq!(tenants, 2);
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
