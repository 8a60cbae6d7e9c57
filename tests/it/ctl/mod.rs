//! The operators' command line beside a running platform: one file per group of commands.
//!
//! Deliberately the program itself, in a process of its own, with a profile of its own. Invariant: what
//! a script relies on (exit code, JSON on stdout, words on stderr) is looked at for every command.

mod clusters;
mod data;
mod fleet;
mod keys;
mod looks;
mod operations;
mod oversight;
mod tenants;
mod upkeep;
mod waits;
mod words;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use world::World;

use crate::support::unique;

/// The program of somebody with a profile of their own.
struct Ctl {
    home: tempfile::TempDir,
    url: String,
    key: String,
}

/// What a command did.
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Ran {
    #[track_caller]
    fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{}\n{}", self.out, self.err);
        self
    }

    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }

    #[track_caller]
    fn says(&self, words: &str) {
        assert!(self.err.contains(words), "{words:?} is not in {}", self.err);
    }
}

impl Ctl {
    fn new(world: &World) -> Self {
        Self {
            home: tempfile::tempdir().unwrap(),
            url: world.platform_url(),
            key: world.operator_key().to_owned(),
        }
    }

    fn config(&self) -> PathBuf {
        self.home.path().join("config.toml")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_world-tenantctl"));
        command
            .args(arguments)
            .env("TENANTCTL_URL", &self.url)
            .env("TENANTCTL_KEY", &self.key)
            .env("TENANTCTL_CONFIG", self.config())
            .stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        self.command(arguments).output().unwrap().into()
    }

    /// What a command says in JSON.
    fn json(&self, arguments: &[&str]) -> Value {
        self.run(&[arguments, &["-o", "json"]].concat())
            .expect(0)
            .json()
    }

    /// What a command that lists says: its table names `id`, and every form of it can be read.
    fn lists(&self, arguments: &[&str], id: &str) -> Vec<Value> {
        let table = self.run(arguments).expect(0).out;
        assert!(table.contains(id), "{id} is not in {table}");
        let items = self.json(arguments).as_array().unwrap().clone();
        let lines = self
            .run(&[arguments, &["-o", "ndjson"]].concat())
            .expect(0)
            .out;
        let lines = lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap());
        assert_eq!(lines.collect::<Vec<Value>>().len(), items.len());
        assert!(items.iter().any(|item| item.to_string().contains(id)));
        items
    }

    /// What a command that shows one thing says: its table names `id`, and its JSON can be read.
    fn shows(&self, arguments: &[&str], id: &str) -> Value {
        let table = self.run(arguments).expect(0).out;
        assert!(table.contains(id), "{id} is not in {table}");
        self.json(arguments)
    }

    fn piped(&self, mut command: Command, text: &str) -> Ran {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
        child.wait_with_output().unwrap().into()
    }

    /// Runs it on a terminal of its own, where `typed` is typed once it asks.
    fn on_terminal(&self, arguments: &[&str], typed: &str) -> Ran {
        // Waits for the prompt, so that what is typed is an answer to it.
        const TERMINAL: &str = "
import os, pty, sys
pid, terminal = pty.fork()
if pid == 0:
    os.execv(sys.argv[2], sys.argv[2:])
seen, typed = b'', sys.argv[1].encode()
while True:
    try:
        part = os.read(terminal, 4096)
    except OSError:
        break
    if not part:
        break
    seen += part
    if typed and b'to confirm: ' in seen:
        os.write(terminal, typed + b'\\n')
        typed = b''
sys.stdout.buffer.write(seen)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
";
        let program = self.command(arguments);
        let mut command = Command::new("python3");
        command.args(["-c", TERMINAL, typed]);
        command.arg(program.get_program()).args(program.get_args());
        for (name, value) in program.get_envs() {
            command.env(name, value.unwrap());
        }
        command.output().unwrap().into()
    }

    /// Makes a key and gives its id and the program of somebody who has it.
    fn with_scopes(&self, scopes: &[&str]) -> (String, Self) {
        let name = unique("key");
        let mut arguments = vec!["keys", "create", &name, "-o", "json"];
        for scope in scopes {
            arguments.extend(["--scope", scope]);
        }
        let made = self.run(&arguments).expect(0).json();
        let other = Self {
            home: tempfile::tempdir().unwrap(),
            url: self.url.clone(),
            key: made["key"].as_str().unwrap().to_owned(),
        };
        (made["id"].as_str().unwrap().to_owned(), other)
    }
}
