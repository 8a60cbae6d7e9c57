//! The folder of the local installation: who uses it now, what it announced, its files.
//!
//! Deliberately outside of version control and of the build's folder. Invariants: one process uses
//! the folder at a time, held by a lock that ends with it however it ends; files that hold secrets
//! are readable by their owner alone.

use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::arguments::Arguments;

/// Of an installation on a server of our own.
const OWN: &str = "local";

/// The folder of one installation.
#[derive(Debug)]
pub(crate) struct Folder {
    root: PathBuf,
    installation: PathBuf,
}

/// The right to use a folder, until it is dropped or the process ends.
#[derive(Debug)]
pub(crate) struct Claim {
    _lock: File,
}

/// Who has a folder.
pub(crate) enum Claimed {
    /// We do.
    Ours(Claim),
    /// Another process, by its id where that can be read.
    Others(String),
}

impl Folder {
    /// The folder that the arguments mean, made if it is missing. An installation on an existing
    /// server, named by `server`, has a folder of its own.
    pub(crate) fn open(arguments: &Arguments, server: Option<&str>) -> anyhow::Result<Self> {
        let root = root(arguments)?;
        let name = server.map_or_else(|| OWN.to_owned(), |server| format!("at-{server}"));
        let installation = root.join(name);
        std::fs::create_dir_all(&root).with_context(|| root.display().to_string())?;
        make_private(&installation)?;
        Ok(Self { root, installation })
    }

    /// Where the server of our own keeps its data.
    pub(crate) fn postgres(&self) -> PathBuf {
        self.root.join("postgres")
    }

    /// The secrets of the installation.
    pub(crate) fn credentials(&self) -> PathBuf {
        self.installation.join("credentials.json")
    }

    /// What the services log.
    pub(crate) fn log(&self) -> PathBuf {
        self.installation.join("log")
    }

    /// Backups and archives of tenants.
    pub(crate) fn objects(&self) -> PathBuf {
        self.installation.join("objects")
    }

    /// There once the demo tenants are complete.
    pub(crate) fn seeded(&self) -> PathBuf {
        self.installation.join("seeded")
    }

    /// Tokens of tenants that let nobody log in.
    pub(crate) fn gates(&self) -> PathBuf {
        self.installation.join("gates")
    }

    /// What the running stack announced.
    fn info(&self) -> PathBuf {
        self.installation.join("info")
    }

    /// Takes the folder, unless another process has it.
    pub(crate) fn claim(&self) -> anyhow::Result<Claimed> {
        let path = self.installation.join("lock");
        let mut lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .with_context(|| path.display().to_string())?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Ok(Claimed::Others(
                    io::read_to_string(&mut lock)?.trim().to_owned(),
                ));
            }
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| path.display().to_string())?;
            }
        }
        lock.set_len(0)?;
        write!(lock, "{}", std::process::id())?;
        self.retract()?;
        Ok(Claimed::Ours(Claim { _lock: lock }))
    }

    /// Removes everything but the lock, which is ours.
    pub(crate) fn clear(&self) -> anyhow::Result<()> {
        [self.credentials(), self.seeded(), self.log(), self.info()]
            .iter()
            .try_for_each(|path| remove(path))?;
        for folder in [self.objects(), self.gates()] {
            match std::fs::remove_dir_all(&folder) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    Err(error).with_context(|| folder.display().to_string())?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Keeps what was announced, for a second start; it names passwords.
    pub(crate) fn publish(&self, text: &str) -> anyhow::Result<()> {
        write_private(&self.info(), text)
    }

    /// Takes back what was announced.
    pub(crate) fn retract(&self) -> anyhow::Result<()> {
        remove(&self.info())
    }

    /// What the running stack announced; none while it starts.
    pub(crate) fn published(&self) -> anyhow::Result<Option<String>> {
        read(&self.info())
    }

    /// A new log; the one of the run before is kept beside it.
    pub(crate) fn new_log(&self) -> anyhow::Result<File> {
        new_log(&self.log())
    }

    /// A new log of a tour, which may run beside the stack.
    pub(crate) fn new_tour_log(&self) -> anyhow::Result<File> {
        new_log(&self.installation.join("tour-log"))
    }
}

fn new_log(path: &Path) -> anyhow::Result<File> {
    if path.exists() {
        std::fs::rename(path, path.with_extension("before"))?;
    }
    File::create(path).with_context(|| path.display().to_string())
}

/// Makes a folder that its owner alone can enter.
pub(crate) fn make_private(folder: &Path) -> anyhow::Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(error).with_context(|| folder.display().to_string())
        }
        _ => std::fs::set_permissions(folder, Permissions::from_mode(0o700))
            .with_context(|| folder.display().to_string()),
    }
}

/// The text of a file, none where it is missing.
pub(crate) fn read(path: &Path) -> anyhow::Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

/// Writes a file that its owner alone can read, whole or not at all.
pub(crate) fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    // Made with mode 600.
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(path)
        .with_context(|| path.display().to_string())?;
    Ok(())
}

fn remove(path: &Path) -> anyhow::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| path.display().to_string())
        }
        _ => Ok(()),
    }
}

/// `.data` of the work tree: cargo says where this package is; a program that was copied elsewhere
/// uses the folder that it is started in, or the work tree around that.
fn root(arguments: &Arguments) -> anyhow::Result<PathBuf> {
    if let Some(data) = &arguments.data {
        return Ok(std::path::absolute(data)?);
    }
    let start = match std::env::var_os("CARGO_MANIFEST_DIR") {
        Some(package) => PathBuf::from(package),
        None => std::env::current_dir()?,
    };
    let tree = start
        .ancestors()
        .find(|folder| folder.join("infra/local").is_dir());
    Ok(tree.unwrap_or(&start).join(".data"))
}

#[cfg(test)]
mod tests {
    use super::{Claimed, Folder};
    use crate::arguments::Arguments;
    use clap::Parser as _;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn one_process_has_a_folder_and_the_next_one_sees_who_and_what() {
        let root = tempfile::tempdir().unwrap();
        let data = root.path().join("data");
        let arguments = Arguments::parse_from(["up", "--data", data.to_str().unwrap()]);
        let folder = Folder::open(&arguments, None).unwrap();
        let Claimed::Ours(claim) = folder.claim().unwrap() else {
            panic!("it is free")
        };
        assert_eq!(folder.published().unwrap(), None);
        folder.publish("addresses").unwrap();
        let mode = std::fs::metadata(folder.info())
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);

        let second = Folder::open(&arguments, None).unwrap();
        let Claimed::Others(process) = second.claim().unwrap() else {
            panic!("it is taken")
        };
        assert_eq!(process, std::process::id().to_string());
        assert_eq!(second.published().unwrap().as_deref(), Some("addresses"));

        drop(claim);
        assert!(matches!(second.claim().unwrap(), Claimed::Ours(_)));
        assert_eq!(second.published().unwrap(), None);
    }
}
