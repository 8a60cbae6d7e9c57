//! The port for objects: long streams of bytes under a path, such as backups and archives.
//!
//! Deliberately no policy: how long an object lives is decided by the callers. Invariants: an object
//! is there as a whole or not at all; its checksum is taken while it is written, and whoever reads it
//! with that checksum learns at its end when a bit of it has changed; no error names more of the
//! store than the path.

mod folder;
mod path;
mod reader;
mod sealing;

use std::io;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::io::AsyncRead;

pub use folder::FolderStore;
pub use path::{InvalidPath, ObjectPath};
pub use reader::ObjectReader;
pub use sealing::{DataKey, InvalidDataKey, open_reader, seal_reader};

/// An object that was written, or that is to be read as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Its length.
    pub size_bytes: u64,
    /// SHA-256 of it.
    pub sha256: [u8; 32],
}

/// An object, as a list shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Where it is.
    pub path: ObjectPath,
    /// Its length.
    pub size_bytes: u64,
    /// When it was written.
    pub modified_at: OffsetDateTime,
}

/// Why an object could not be written, read or removed.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// Nothing has this path.
    #[error("the object store has nothing at {path}")]
    NotFound {
        /// What was asked for.
        path: ObjectPath,
    },
    /// The store has no room.
    #[error("the object store is full")]
    Full,
    /// The store cannot be reached or fails: the same call may succeed later.
    #[error("the object store is not available: {0}")]
    Unavailable(#[source] io::Error),
    /// The store refuses the call: rights or settings. A repeat will not help.
    #[error("the object store refused: {0}")]
    Refused(#[source] io::Error),
    /// What is read is not what was written.
    #[error("the object {path} is damaged: {what}")]
    Corrupt {
        /// Which one.
        path: ObjectPath,
        /// What is wrong with it.
        what: &'static str,
    },
    /// What was to be written could not be read.
    #[error("what was to be stored could not be read: {0}")]
    Body(#[source] io::Error),
}

impl ObjectError {
    /// Whether the same call may succeed later, when there is room or the store is back.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Full | Self::Unavailable(_))
    }

    /// The error of ours that a stream of ours failed with, or else the stream's.
    pub fn of(error: io::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(ours) => ours,
            Err(error) => from_io(error),
        }
    }
}

impl From<ObjectError> for io::Error {
    fn from(error: ObjectError) -> Self {
        let kind = match error {
            ObjectError::NotFound { .. } => io::ErrorKind::NotFound,
            ObjectError::Corrupt { .. } => io::ErrorKind::InvalidData,
            _ => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

/// What a failure of a file system means.
fn from_io(error: io::Error) -> ObjectError {
    match error.kind() {
        // A limit on the size of files is a lack of room as well.
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            ObjectError::Full
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            ObjectError::Refused(error)
        }
        _ => ObjectError::Unavailable(error),
    }
}

/// Where objects are kept; which one is configuration.
#[derive(Debug, Clone)]
pub enum ObjectStore {
    /// A folder of a file system.
    Folder(FolderStore),
}

impl ObjectStore {
    /// Writes an object, or writes it anew: nobody ever sees a part of it. Dropped midway, it leaves
    /// nothing, or what [`ObjectStore::tidy`] removes.
    pub async fn put(
        &self,
        path: &ObjectPath,
        body: impl AsyncRead + Send + Unpin,
    ) -> Result<Stored, ObjectError> {
        match self {
            Self::Folder(store) => store.put(path, body).await,
        }
    }

    /// Reads an object.
    pub async fn get(&self, path: &ObjectPath) -> Result<ObjectReader, ObjectError> {
        match self {
            Self::Folder(store) => store.get(path).await,
        }
    }

    /// Removes an object; nothing there is success.
    pub async fn delete(&self, path: &ObjectPath) -> Result<(), ObjectError> {
        match self {
            Self::Folder(store) => store.delete(path).await,
        }
    }

    /// Removes every object in a folder and beneath it; gives how many there were.
    pub async fn delete_prefix(&self, prefix: &ObjectPath) -> Result<u64, ObjectError> {
        match self {
            Self::Folder(store) => store.delete_prefix(prefix).await,
        }
    }

    /// Every object in a folder and beneath it, in the order of their paths.
    pub async fn list(&self, prefix: &ObjectPath) -> Result<Vec<ObjectInfo>, ObjectError> {
        match self {
            Self::Folder(store) => store.list(prefix).await,
        }
    }

    /// Removes what writers that were killed this long ago have left; gives how much there was.
    pub async fn tidy(&self, age: Duration) -> Result<u64, ObjectError> {
        match self {
            Self::Folder(store) => store.tidy(age).await,
        }
    }
}
