//! PostgreSQL's own programs: which are here, and which of them fit two servers.
//!
//! Deliberately looked for anew each time, so that an installed program is found by the next try; a program is
//! asked for its version once, as long as it stays the same file.
//! Invariant: data goes through a program that is at least as new as the server that it comes from
//! and no newer than the one that it goes to, so never to an older server.

mod login;
mod run;

use std::collections::HashMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use contract::Code;
use kit::error::Problem;
use tokio::process::Command;

use crate::config::ToolSettings;

pub(crate) use login::{ToolLogin, sweep};
pub(crate) use run::{
    Compression, DumpOptions, Dumping, LargeObjects, LoadError, dump, load, pipe,
};

/// Numbers of a major version in `server_version_num`.
const PER_MAJOR: i32 = 10_000;
/// A program that does not say its version in this time is none.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);
/// Folders whose children may hold an installation: parent, start of the child's name, where the
/// programs are in it.
const USUAL_FOLDERS: [(&str, &str, &str); 8] = [
    ("/usr/lib/postgresql", "", "bin"),
    ("/usr", "pgsql-", "bin"),
    ("/usr/local", "pgsql", "bin"),
    ("/usr/libexec", "postgresql", ""),
    ("/opt", "postgresql", "bin"),
    ("/opt/homebrew/opt", "postgresql", "bin"),
    ("/usr/local/opt", "postgresql", "bin"),
    ("/Applications/Postgres.app/Contents/Versions", "", "bin"),
];

/// An installation of the programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tool {
    /// Its major version, e.g. 15.
    pub(crate) major: i32,
    bin_dir: PathBuf,
}

impl Tool {
    fn program(&self, name: &str) -> PathBuf {
        self.bin_dir.join(name)
    }
}

/// The installations on this machine, oldest first, one of each major version: in the folder of the
/// settings, or in one beneath it (`<folder>/<version>/bin`); where that is empty, in the usual places
/// and in `PATH`.
pub(crate) async fn find(settings: &ToolSettings) -> Vec<Tool> {
    let mut tools: Vec<Tool> = Vec::new();
    for bin_dir in folders(settings.bin_dir.as_deref()) {
        if let Some(major) = major_of(&bin_dir).await
            && tools.iter().all(|known| known.major != major)
        {
            tools.push(Tool { major, bin_dir });
        }
    }
    tools.sort_by_key(|tool| tool.major);
    tools
}

fn folders(configured: Option<&Path>) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    if let Some(folder) = configured {
        folders.push(folder.to_owned());
        folders.extend(
            children(folder, "")
                .into_iter()
                .map(|child| child.join("bin")),
        );
    } else {
        let path = std::env::var_os("PATH").unwrap_or_default();
        for (parent, start, rest) in USUAL_FOLDERS {
            let found = children(Path::new(parent), start);
            folders.extend(found.into_iter().map(|child| child.join(rest)));
        }
        folders.extend(std::env::split_paths(&path));
    }
    folders.retain(|folder| {
        ["pg_dump", "pg_restore"]
            .iter()
            .all(|program| is_program(&folder.join(program), program))
    });
    folders
}

/// Whether a program lies here, and not a link to a wrapper that chooses among the installations, as
/// Debian has it in `/usr/bin`: those are listed themselves, and its start costs more than theirs.
fn is_program(path: &Path, name: &str) -> bool {
    path.canonicalize()
        .is_ok_and(|real| real.is_file() && real.file_name().is_some_and(|found| found == name))
}

/// The folders in a folder, by name; none where it cannot be read.
fn children(folder: &Path, start: &str) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut found: Vec<PathBuf> = entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(start))
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found
}

/// What tells one file from another that is put in its place: device, inode, length, and when it was changed
/// last, in seconds and nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity(u64, u64, u64, i64, i64);

impl From<Metadata> for Identity {
    fn from(file: Metadata) -> Self {
        Self(
            file.dev(),
            file.ino(),
            file.len(),
            file.ctime(),
            file.ctime_nsec(),
        )
    }
}

/// What programs said of themselves.
static ANSWERS: Mutex<Option<HashMap<PathBuf, (Identity, i32)>>> = Mutex::new(None);

/// The major version of `pg_dump` in a folder. Starting it costs more than all the rest of a look.
async fn major_of(bin_dir: &Path) -> Option<i32> {
    let program = bin_dir.join("pg_dump");
    // Before it is asked: one that is replaced meanwhile is asked again.
    let identity = Identity::from(std::fs::metadata(&program).ok()?);
    if let Some(known) = answered(&program, identity) {
        return Some(known);
    }
    let major = ask(&program).await?;
    let mut answers = ANSWERS.lock().unwrap_or_else(PoisonError::into_inner);
    let answers = answers.get_or_insert_default();
    answers.insert(program, (identity, major));
    Some(major)
}

fn answered(program: &Path, identity: Identity) -> Option<i32> {
    let answers = ANSWERS.lock().unwrap_or_else(PoisonError::into_inner);
    let (of, major) = answers.as_ref()?.get(program)?;
    (*of == identity).then_some(*major)
}

/// The major version that a program says it has.
async fn ask(program: &Path) -> Option<i32> {
    let asked = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .output();
    let answer = tokio::time::timeout(ASK_TIMEOUT, asked).await.ok()?.ok()?;
    parse_major(&String::from_utf8_lossy(&answer.stdout))
}

/// Reads e.g. `pg_dump (PostgreSQL) 15.18 (Debian 15.18-1)`, also `18beta1`.
fn parse_major(answer: &str) -> Option<i32> {
    let (_, rest) = answer.split_once("(PostgreSQL)")?;
    let digits: String = rest
        .trim_start()
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    digits.parse().ok()
}

/// The major version of a server, from its `server_version_num`.
pub(crate) fn major(server_version: i32) -> i32 {
    server_version / PER_MAJOR
}

/// The oldest programs that may take data from one server to another; both as `server_version_num`
/// says.
///
/// # Errors
/// `downgrade-refused` where the target is older than the source; `tools-missing` where no program
/// fits, which names those that would.
pub(crate) fn pick(tools: &[Tool], source: i32, target: i32) -> Result<&Tool, Problem> {
    let (source, target) = (major(source), major(target));
    if target < source {
        return Err(Problem::new(Code::DowngradeRefused).detail(format!(
            "The data is of PostgreSQL {source} and the server is PostgreSQL {target}: data never \
             goes to an older version. Choose a cluster of PostgreSQL {source} or newer."
        )));
    }
    tools
        .iter()
        .filter(|tool| (source..=target).contains(&tool.major))
        .min_by_key(|tool| tool.major)
        .ok_or_else(|| {
            let found: Vec<String> = tools.iter().map(|tool| tool.major.to_string()).collect();
            let wanted = if source == target {
                format!("version {source}")
            } else {
                format!("a version from {source} to {target}")
            };
            let found = if found.is_empty() {
                "none are found".to_owned()
            } else {
                format!("version {} is found", found.join(", "))
            };
            Problem::new(Code::ToolsMissing).detail(format!(
                "pg_dump and pg_restore of {wanted} are needed, and {found}: install PostgreSQL's \
                 client programs where platform-service runs, or name their folder in tools.bin_dir."
            ))
        })
}

#[cfg(test)]
mod tests;
