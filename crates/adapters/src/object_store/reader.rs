//! A stream that takes the checksum of what passes, and one that holds it against the known one.
//!
//! Deliberately without a buffer: what is read is handed on at once, so only the end of the stream
//! says whether it was whole. Invariant: a damaged object never ends without an error.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use sha2::{Digest, Sha256};
use tokio::io::{AsyncRead, ReadBuf};

use super::{ObjectError, ObjectPath, Stored};

/// An object that is being read.
pub struct ObjectReader {
    path: ObjectPath,
    body: Box<dyn AsyncRead + Send + Unpin>,
    size_bytes: u64,
    check: Option<Check>,
}

struct Check {
    expected: Stored,
    seen_bytes: u64,
    hash: Sha256,
}

impl ObjectReader {
    pub(super) fn new(
        path: ObjectPath,
        size_bytes: u64,
        body: impl AsyncRead + Send + Unpin + 'static,
    ) -> Self {
        Self {
            path,
            body: Box::new(body),
            size_bytes,
            check: None,
        }
    }

    /// Its length, as the store says.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// The same, with an error instead of its end where it is not what was written.
    ///
    /// # Errors
    /// Its length is another one already.
    pub fn expecting(mut self, expected: Stored) -> Result<Self, ObjectError> {
        if self.size_bytes != expected.size_bytes {
            return Err(corrupt(&self.path, "its size is not the recorded one"));
        }
        self.check = Some(Check {
            expected,
            seen_bytes: 0,
            hash: Sha256::new(),
        });
        Ok(self)
    }
}

impl fmt::Debug for ObjectReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectReader")
            .field("path", &self.path)
            .field("size_bytes", &self.size_bytes)
            .finish_non_exhaustive()
    }
}

fn corrupt(path: &ObjectPath, what: &'static str) -> ObjectError {
    ObjectError::Corrupt {
        path: path.clone(),
        what,
    }
}

impl AsyncRead for ObjectReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.body).poll_read(context, buffer));
        read.map_err(|error| io::Error::from(super::from_io(error)))?;
        let Self { path, check, .. } = &mut *self;
        let Some(check) = check else {
            return Poll::Ready(Ok(()));
        };
        let new = &buffer.filled()[before..];
        if new.is_empty() {
            let seen = Stored {
                size_bytes: check.seen_bytes,
                sha256: check.hash.clone().finalize().into(),
            };
            if seen != check.expected {
                let what = "its SHA-256 checksum is not the recorded one";
                return Poll::Ready(Err(corrupt(path, what).into()));
            }
        } else {
            check.hash.update(new);
            check.seen_bytes += u64::try_from(new.len()).map_err(io::Error::other)?;
        }
        Poll::Ready(Ok(()))
    }
}
