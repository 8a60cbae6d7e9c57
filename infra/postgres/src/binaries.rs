//! Finds PostgreSQL's programs on this machine, or downloads them. Starts no server.
//!
//! Invariant: what is returned is version [`OLDEST`] or newer, has `postgres` and `initdb`, and can be
//! run by the user that will run the server.

use crate::ServerError;
use crate::account::Account;
use crate::data::{Notice, Place};
use std::collections::HashMap;
use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use tokio::sync::OnceCell;

/// The oldest major version that counts as found.
pub const OLDEST: u16 = 15;

/// A download that takes longer has failed.
const FETCH_DEADLINE: Duration = Duration::from_secs(300);

/// Where releases are downloaded to: the folder of this work tree that is not committed.
const DOWNLOADS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../.data/postgresql");

/// Where releases are downloaded from.
const RELEASES: &str = "https://github.com/theseus-rs/postgresql-binaries";

/// Folders whose children may hold an installation: parent, start of the child's name, path of the programs in it.
const SYSTEM_FOLDERS: [(&str, &str, &str); 14] = [
    ("/usr/lib/postgresql", "", "bin"),
    ("/usr", "pgsql-", "bin"),
    ("/usr/local", "pgsql", "bin"),
    ("/usr/local", "postgresql", "bin"),
    ("/usr/lib", "postgresql", "bin"),
    ("/usr/libexec", "postgresql", ""),
    ("/usr", "bin", ""),
    ("/usr/local", "bin", ""),
    ("/opt", "postgresql", "bin"),
    ("/opt/homebrew/opt", "postgresql", "bin"),
    ("/usr/local/opt", "postgresql", "bin"),
    ("/home/linuxbrew/.linuxbrew/opt", "postgresql", "bin"),
    ("/Applications/Postgres.app/Contents/Versions", "", "bin"),
    ("/opt/local/lib", "postgresql", "bin"),
];

/// A version of PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Major, e.g. 15.
    pub major: u16,
    /// Minor, 0 for a pre-release.
    pub minor: u16,
}

impl Version {
    /// Reads the answer of `postgres --version`, e.g. `postgres (PostgreSQL) 15.18 (Debian 15.18-1)`.
    pub(crate) fn parse(answer: &str) -> Option<Self> {
        let (_, rest) = answer.split_once("(PostgreSQL)")?;
        let mut numbers = rest
            .split_whitespace()
            .next()?
            .split(|c: char| !c.is_ascii_digit());
        let major = numbers.next()?.parse().ok()?;
        let minor = numbers.next().unwrap_or_default().parse().unwrap_or(0);
        // `18beta1` splits into 18 and 1 as well, but has no dot: it is the zeroth minor.
        let minor = if rest.contains(&format!("{major}.")) {
            minor
        } else {
            0
        };
        Some(Self { major, minor })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// A folder that was looked at and will not do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// The folder.
    pub bin_dir: PathBuf,
    /// Why, to be read after "which".
    pub why: String,
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.bin_dir.display(), self.why)
    }
}

/// Why there are no usable programs. One line each.
#[derive(Debug, thiserror::Error)]
pub enum FindError {
    /// The folder that was set explicitly is unusable; no other was tried.
    #[error("the PostgreSQL folder that is set, {}, {}; set a `bin` folder of PostgreSQL {OLDEST} or newer", .0.bin_dir.display(), .0.why)]
    Setting(Rejected),
    /// Nothing usable on this machine.
    #[error(
        "no PostgreSQL {OLDEST} or newer found{}; install it (`apt install postgresql`, `dnf install postgresql-server`, `brew install postgresql@17`) or set the path of its `bin` folder", listed(.0)
    )]
    NotFound(Vec<Rejected>),
    /// Nothing usable on this machine, and the download failed.
    #[error("{missing}; downloading it from {} failed too: {why}", RELEASES)]
    Fetch {
        /// What was found missing.
        missing: Box<FindError>,
        /// Why the download failed.
        why: String,
    },
    /// There is nobody who could run it.
    #[error(transparent)]
    Account(#[from] ServerError),
}

fn listed(rejected: &[Rejected]) -> String {
    if rejected.is_empty() {
        return String::new();
    }
    let each: Vec<_> = rejected.iter().map(ToString::to_string).collect();
    format!(" ({})", each.join("; "))
}

/// How programs were come by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// They lie where everybody looks.
    Usual,
    /// Their folder was named.
    Named,
    /// They were downloaded.
    Downloaded,
}

/// The programs of one installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    origin: Origin,
    /// The folder that holds `postgres` and `initdb`.
    pub bin_dir: PathBuf,
    /// Their version.
    pub version: Version,
}

impl Binaries {
    /// Finds the programs: `setting` alone if given, else what `pg_config --bindir` names, else the
    /// newest of the usual system folders.
    ///
    /// # Errors
    /// [`FindError::Setting`] or [`FindError::NotFound`], which names what was too old.
    pub fn find(setting: Option<&Path>) -> Result<Self, FindError> {
        Self::find_telling(setting).map(|(found, _)| found)
    }

    /// [`Binaries::find`], with what was found besides and will not do.
    fn find_telling(setting: Option<&Path>) -> Result<(Self, Vec<Notice>), FindError> {
        let account = Account::of_server()?;
        if let Some(bin_dir) = setting {
            let found = probe(&account, bin_dir, Origin::Named).map_err(FindError::Setting)?;
            return Ok((found, Vec::new()));
        }
        let mut rejected = Vec::new();
        if let Some(bin_dir) = pg_config() {
            match probe(&account, &bin_dir, Origin::Usual) {
                Ok(found) => return Ok((found, Vec::new())),
                Err(one) => rejected.push(one),
            }
        }
        let mut folders = system_folders();
        folders.retain(|folder| rejected.iter().all(|one| one.bin_dir != *folder));
        let probed = folders
            .iter()
            .map(|dir| probe(&account, dir, Origin::Usual))
            .collect();
        let (found, rejected) = newest(probed, rejected)?;
        Ok((found, passed_over(rejected)))
    }

    /// What this work tree runs for itself, its tests and its benchmark: [`Binaries::find_or_fetch`] with
    /// nothing set, asked once in a process.
    ///
    /// # Errors
    /// Like [`Binaries::find_or_fetch`].
    pub async fn of_workspace() -> Result<Self, FindError> {
        static FOUND: OnceCell<Binaries> = OnceCell::const_new();
        let found = FOUND.get_or_try_init(|| async {
            let (found, _) = Self::find_or_fetch(None).await?;
            Ok(found)
        });
        found.await.cloned()
    }

    /// [`Binaries::find`]; where nothing is found and nothing was set, the programs of an earlier
    /// download into the work tree's `.data`, or a new download. The notices name what was found and
    /// will not do.
    ///
    /// # Errors
    /// Like [`Binaries::find`], or [`FindError::Fetch`] when nothing could be downloaded within five minutes.
    pub async fn find_or_fetch(setting: Option<&Path>) -> Result<(Self, Vec<Notice>), FindError> {
        match Self::find_telling(setting) {
            Err(FindError::NotFound(rejected)) => {
                Self::fetch_instead(rejected, Path::new(DOWNLOADS)).await
            }
            other => other,
        }
    }

    /// A download, where all that was found was rejected.
    async fn fetch_instead(
        rejected: Vec<Rejected>,
        into: &Path,
    ) -> Result<(Self, Vec<Notice>), FindError> {
        match Self::fetch(into).await {
            Ok((fetched, elsewhere)) => {
                let mut notices = passed_over(rejected);
                notices.extend(elsewhere);
                Ok((fetched, notices))
            }
            Err(why) => Err(FindError::Fetch {
                missing: Box::new(FindError::NotFound(rejected)),
                why,
            }),
        }
    }

    /// Downloads a release into a folder that the server's user can reach, unless it is there already or
    /// another process just put it there.
    async fn fetch(into: &Path) -> Result<(Self, Option<Notice>), String> {
        let account = Account::of_server().map_err(|e| e.to_string())?;
        let place = Place::resolve(into, account).map_err(|e| e.to_string())?;
        let _turn = turn(&place).await?;
        let probed = children(&place.root, "", "bin")
            .iter()
            .map(|dir| probe(&place.account, dir, Origin::Downloaded))
            .collect();
        if let Ok((earlier, _)) = newest(probed, Vec::new()) {
            return Ok((earlier, place.notice));
        }
        // `setup` installs, then runs initdb unless its data folder looks ready; initdb is ours to run.
        let decoy = tempfile::tempdir().map_err(|e| e.to_string())?;
        std::fs::write(decoy.path().join("postgresql.conf"), "").map_err(|e| e.to_string())?;
        let mut release =
            postgresql_embedded::PostgreSQL::new(release_settings(&place.root, decoy.path()));
        tokio::time::timeout(FETCH_DEADLINE, release.setup())
            .await
            .map_err(|_| format!("not done after {} s", FETCH_DEADLINE.as_secs()))?
            .map_err(|e| root_cause(&e))?;
        let installed = &release.settings().installation_dir;
        std::fs::set_permissions(installed, PermissionsExt::from_mode(0o755))
            .map_err(|e| e.to_string())?;
        let found = probe(&place.account, &installed.join("bin"), Origin::Downloaded)
            .map_err(|one| one.to_string())?;
        Ok((found, place.notice))
    }

    /// Their folder, where whoever looks in the usual places does not find it and has to be told.
    pub fn unusual(&self) -> Option<&Path> {
        match self.origin {
            Origin::Usual => None,
            Origin::Named | Origin::Downloaded => Some(&self.bin_dir),
        }
    }

    /// Path of one program.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.bin_dir.join(name)
    }
}

/// Keeps other processes from downloading into the same folder. The system frees it when its holder ends.
async fn turn(place: &Place) -> Result<File, String> {
    let file = place.lock_file("lock").map_err(|e| e.to_string())?;
    tokio::task::spawn_blocking(move || file.lock().map(|()| file))
        .await
        .map_err(|e| e.to_string())?
        .map_err(|e| e.to_string())
}

/// Every field is named: the crate's defaults make temporary folders and leave them.
fn release_settings(into: &Path, decoy: &Path) -> postgresql_embedded::Settings {
    postgresql_embedded::Settings {
        releases_url: RELEASES.to_owned(),
        version: postgresql_embedded::V17.clone(),
        installation_dir: into.to_owned(),
        password_file: decoy.join("password"),
        data_dir: decoy.to_owned(),
        host: "127.0.0.1".to_owned(),
        port: 0,
        username: "postgres".to_owned(),
        password: String::new(),
        temporary: false,
        timeout: Some(FETCH_DEADLINE),
        configuration: HashMap::new(),
        trust_installation_dir: false,
        socket_dir: None,
    }
}

/// The innermost cause, on one line.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string().replace('\n', " ")
}

fn passed_over(rejected: Vec<Rejected>) -> Vec<Notice> {
    rejected.into_iter().map(Notice::PassedOver).collect()
}

/// The newest usable candidate and what was rejected besides, or everything that was rejected.
pub(crate) fn newest(
    probed: Vec<Result<Binaries, Rejected>>,
    mut rejected: Vec<Rejected>,
) -> Result<(Binaries, Vec<Rejected>), FindError> {
    let mut best: Option<Binaries> = None;
    for one in probed {
        match one {
            Ok(found) if best.as_ref().is_none_or(|b| found.version > b.version) => {
                best = Some(found)
            }
            Ok(_) => {}
            Err(one) => rejected.push(one),
        }
    }
    match best {
        Some(best) => Ok((best, rejected)),
        None => Err(FindError::NotFound(rejected)),
    }
}

/// Looks at one folder, as the user that will run the server.
fn probe(account: &Account, bin_dir: &Path, origin: Origin) -> Result<Binaries, Rejected> {
    let reject = |why: String| Rejected {
        bin_dir: bin_dir.to_owned(),
        why,
    };
    if let Some(name) = ["postgres", "initdb"]
        .into_iter()
        .find(|name| !bin_dir.join(name).is_file())
    {
        return Err(reject(format!("has no `{name}`")));
    }
    let output = account
        .command(&bin_dir.join("postgres"))
        .arg("--version")
        .output()
        .map_err(|error| reject(format!("cannot be run by user `{}`: {error}", account.name)))?;
    let answer = String::from_utf8_lossy(&output.stdout);
    match Version::parse(&answer) {
        Some(version) if version.major < OLDEST => Err(reject(format!(
            "is PostgreSQL {version}, which is older than {OLDEST}"
        ))),
        Some(version) => Ok(Binaries {
            origin,
            bin_dir: bin_dir.to_owned(),
            version,
        }),
        None => Err(reject("does not tell its version".to_owned())),
    }
}

fn pg_config() -> Option<PathBuf> {
    let output = Command::new("pg_config")
        .arg("--bindir")
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let path = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !path.trim().is_empty()).then(|| PathBuf::from(path.trim()))
}

/// The usual folders that are there and hold a `postgres`.
fn system_folders() -> Vec<PathBuf> {
    SYSTEM_FOLDERS
        .iter()
        .flat_map(|(parent, prefix, bin)| children(Path::new(parent), prefix, bin))
        .filter(|folder| folder.join("postgres").is_file())
        .collect()
}

fn children(parent: &Path, prefix: &str, bin: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name());
    let fits = |name: &OsString| name.to_string_lossy().starts_with(prefix);
    names
        .filter(fits)
        .map(|name| parent.join(name).join(bin))
        .collect()
}

#[cfg(test)]
mod tests;
