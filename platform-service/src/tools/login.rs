//! How a program of PostgreSQL logs in: a password file that only we can read, and an environment of
//! nothing else.
//!
//! Deliberately no password in an argument or a variable, where others on the machine could read it.
//! Invariants: the file is gone when the program is; its writer holds a lock on it, so what a killed one
//! left is known by anybody.

use std::fs::{File, TryLockError};
use std::io::{self, Write};
use std::path::Path;

use contract::secret::Secret;
use contract::tenant::TlsMode;
use kit::error::Problem;
use tempfile::NamedTempFile;
use tokio::process::Command;

/// Starts the name of every password file.
const PREFIX: &str = "tenantry-pass-";
/// Tries to make a file that no sweep takes for a forgotten one before it is locked.
const MOST_TRIES: usize = 10;
/// How long a program tries to connect, in seconds.
const CONNECT_SECONDS: &str = "10";

/// Nobody's default for the role is to let it in nowhere. What is asked of the catalogs is never worth compiling.
const OPTIONS: &str =
    "-c statement_timeout=0 -c lock_timeout=30s -c local_preload_libraries= -c jit=off";
/// For one that loads: it commits each of its statements, and would wait for the disk each time.
const LOADING: &str = " -c synchronous_commit=off";

/// What a program does in its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Work {
    Dumps,
    /// What it commits is only [kept](super::run::Loaded::kept_by) afterwards.
    Loads,
}

/// Who logs in to which server.
#[derive(Debug, Clone)]
pub(crate) struct ToolLogin {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) user: &'static str,
    pub(crate) password: Secret,
    pub(crate) tls: TlsMode,
}

/// A password file, removed when it is dropped.
#[derive(Debug)]
pub(super) struct Passfile(NamedTempFile);

impl Passfile {
    /// Writes one that only this user can read, and removes what killed processes left.
    pub(super) fn write(folder: &Path, login: &ToolLogin) -> Result<Self, Problem> {
        sweep(folder);
        let mut file = locked(folder).map_err(Problem::internal)?;
        let line = zeroize::Zeroizing::new(format!(
            "*:{}:*:{}:{}\n",
            login.port,
            escaped(login.user),
            escaped(login.password.expose())
        ));
        file.write_all(line.as_bytes()).map_err(Problem::internal)?;
        file.flush().map_err(Problem::internal)?;
        Ok(Self(file))
    }

    /// Lets a program log in with it, and know nothing else of our environment.
    pub(super) fn give(&self, command: &mut Command, login: &ToolLogin, work: Work) {
        let options = match work {
            Work::Dumps => OPTIONS.to_owned(),
            Work::Loads => OPTIONS.to_owned() + LOADING,
        };
        command
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .env("LC_ALL", "C")
            .env("PGHOST", &login.host)
            .env("PGPORT", login.port.to_string())
            .env("PGUSER", login.user)
            .env("PGPASSFILE", self.0.path())
            .env("PGSSLMODE", login.tls.as_str())
            // Not looked for: we log in with a password.
            .env("PGGSSENCMODE", "disable")
            .env("PGAPPNAME", "platform-service")
            .env("PGCONNECT_TIMEOUT", CONNECT_SECONDS)
            .env("PGOPTIONS", options);
        if let Some(roots) = login.tls.roots() {
            command.env("PGSSLROOTCERT", roots);
        }
    }
}

/// A new file that nobody else removes: what is taken for forgotten before it is locked is not used.
fn locked(folder: &Path) -> io::Result<NamedTempFile> {
    for _ in 0..MOST_TRIES {
        let file = tempfile::Builder::new()
            .prefix(PREFIX)
            .tempfile_in(folder)?;
        if file.as_file().try_lock().is_ok() && file.path().exists() {
            return Ok(file);
        }
    }
    Err(io::Error::other("a password file cannot be kept"))
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace(':', "\\:")
}

/// Removes the password files whose writers are no more, which a kill leaves behind.
pub(crate) fn sweep(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(PREFIX)
            && let Err(error) = remove_forgotten(&entry.path())
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(cause = %error, "a forgotten password file cannot be removed");
        }
    }
}

fn remove_forgotten(path: &Path) -> io::Result<()> {
    let file = File::open(path)?;
    match file.try_lock() {
        // The system lets go of a lock when its process ends, however it ends.
        Ok(()) => std::fs::remove_file(path),
        Err(TryLockError::WouldBlock) => Ok(()),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_file_goes_with_its_writer_and_not_before() {
        let folder = tempfile::tempdir().unwrap();
        let login = ToolLogin {
            host: "db.internal".to_owned(),
            port: 5432,
            user: "tn_schema",
            password: Secret::random(),
            tls: TlsMode::Disable,
        };
        let held = Passfile::write(folder.path(), &login).unwrap();
        let left = folder.path().join(format!("{PREFIX}left"));
        std::fs::write(&left, "*:5432:*:tn_schema:secret").unwrap();
        let others = folder.path().join("somebody-elses");
        std::fs::write(&others, "").unwrap();
        sweep(folder.path());
        assert!(held.0.path().exists() && others.exists());
        assert!(!left.exists());
    }
}
