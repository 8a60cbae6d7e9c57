//! A running postmaster as the operating system shows it: `postmaster.pid`, liveness, signals.
//! Talks no protocol.
//!
//! Invariant: no process is signalled before it was shown to be the postmaster of the folder in question.

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::Path;
use std::process::Command;

/// How a server is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopMode {
    /// Ends sessions, writes a checkpoint.
    Fast,
    /// Ends at once; the next start recovers, as after a crash.
    Immediate,
}

/// What a postmaster writes about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PidFile {
    pub(crate) pid: i32,
    pub(crate) port: u16,
}

impl PidFile {
    /// Reads the lines of `postmaster.pid`: process, folder, start time, port, and more.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let pid = lines.next()?.trim().parse().ok().filter(|pid| *pid > 1)?;
        let port = lines.nth(2)?.trim().parse().ok()?;
        Some(Self { pid, port })
    }
}

/// The live postmaster of a data folder, if there is one.
pub(crate) fn live(data: &Path) -> Option<PidFile> {
    let text = std::fs::read_to_string(data.join("postmaster.pid")).ok()?;
    PidFile::parse(&text).filter(|file| is_postmaster(file.pid, data))
}

/// Removes a `postmaster.pid` whose number was given to another process since: PostgreSQL would take that
/// one for a postmaster. With nobody of that number the file stays, PostgreSQL checks more than we can.
pub(crate) fn clear_reused(data: &Path) {
    let path = data.join("postmaster.pid");
    let pid = std::fs::read_to_string(&path)
        .ok()
        .and_then(|text| PidFile::parse(&text));
    if pid.is_some_and(|file| exists(file.pid) && !is_postmaster(file.pid, data)) {
        let removed = std::fs::remove_file(&path);
        tracing::debug!(?removed, path = %path.display(), "stale postmaster.pid");
    }
}

/// A postmaster's working folder is its data folder. Where that may not be looked at (another user's
/// process in a container, another system), its command line names the folder; a dead one has neither.
fn is_postmaster(pid: i32, data: &Path) -> bool {
    if let Ok(cwd) = std::fs::read_link(format!("/proc/{pid}/cwd")) {
        return data.canonicalize().is_ok_and(|data| cwd == data);
    }
    let line = if cfg!(target_os = "linux") {
        std::fs::read(format!("/proc/{pid}/cmdline"))
    } else {
        let mut ps = Command::new("ps");
        ps.args(["-ww", "-o", "command=", "-p", &pid.to_string()]);
        ps.output().map(|output| output.stdout)
    };
    line.is_ok_and(|line| String::from_utf8_lossy(&line).contains(&*data.to_string_lossy()))
}

fn exists(pid: i32) -> bool {
    matches!(kill(Pid::from_raw(pid), None), Ok(()) | Err(Errno::EPERM))
}

/// Asks a postmaster to stop; one that is gone already is fine.
pub(crate) fn signal(pid: i32, mode: StopMode) {
    let signal = match mode {
        StopMode::Fast => Signal::SIGINT,
        StopMode::Immediate => Signal::SIGQUIT,
    };
    if let Err(error) = kill(Pid::from_raw(pid), signal) {
        tracing::debug!(pid, cause = %error, "postmaster not signalled");
    }
}

#[cfg(test)]
mod tests;
