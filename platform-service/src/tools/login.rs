//! How a program of PostgreSQL logs in: a password file that only we can read, and an environment of
//! nothing else.
//!
//! Deliberately no password in an argument or a variable, where others on the machine could read it.
//! Invariant: the file is gone when the program is.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, SystemTime};

use contract::secret::Secret;
use contract::tenant::TlsMode;
use kit::error::Problem;
use tempfile::NamedTempFile;
use tokio::process::Command;

/// Starts the name of every password file.
const PREFIX: &str = "tenantry-pass-";
/// A password file this old is one of a process that was killed.
const FORGOTTEN: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a program tries to connect, in seconds.
const CONNECT_SECONDS: &str = "10";
/// Where systems keep the certificates that they trust.
const ROOTS: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

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
        remove_forgotten(folder);
        let mut file = tempfile::Builder::new()
            .prefix(PREFIX)
            .tempfile_in(folder)
            .map_err(Problem::internal)?;
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
    pub(super) fn give(&self, command: &mut Command, login: &ToolLogin) {
        command
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .env("LC_ALL", "C")
            .env("PGHOST", &login.host)
            .env("PGPORT", login.port.to_string())
            .env("PGUSER", login.user)
            .env("PGPASSFILE", self.0.path())
            .env("PGSSLMODE", login.tls.as_str())
            .env("PGAPPNAME", "platform-service")
            .env("PGCONNECT_TIMEOUT", CONNECT_SECONDS)
            .env("PGOPTIONS", "-c statement_timeout=0 -c lock_timeout=30s");
        if login.tls == TlsMode::VerifyFull
            && let Some(roots) = roots()
        {
            command.env("PGSSLROOTCERT", roots);
        }
    }
}

/// The file of trusted certificates, which libpq does not look for by itself.
fn roots() -> Option<std::ffi::OsString> {
    std::env::var_os("SSL_CERT_FILE").or_else(|| {
        let found = ROOTS.iter().find(|path| Path::new(path).is_file());
        found.map(Into::into)
    })
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace(':', "\\:")
}

fn remove_forgotten(folder: &Path) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    let now = SystemTime::now();
    for entry in entries.flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let age = entry
            .metadata()
            .and_then(|file| file.modified())
            .ok()
            .and_then(|written| now.duration_since(written).ok());
        if age.is_some_and(|age| age > FORGOTTEN)
            && let Err(error) = std::fs::remove_file(entry.path())
        {
            tracing::warn!(error = %error, "a forgotten password file cannot be removed");
        }
    }
}
