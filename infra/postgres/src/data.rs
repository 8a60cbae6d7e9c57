//! Where the data lies: the folder that was asked for, or, where the server's user cannot reach that,
//! one under the system's temporary folder. Makes folders, the password file and the database cluster.
//!
//! Invariant: `root` belongs to the server's user with mode 700, and `root/data` exists only complete.

use crate::account::Account;
use crate::settings::{Profile, locale};
use crate::{Binaries, Rejected, ServerError};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::{fmt, io};

/// Where a server keeps its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DataFolder {
    /// In this folder (made if missing), for good. Besides the data it holds password, log and lock.
    Kept(PathBuf),
    /// In a new folder under the system's temporary folder, removed with the server; in memory where the
    /// server is to throw away and the system has room for it.
    Temporary,
    /// The same as a copy of one that this process makes once, which is sooner there. All such servers have
    /// one password, the one system identifier by which PostgreSQL tells servers apart, and the binaries and
    /// the profile with which the first of them was asked for.
    Copied,
}

/// Something the caller should tell whoever started it. `Display` is one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// The wanted folder is closed to the server's user.
    Elsewhere {
        /// The folder that was asked for.
        wanted: PathBuf,
        /// The folder that is used.
        used: PathBuf,
        /// The server's user.
        user: String,
    },
    /// The server was running already, on another port than was asked for, and keeps it.
    OtherPort {
        /// The port that was asked for.
        wanted: u16,
        /// The port in use.
        used: u16,
    },
    /// Programs that were found on this machine and will not do.
    PassedOver(Rejected),
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Elsewhere { wanted, used, user } => write!(
                f,
                "PostgreSQL refuses to run as root, and user `{user}` cannot reach {}: using {}",
                wanted.display(),
                used.display()
            ),
            Self::PassedOver(rejected) => write!(f, "not used: {rejected}"),
            Self::OtherPort { wanted, used } => {
                write!(
                    f,
                    "PostgreSQL was running already: it keeps port {used} ({wanted} was asked for)"
                )
            }
        }
    }
}

/// A folder that the server's user owns.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) root: PathBuf,
    pub(crate) account: Account,
    pub(crate) notice: Option<Notice>,
}

impl Place {
    /// The place for a kept folder: `wanted`, or its stand-in under the temporary folder.
    pub(crate) fn of_kept(wanted: &Path) -> Result<Self, ServerError> {
        Self::resolve(wanted, Account::of_data(&wanted.join("data"))?)
    }

    /// `wanted` made ready for `account`, or a folder under the temporary folder named after it.
    pub(crate) fn resolve(wanted: &Path, account: Account) -> Result<Self, ServerError> {
        let wanted =
            std::path::absolute(wanted).map_err(ServerError::io("cannot resolve", wanted))?;
        let parent = wanted.parent().unwrap_or(&wanted);
        if account.can_enter(existing(parent)) {
            std::fs::create_dir_all(parent).map_err(ServerError::io("cannot make", parent))?;
            if account.can_enter(parent) {
                return Self::ready(wanted, account, None);
            }
        }
        let hash: String = Sha256::digest(wanted.as_os_str().as_encoded_bytes())
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let used = temporary_folder(&account, &wanted)?.join(format!("tenantry-{hash}"));
        let notice = Notice::Elsewhere {
            wanted,
            used: used.clone(),
            user: account.name.clone(),
        };
        Self::ready(used, account, Some(notice))
    }

    /// Makes `root` with mode 700 for `account`. One that is there already must be that user's, or be
    /// made so; under the shared temporary folder a stranger's is never taken over.
    fn ready(root: PathBuf, account: Account, notice: Option<Notice>) -> Result<Self, ServerError> {
        match DirBuilder::new().mode(0o700).create(&root) {
            Ok(()) => account.own(&root)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if !account.owns_folder(&root) && notice.is_none() {
                    account.own(&root)?;
                }
                if !account.owns_folder(&root) {
                    return Err(ServerError::ForeignFolder { path: root });
                }
                std::fs::set_permissions(&root, PermissionsExt::from_mode(0o700))
                    .map_err(ServerError::io("cannot close to others", &root))?;
            }
            Err(error) => return Err(ServerError::io("cannot make", &root)(error)),
        }
        Ok(Self {
            root,
            account,
            notice,
        })
    }

    /// The database cluster.
    pub(crate) fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    /// Where the database cluster is made.
    pub(crate) fn unfinished(&self) -> PathBuf {
        self.root.join("data.new")
    }

    /// The log of the current start; that of the start before has `.old` appended.
    pub(crate) fn log(&self) -> PathBuf {
        self.root.join("server.log")
    }

    /// Where the superuser's password is stored.
    pub(crate) fn password_file(&self) -> PathBuf {
        self.root.join("password")
    }

    /// Opens a file to be locked, making it if it is missing.
    pub(crate) fn lock_file(&self, name: &str) -> Result<File, ServerError> {
        let path = self.root.join(name);
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true).mode(0o600);
        options
            .open(&path)
            .map_err(ServerError::io("cannot open", path))
    }

    /// The superuser's password: the stored one, or a new one where there is no data yet.
    pub(crate) fn password(&self) -> Result<SecretString, ServerError> {
        let path = self.password_file();
        match std::fs::read_to_string(&path) {
            Ok(stored) if !stored.is_empty() => Ok(stored.into()),
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(ServerError::io("cannot read", path)(error))
            }
            _ if self.data().exists() => Err(ServerError::Password { path }),
            _ => {
                let fresh = format!(
                    "{:032x}{:032x}",
                    rand::random::<u128>(),
                    rand::random::<u128>()
                );
                self.write(&path, &fresh)?;
                Ok(fresh.into())
            }
        }
    }

    /// Writes a file that only the server's user (and root) can read, whole or not at all.
    pub(crate) fn write(&self, path: &Path, text: &str) -> Result<(), ServerError> {
        let folder = path.parent().unwrap_or(&self.root);
        let refused = || ServerError::io("cannot write", path);
        let mut file = tempfile::NamedTempFile::new_in(folder).map_err(refused())?;
        file.write_all(text.as_bytes()).map_err(refused())?;
        self.account.own(file.path())?;
        file.persist(path).map_err(|error| refused()(error.error))?;
        Ok(())
    }

    /// Makes the cluster if there is none, and checks that these binaries can run the one there is.
    pub(crate) async fn ensure_cluster(
        &self,
        binaries: &Binaries,
        password: &SecretString,
        profile: Profile,
    ) -> Result<(), ServerError> {
        let version_file = self.data().join("PG_VERSION");
        if let Ok(found) = std::fs::read_to_string(&version_file) {
            if found.trim() == binaries.version.major.to_string() {
                return Ok(());
            }
            let found = found.trim().to_owned();
            return Err(ServerError::OtherVersion {
                path: self.data(),
                found,
                have: binaries.version,
            });
        }
        // initdb works in a folder of its own that is renamed when complete: a crash leaves no half of one.
        let unfinished = self.unfinished();
        remove(&unfinished)?;
        let handed_over = self.root.join("password.init");
        self.write(&handed_over, password.expose_secret())?;
        let made = self
            .initdb(binaries, &unfinished, &handed_over, profile)
            .await;
        remove(&handed_over)?;
        made?;
        std::fs::rename(&unfinished, self.data())
            .map_err(ServerError::io("cannot rename", unfinished))
    }

    async fn initdb(
        &self,
        binaries: &Binaries,
        into: &Path,
        password: &Path,
        profile: Profile,
    ) -> Result<(), ServerError> {
        let program = binaries.program("initdb");
        let mut command = tokio::process::Command::from(self.account.command(&program));
        command.arg("-D").arg(into).arg("--pwfile").arg(password);
        command
            .args(["--username=postgres", "--auth=scram-sha-256"])
            .args(locale());
        if profile == Profile::ThrowAway {
            // Small segments: a file of 16 MB for each server is made, copied and filled with nothing.
            command.args(["--no-sync", "--wal-segsize=1"]);
        }
        let output = command
            .kill_on_drop(true)
            .output()
            .await
            .map_err(ServerError::io("cannot run", program))?;
        if output.status.success() {
            return Ok(());
        }
        let stderr = String::from_utf8_lossy(&output.stderr);
        let reason = stderr
            .lines()
            .rev()
            .find(|line| line.contains("error:"))
            .or(stderr.lines().last());
        Err(ServerError::InitDb {
            reason: reason.unwrap_or("no reason given").to_owned(),
        })
    }

    /// Removes the data and the password; folder and lock stay.
    pub(crate) fn clear(&self) -> Result<(), ServerError> {
        [self.data(), self.unfinished(), self.password_file()]
            .iter()
            .try_for_each(|path| remove(path))
    }
}

/// Removes a file or a folder; one that is not there is fine.
pub(crate) fn remove(path: &Path) -> Result<(), ServerError> {
    let removed = if path.is_dir() {
        std::fs::remove_dir_all(path)
    } else {
        std::fs::remove_file(path)
    };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(ServerError::io("cannot remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// The system's temporary folder, or `/tmp` where that one is closed to `account`.
pub(crate) fn temporary_folder(account: &Account, wanted: &Path) -> Result<PathBuf, ServerError> {
    let candidates = [std::env::temp_dir(), PathBuf::from("/tmp")];
    candidates
        .into_iter()
        .find(|folder| account.can_enter(folder))
        .ok_or_else(|| ServerError::Unreachable {
            user: account.name.clone(),
            wanted: wanted.to_owned(),
            fallback: std::env::temp_dir(),
        })
}

/// `path`, or the nearest folder above it that exists.
fn existing(path: &Path) -> &Path {
    path.ancestors()
        .find(|folder| folder.is_dir())
        .unwrap_or(Path::new("/"))
}
