//! A local AWS API server (moto) for the tests of this binary, in a virtual environment that the
//! first run makes. The world tests take this file in as well.
//!
//! Deliberately one server for the whole binary: tests keep apart by name prefix. Invariant: the
//! server ends with the test process however that ends, because it watches its standard input.

use std::fs::File;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{OnceLock, mpsc};
use std::time::Duration;

const VERSION: &str = "5.2.5";
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// Serves on a free port and leaves when standard input closes.
const SERVE: &str = "
import os, sys, threading
def watch():
    sys.stdin.read()
    os._exit(0)
threading.Thread(target=watch, daemon=True).start()
from moto.server import main
main(['-p', '0'])
";

struct Moto {
    url: String,
    /// Holds the pipe to the server's standard input open.
    _server: Child,
}

/// The address of the server, which the first caller starts.
pub(crate) fn url() -> &'static str {
    static MOTO: OnceLock<Moto> = OnceLock::new();
    &MOTO.get_or_init(start).url
}

fn start() -> Moto {
    let mut server = Command::new(python_with_moto())
        .args(["-c", SERVE])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let log = BufReader::new(server.stderr.take().unwrap());
    let (found, wait) = mpsc::channel();
    // Reads on after the address is found: a full pipe would stop the server.
    std::thread::spawn(move || {
        let mut seen = String::new();
        for line in log.lines().map_while(Result::ok) {
            seen.push_str(&line);
            seen.push('\n');
            if let Some((_, url)) = line.split_once("Running on ") {
                // Nobody listens any more once the first address is known.
                let _ = found.send(Ok(url.trim().to_owned()));
                seen.clear();
            }
        }
        let _ = found.send(Err(seen));
    });
    let url = wait
        .recv_timeout(START_TIMEOUT)
        .expect("moto names its address within a minute")
        .unwrap_or_else(|log| {
            panic!("moto ended before it listened (removing .venv makes it anew):\n{log}")
        });
    warm(&url);
    Moto {
        url,
        _server: server,
    }
}

/// Asks something once: the first answer takes many times as long as any other, because everything is loaded
/// for it.
fn warm(url: &str) {
    let address = url.trim_start_matches("http://").trim_end_matches('/');
    let mut stream = TcpStream::connect(address).unwrap();
    let request = format!(
        "POST / HTTP/1.1\r\nHost: {address}\r\nX-Amz-Target: secretsmanager.ListSecrets\r\n\
         Content-Type: application/x-amz-json-1.1\r\nContent-Length: 2\r\nConnection: close\r\n\
         Authorization: AWS4-HMAC-SHA256 Credential=warm/20260101/eu-central-1/secretsmanager/aws4_request\r\n\
         \r\n{{}}"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("SecretList"), "{answer}");
}

/// The interpreter of a virtual environment in which moto is installed.
///
/// Takes a file lock, so of several test processes one installs and the others wait.
fn python_with_moto() -> PathBuf {
    let home = workspace().join(".venv");
    let python = home.join("bin/python");
    let complete = home.join(format!(".moto-{VERSION}"));
    std::fs::create_dir_all(&home).unwrap();
    let lock = File::create(home.join(".lock")).unwrap();
    lock.lock().unwrap();
    if !complete.exists() {
        let installed =
            run(Command::new("python3").args(["-m", "venv"]).arg(&home)).and_then(|()| {
                let package = format!("moto[server]=={VERSION}");
                run(Command::new(&python)
                    .args([
                        "-m",
                        "pip",
                        "install",
                        "--quiet",
                        "--disable-pip-version-check",
                    ])
                    .arg(package))
            });
        if let Err(reason) = installed {
            panic!("the AWS tests need python3 with venv and pip, to run moto {VERSION}: {reason}");
        }
        File::create(&complete).unwrap();
    }
    python
}

fn workspace() -> &'static Path {
    let mut folders = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    folders
        .find(|folder| folder.join("Cargo.lock").exists())
        .unwrap()
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{}: {error}", command.get_program().display()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    Err(String::from_utf8_lossy(&said).trim().to_owned())
}
