//! Objects as files of a folder.
//!
//! Deliberately plain files at plain paths, which any tool can copy and list. Invariants: a file gets
//! its name only when all of it is on the disk, and the name is on the disk before the write counts;
//! folders and files are for this user alone.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use tokio::fs::{self, File};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use super::{ObjectError, ObjectInfo, ObjectPath, ObjectReader, Stored, from_io};

/// Bytes that are read and written at once.
const CHUNK: usize = 256 * 1024;
/// Ends the name of a file that is being written.
const PART: &str = ".part";

/// A folder that holds objects.
#[derive(Debug, Clone)]
pub struct FolderStore {
    root: PathBuf,
}

impl FolderStore {
    /// Objects in this folder, which is made with the first one.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    fn file(&self, path: &ObjectPath) -> PathBuf {
        self.root.join(path.as_str())
    }

    pub(super) async fn put(
        &self,
        path: &ObjectPath,
        mut body: impl AsyncRead + Send + Unpin,
    ) -> Result<Stored, ObjectError> {
        let (folder, name) = path.split_last();
        let folder = folder.map_or_else(|| self.root.clone(), |folder| self.root.join(folder));
        make_folders(&folder).await.map_err(from_io)?;
        let part = Part(folder.join(format!(".{name}.{:016x}{PART}", rand::random::<u64>())));
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        options.mode(0o600);
        let mut file = options.open(&part.0).await.map_err(from_io)?;
        let stored = copy(&mut body, &mut file).await?;
        file.sync_all().await.map_err(from_io)?;
        drop(file);
        fs::rename(&part.0, self.file(path))
            .await
            .map_err(from_io)?;
        let folder = File::open(&folder).await.map_err(from_io)?;
        folder.sync_all().await.map_err(from_io)?;
        Ok(stored)
    }

    pub(super) async fn get(&self, path: &ObjectPath) -> Result<ObjectReader, ObjectError> {
        let missing = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                ObjectError::NotFound { path: path.clone() }
            }
            _ => from_io(error),
        };
        let file = File::open(self.file(path)).await.map_err(missing)?;
        let about = file.metadata().await.map_err(from_io)?;
        if !about.is_file() {
            return Err(ObjectError::NotFound { path: path.clone() });
        }
        Ok(ObjectReader::new(path.clone(), about.len(), file))
    }

    pub(super) async fn delete(&self, path: &ObjectPath) -> Result<(), ObjectError> {
        match fs::remove_file(self.file(path)).await {
            Err(error) if !is_missing(&error) => Err(from_io(error)),
            _ => Ok(()),
        }
    }

    pub(super) async fn delete_prefix(&self, prefix: &ObjectPath) -> Result<u64, ObjectError> {
        let objects = self.list(prefix).await?;
        match fs::remove_dir_all(self.file(prefix)).await {
            Err(error) if !is_missing(&error) => Err(from_io(error)),
            _ => u64::try_from(objects.len()).map_err(|error| from_io(io::Error::other(error))),
        }
    }

    pub(super) async fn list(&self, prefix: &ObjectPath) -> Result<Vec<ObjectInfo>, ObjectError> {
        let mut objects = Vec::new();
        for file in files(self.file(prefix)).await.map_err(from_io)? {
            let path = file.path.strip_prefix(&self.root).ok();
            // What is not called like an object is none of ours, or is still being written.
            if let Some(Ok(path)) = path.and_then(Path::to_str).map(str::parse::<ObjectPath>) {
                objects.push(ObjectInfo {
                    path,
                    size_bytes: file.size_bytes,
                    modified_at: OffsetDateTime::from(file.modified),
                });
            }
        }
        objects.sort_by(|one, other| one.path.cmp(&other.path));
        Ok(objects)
    }

    pub(super) async fn tidy(&self, age: Duration) -> Result<u64, ObjectError> {
        let now = SystemTime::now();
        let mut removed = 0;
        for file in files(self.root.clone()).await.map_err(from_io)? {
            let name = file.path.file_name().and_then(|name| name.to_str());
            let is_part = name.is_some_and(|name| name.starts_with('.') && name.ends_with(PART));
            let old = now
                .duration_since(file.modified)
                .is_ok_and(|since| since >= age);
            if is_part && old {
                match fs::remove_file(&file.path).await {
                    Err(error) if !is_missing(&error) => return Err(from_io(error)),
                    _ => removed += 1,
                }
            }
        }
        Ok(removed)
    }
}

/// A file that is being written, removed unless it got its name.
struct Part(PathBuf);

impl Drop for Part {
    fn drop(&mut self) {
        // Not there any more when it was renamed; what cannot be removed is tidied up later.
        let _ = std::fs::remove_file(&self.0);
    }
}

struct Found {
    path: PathBuf,
    size_bytes: u64,
    modified: SystemTime,
}

/// The files in a folder and beneath it; none where there is no folder.
async fn files(folder: PathBuf) -> io::Result<Vec<Found>> {
    let mut found = Vec::new();
    let mut folders = vec![folder];
    while let Some(folder) = folders.pop() {
        let mut entries = match fs::read_dir(&folder).await {
            Ok(entries) => entries,
            // Removed meanwhile, or never made.
            Err(error) if is_missing(&error) => continue,
            Err(error) => return Err(error),
        };
        while let Some(entry) = entries.next_entry().await? {
            let about = match entry.metadata().await {
                Ok(about) => about,
                Err(error) if is_missing(&error) => continue,
                Err(error) => return Err(error),
            };
            if about.is_dir() {
                folders.push(entry.path());
            } else if about.is_file() {
                found.push(Found {
                    path: entry.path(),
                    size_bytes: about.len(),
                    modified: about.modified()?,
                });
            }
        }
    }
    Ok(found)
}

fn is_missing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

async fn make_folders(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    builder.mode(0o700);
    builder.create(folder).await
}

async fn copy(
    body: &mut (impl AsyncRead + Send + Unpin),
    file: &mut File,
) -> Result<Stored, ObjectError> {
    let mut hash = Sha256::new();
    let mut size_bytes = 0;
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = body.read(&mut chunk).await.map_err(ObjectError::Body)?;
        if read == 0 {
            break;
        }
        hash.update(&chunk[..read]);
        file.write_all(&chunk[..read]).await.map_err(from_io)?;
        size_bytes +=
            u64::try_from(read).map_err(|error| ObjectError::Body(io::Error::other(error)))?;
    }
    file.flush().await.map_err(from_io)?;
    Ok(Stored {
        size_bytes,
        sha256: hash.finalize().into(),
    })
}
