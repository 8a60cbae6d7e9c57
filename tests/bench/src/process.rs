//! Processes of the benchmark's own program in another role: a service or a baseline.
//!
//! Deliberately the same program for all roles, so that both sides are built alike. Invariants: what
//! is secret reaches a child by its environment or its standard input, never by its arguments; a
//! child ends with its parent, because its standard input ends.

use std::io::{BufRead, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};

use crate::cli::Role;

const START_PATIENCE: Duration = Duration::from_secs(60);
const STOP_PATIENCE: Duration = Duration::from_secs(30);
const LISTENS: &str = "listens on ";
/// Files that a process may have open: 1,000 clients, and connections to the database.
const OPEN_FILES: u64 = 8192;

/// What a child is started with.
#[derive(Debug, Default)]
pub(crate) struct Start<'a> {
    pub(crate) environment: Vec<(String, String)>,
    /// The first line of its standard input.
    pub(crate) input: String,
    /// Takes its standard output, where services log; without one it is thrown away.
    pub(crate) logs: Option<&'a Path>,
}

/// A child that listens.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    pub(crate) addresses: Vec<SocketAddr>,
}

impl Process {
    /// Starts this program in a role and waits until it listens.
    pub(crate) async fn start(role: Role, start: Start<'_>) -> anyhow::Result<Self> {
        let logs = match start.logs {
            Some(folder) => {
                let file = std::fs::OpenOptions::new()
                    .create(true)
                    .append(true)
                    .open(folder.join(format!("{}.log", role.name())))?;
                Stdio::from(file)
            }
            None => Stdio::null(),
        };
        let mut child = Command::new(std::env::current_exe()?)
            .arg(role.name())
            .envs(start.environment)
            .stdin(Stdio::piped())
            .stdout(logs)
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut stdin = child.stdin.take().context("a standard input")?;
        stdin
            .write_all(format!("{}\n", start.input).as_bytes())
            .await?;
        let stderr = child.stderr.take().context("a standard error")?;
        let mut lines = BufReader::new(stderr).lines();
        let addresses = tokio::time::timeout(START_PATIENCE, async {
            while let Some(line) = lines.next_line().await? {
                if let Some(addresses) = line.strip_prefix(LISTENS) {
                    let addresses = addresses
                        .split(' ')
                        .map(str::parse)
                        .collect::<Result<_, _>>()?;
                    return anyhow::Ok(addresses);
                }
                say(&format!("{}: {line}", role.name()));
            }
            anyhow::bail!("{} ended before it listened", role.name())
        })
        .await
        .with_context(|| format!("{} does not listen", role.name()))??;
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                say(&format!("{}: {line}", role.name()));
            }
        });
        Ok(Self {
            child,
            stdin: Some(stdin),
            addresses,
        })
    }

    /// The first address that it listens on.
    pub(crate) fn address(&self) -> anyhow::Result<SocketAddr> {
        self.addresses.first().copied().context("an address")
    }

    /// Its process id.
    pub(crate) fn id(&self) -> anyhow::Result<u32> {
        self.child.id().context("the process has ended")
    }

    /// Lets it finish, and waits for its end.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        drop(self.stdin.take());
        let status = tokio::time::timeout(STOP_PATIENCE, self.child.wait())
            .await
            .context("a process does not stop")??;
        ensure!(status.success(), "a process ended with {status}");
        Ok(())
    }
}

/// In a child: tells the parent where it listens.
pub(crate) fn tell(addresses: &[SocketAddr]) {
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    say(&format!("{LISTENS}{}", addresses.join(" ")));
}

/// In a child: the first line of standard input.
pub(crate) fn input() -> anyhow::Result<String> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    Ok(line)
}

/// In a child: ends when the parent closes standard input or ends itself.
pub(crate) async fn until_told_to_stop() {
    let (tell, told) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        while std::io::stdin()
            .lock()
            .read_line(&mut line)
            .is_ok_and(|read| read > 0)
        {
            line.clear();
        }
        // Nobody waits any more: then it has ended anyway.
        let _ = tell.send(());
    });
    let _ = told.await;
}

/// Raises this process's limit of open files as far as it may.
pub(crate) fn raise_open_files() -> anyhow::Result<()> {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft < OPEN_FILES {
        setrlimit(Resource::RLIMIT_NOFILE, OPEN_FILES.min(hard), hard)?;
    }
    Ok(())
}

/// A line on standard error; one that cannot be written is of no use to anybody.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}
