//! Runs `pg_dump` and `pg_restore`: data streams through, nothing is kept but the last words.
//!
//! Deliberately no parallel workers: a tenant is small, and a stream needs no place on a disk.
//! Invariants: a program dies with the future that started it; of what it says only lines that say
//! why it failed are kept, without the rows and statements that they may quote.

use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};

use contract::Code;
use kit::error::Problem;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

use super::Tool;
use super::login::{Passfile, ToolLogin, Work};
use crate::clusters::connections::Server;
use crate::clusters::postgres::{self, Name};
use crate::meter;
use crate::stop::Stop;

/// Bytes of a program's last words that are kept.
const WORDS: usize = 8 * 1024;
/// Bytes that go from one program to the next at once.
const CHUNK: usize = 256 * 1024;
/// Characters of a failure's words.
const SHOWN_CHARS: usize = 300;

/// How an archive is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DumpOptions {
    pub(crate) compression: Compression,
    pub(crate) large_objects: LargeObjects,
    /// Dumps what a transaction that exported this snapshot sees.
    pub(crate) snapshot: Option<String>,
}

/// How much an archive is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    /// For what goes straight into another server.
    None,
    /// For what is kept.
    Fast,
}

/// Whether large objects are in an archive: all of them or none, since the program cannot choose among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LargeObjects {
    Carried,
    LeftOut,
}

/// A `pg_dump` that is running; it is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Dumping {
    running: Running,
    output: ChildStdout,
}

impl Dumping {
    /// The archive, in the custom format.
    pub(crate) fn output(&mut self) -> &mut ChildStdout {
        &mut self.output
    }

    /// Waits for its end, after the whole output was read.
    ///
    /// # Errors
    /// It failed: what was read is not a whole archive.
    pub(crate) async fn finish(self) -> Result<(), Stop> {
        drop(self.output);
        self.running.finish().await
    }
}

#[derive(Debug)]
struct Running {
    program: &'static str,
    child: Child,
    stderr: ChildStderr,
    /// Removed with this.
    _passfile: Passfile,
}

impl Running {
    async fn finish(mut self) -> Result<(), Stop> {
        let words = last_words(&mut self.stderr).await;
        let status = self.child.wait().await.map_err(Problem::internal)?;
        judge(self.program, status, &words)
    }
}

/// Starts a dump of a database. `work_dir` holds the password for as long as it runs.
///
/// # Errors
/// The program cannot be started.
pub(crate) fn dump(
    tool: &Tool,
    login: &ToolLogin,
    work_dir: &Path,
    database: &Name,
    options: &DumpOptions,
) -> Result<Dumping, Stop> {
    let mut command = Command::new(tool.program("pg_dump"));
    command
        .args(["--format=custom", "--no-owner", "--no-password"])
        .args(["--no-publications", "--no-subscriptions"])
        .arg(match options.compression {
            Compression::None => "--compress=0",
            Compression::Fast => "--compress=1",
        })
        .arg(format!("--dbname={database}"))
        .stdin(Stdio::null());
    if options.large_objects == LargeObjects::LeftOut {
        // Its long name is another one from PostgreSQL 16 on.
        command.arg("-B");
    }
    if let Some(snapshot) = &options.snapshot {
        command.arg(format!("--snapshot={snapshot}"));
    }
    let mut running = start(("pg_dump", Work::Dumps), command, login, work_dir)?;
    let output = running.child.stdout.take().ok_or_else(no_pipe)?;
    Ok(Dumping { running, output })
}

/// Loads an archive into an empty database, as one that owns nothing else there.
///
/// # Errors
/// The archive cannot be read to its end or loaded; the database is to be thrown away then. An error
/// of `archive` itself is in [`LoadError::Archive`].
pub(crate) async fn load(
    tool: &Tool,
    login: &ToolLogin,
    work_dir: &Path,
    database: &Name,
    mut archive: impl AsyncRead + Send + Unpin,
) -> Result<Loaded, LoadError> {
    let mut command = Command::new(tool.program("pg_restore"));
    command
        .args(["--format=custom", "--no-owner", "--no-password"])
        .args(["--no-publications", "--no-subscriptions", "--exit-on-error"])
        .arg(format!("--dbname={database}"))
        .stdin(Stdio::piped());
    let mut running = start(("pg_restore", Work::Loads), command, login, work_dir)?;
    let input = running.child.stdin.take().ok_or_else(no_pipe)?;
    // What it says is read meanwhile, or it would wait for us while we wait for it.
    let (fed, words) = tokio::join!(feed(&mut archive, input), last_words(&mut running.stderr));
    if let Err(error) = fed {
        return Err(LoadError::Archive(error));
    }
    let status = running.child.wait().await.map_err(Problem::internal)?;
    judge("pg_restore", status, &words)?;
    Ok(Loaded(()))
}

/// What is loaded, and may be lost yet where its server crashes.
#[derive(Debug)]
#[must_use = "what was loaded is lost where the server crashes"]
pub(crate) struct Loaded(());

impl Loaded {
    /// Waits until a crash of the server loses nothing of it.
    pub(crate) async fn kept_by(self, server: &Server) -> Result<(), Stop> {
        Ok(postgres::flush(&mut *server.acquire().await?).await?)
    }
}

/// Why an archive is not loaded.
#[derive(Debug)]
pub(crate) enum LoadError {
    /// It could not be read.
    Archive(io::Error),
    /// The program or the server refused it.
    Refused(Stop),
}

impl From<Stop> for LoadError {
    fn from(stop: Stop) -> Self {
        Self::Refused(stop)
    }
}

impl From<Problem> for LoadError {
    fn from(problem: Problem) -> Self {
        Self::Refused(problem.into())
    }
}

/// Loads what is being dumped.
///
/// # Errors
/// Either of them failed; the database is to be thrown away then.
pub(crate) async fn pipe(
    mut dumping: Dumping,
    tool: &Tool,
    login: &ToolLogin,
    work_dir: &Path,
    database: &Name,
) -> Result<Loaded, Stop> {
    let loaded = load(tool, login, work_dir, database, dumping.output()).await;
    // A dump that failed is why the archive ended too early.
    match loaded {
        Ok(loaded) => dumping.finish().await.map(|()| loaded),
        Err(LoadError::Refused(stop)) => {
            // It may be waiting for somebody to read on.
            match dumping.running.child.try_wait() {
                Ok(Some(status)) if !status.success() => {
                    dumping.finish().await?;
                    Err(stop)
                }
                _ => Err(stop),
            }
        }
        Err(LoadError::Archive(error)) => Err(Stop::Retry(Problem::internal(error))),
    }
}

fn start(
    (program, work): (&'static str, Work),
    mut command: Command,
    login: &ToolLogin,
    work_dir: &Path,
) -> Result<Running, Stop> {
    let passfile = Passfile::write(work_dir, login)?;
    passfile.give(&mut command, login, work);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| {
            let detail = format!("{program} cannot be started: {error}");
            Stop::Fail(Problem::new(Code::ToolsMissing).detail(detail))
        })?;
    let stderr = child.stderr.take().ok_or_else(no_pipe)?;
    Ok(Running {
        program,
        child,
        stderr,
        _passfile: passfile,
    })
}

fn no_pipe() -> Stop {
    Stop::Fail(Problem::internal("a program has no pipe to it"))
}

/// Gives the program its input and closes it. A program that reads no further says why itself, so a
/// pipe that broke is no error here.
async fn feed(
    archive: &mut (impl AsyncRead + Send + Unpin),
    mut input: ChildStdin,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = archive.read(&mut chunk).await?;
        if read == 0 {
            break;
        }
        match input.write_all(&chunk[..read]).await {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            written => written?,
        }
        meter::passed(read);
    }
    Ok(())
}

/// The end of what a program says until it closes its error output.
async fn last_words(stderr: &mut ChildStderr) -> String {
    let mut words: Vec<u8> = Vec::new();
    let mut chunk = [0; 4096];
    while let Ok(read) = stderr.read(&mut chunk).await
        && read > 0
    {
        words.extend_from_slice(&chunk[..read]);
        let over = words.len().saturating_sub(WORDS);
        words.drain(..over);
    }
    String::from_utf8_lossy(&words).into_owned()
}

/// What became of a program.
fn judge(program: &str, status: ExitStatus, words: &str) -> Result<(), Stop> {
    if status.success() {
        return Ok(());
    }
    let reason = reason(words);
    let has = |texts: &[&str]| texts.iter().any(|text| words.contains(text));
    let problem = |code: Code| Problem::new(code).detail(format!("{program} failed: {reason}"));
    Err(if has(&CORRUPT) {
        Stop::Fail(problem(Code::ArchiveCorrupt))
    } else if has(&FULL) {
        Stop::Fail(problem(Code::ClusterFull))
    } else if has(&["server version mismatch"]) {
        Stop::Fail(problem(Code::ToolsMissing))
    } else if has(&PASSING) {
        Stop::Retry(problem(Code::DatabaseUnavailable))
    } else {
        Stop::Fail(problem(Code::Conflict))
    })
}

/// An archive that the program does not understand.
const CORRUPT: [&str; 5] = [
    "not appear to be a valid archive",
    "could not read from input file",
    "unexpected end of file",
    "could not uncompress data",
    "corrupt tar header",
];
/// The server has no room.
const FULL: [&str; 3] = [
    "No space left on device",
    "could not extend file",
    "Disk quota exceeded",
];
/// The server was not to be reached, or sent the program away.
const PASSING: [&str; 8] = [
    "connection to server",
    "server closed the connection",
    "terminating connection",
    "could not connect",
    "too many clients",
    "the database system is",
    "canceling statement due to lock timeout",
    "deadlock detected",
];

/// Why a program failed, without what its words quote: no rows, no statements.
fn reason(words: &str) -> String {
    let line = words
        .lines()
        .filter(|line| line.contains("error:") || line.contains("FATAL:"))
        .find(|line| !line.contains("Command was:"))
        .unwrap_or("it did not say why");
    let said = line
        .split_once("error: ")
        .map_or(line, |(_, said)| said)
        .replace("could not execute query: ", "");
    said.chars().take(SHOWN_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_tell_the_reason_and_quote_no_row() {
        let words = "pg_restore: error: COPY failed for table \"account\": ERROR:  duplicate key \
                     value violates unique constraint \"account_email_key\"\n\
                     DETAIL:  Key (email)=(ada@example.com) already exists.\n\
                     CONTEXT:  COPY account, line 2: \"ada@example.com\"\n";
        let reason = reason(words);
        assert!(reason.contains("account_email_key"), "{reason}");
        assert!(!reason.contains("ada@example.com"), "{reason}");
    }

    #[test]
    fn what_passes_is_tried_again_and_what_is_damaged_is_not() {
        use std::os::unix::process::ExitStatusExt;
        let failed = ExitStatus::from_raw(256);
        let code = |words: &str| match judge("pg_restore", failed, words) {
            Err(Stop::Retry(problem)) => (true, problem.code()),
            Err(Stop::Fail(problem)) => (false, problem.code()),
            other => panic!("{other:?}"),
        };
        for (words, expected) in [
            (
                "pg_dump: error: connection to server at \"::1\", port 1 failed: Connection refused",
                (true, Code::DatabaseUnavailable),
            ),
            (
                "pg_restore: error: could not read from input file: end of file",
                (false, Code::ArchiveCorrupt),
            ),
            (
                "pg_restore: error: could not execute query: ERROR:  could not extend file \
                 \"base/1/2\": No space left on device",
                (false, Code::ClusterFull),
            ),
            ("", (false, Code::Conflict)),
        ] {
            assert_eq!(code(words), expected, "{words}");
        }
        assert!(judge("pg_dump", ExitStatus::from_raw(0), "pg_dump: warning: x").is_ok());
    }
}
