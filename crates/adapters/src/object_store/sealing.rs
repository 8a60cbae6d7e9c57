//! Objects that only one tenant's key opens: a stream of AEAD chunks.
//!
//! Deliberately apart from the stores: they keep bytes. Invariant: truncation, reordering, a changed
//! bit, another key and another path all end in an error, and nothing of a chunk is handed on before
//! all of it has proven genuine.
//!
//! Format: `TNOB1`, 7 random bytes, then chunks of at most 64 KiB of data and their 16-byte tag, by
//! AES-256-GCM. The nonce is the 7 bytes, the chunk's number in 4 bytes and 1 for the last chunk, so a
//! stream that was cut short has no last chunk. The format and the path are authenticated with each.

use std::fmt;
use std::io;

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Key, Nonce};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use contract::secret::Secret;
use futures::stream::{self, Stream};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio_util::bytes::Bytes;
use tokio_util::io::StreamReader;
use zeroize::Zeroizing;

use super::{ObjectError, ObjectPath};

const MAGIC: &[u8; 5] = b"TNOB1";
const PREFIX_BYTES: usize = 7;
const HEADER_BYTES: usize = MAGIC.len() + PREFIX_BYTES;
const KEY_BYTES: usize = 32;
const TAG_BYTES: usize = 16;
const CHUNK: usize = 64 * 1024;

/// A key of 256 random bits that encrypts a tenant's objects.
pub struct DataKey(Zeroizing<[u8; KEY_BYTES]>);

/// A text that is no key. Never repeats the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a data key is the base64 of {KEY_BYTES} bytes")]
pub struct InvalidDataKey;

impl DataKey {
    /// A new key.
    pub fn random() -> Self {
        Self(Zeroizing::new(rand::random()))
    }

    /// Reads what [`DataKey::to_secret`] wrote.
    ///
    /// # Errors
    /// It is something else.
    pub fn parse(secret: &Secret) -> Result<Self, InvalidDataKey> {
        let bytes = STANDARD
            .decode(secret.expose())
            .map(Zeroizing::new)
            .map_err(|_| InvalidDataKey)?;
        let key = <[u8; KEY_BYTES]>::try_from(bytes.as_slice()).map_err(|_| InvalidDataKey)?;
        Ok(Self(Zeroizing::new(key)))
    }

    /// The text of the key, to be sealed.
    pub fn to_secret(&self) -> Secret {
        Secret::new(STANDARD.encode(self.0.as_slice()))
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKey(..)")
    }
}

/// One direction of one object.
struct Chunks<R> {
    cipher: Aes256Gcm,
    associated: Vec<u8>,
    path: ObjectPath,
    prefix: [u8; PREFIX_BYTES],
    number: u32,
    body: R,
    /// Read ahead: whether a chunk is the last one shows only when nothing follows.
    ahead: Vec<u8>,
}

impl<R: AsyncRead + Send + Unpin> Chunks<R> {
    fn new(key: &DataKey, path: &ObjectPath, body: R) -> Self {
        Self {
            cipher: Aes256Gcm::new(<&Key<Aes256Gcm>>::from(&*key.0)),
            associated: [MAGIC, path.as_str().as_bytes()].concat(),
            path: path.clone(),
            prefix: rand::random(),
            number: 0,
            body,
            ahead: Vec::new(),
        }
    }

    /// The next `size` bytes, fewer at the end, and whether they are the last ones.
    async fn next(&mut self, size: usize) -> io::Result<(Vec<u8>, bool)> {
        if self.number == 0 {
            self.ahead = read_up_to(&mut self.body, size).await?;
        }
        let chunk = std::mem::take(&mut self.ahead);
        if chunk.len() == size {
            self.ahead = read_up_to(&mut self.body, size).await?;
        }
        let is_last = self.ahead.is_empty();
        Ok((chunk, is_last))
    }

    fn nonce(&self, is_last: bool) -> Nonce<aes_gcm::aead::consts::U12> {
        let mut nonce = [0; 12];
        nonce[..PREFIX_BYTES].copy_from_slice(&self.prefix);
        nonce[PREFIX_BYTES..11].copy_from_slice(&self.number.to_be_bytes());
        nonce[11] = u8::from(is_last);
        nonce.into()
    }

    fn count(&mut self) -> io::Result<()> {
        let too_long = || io::Error::other("an object is longer than can be sealed");
        self.number = self.number.checked_add(1).ok_or_else(too_long)?;
        Ok(())
    }

    async fn seal(&mut self) -> io::Result<(Bytes, bool)> {
        let (chunk, is_last) = self.next(CHUNK).await?;
        let payload = Payload {
            msg: &chunk,
            aad: &self.associated,
        };
        let mut sealed = self
            .cipher
            .encrypt(&self.nonce(is_last), payload)
            .map_err(|_| io::Error::other("a chunk cannot be sealed"))?;
        if self.number == 0 {
            let header = [MAGIC.as_slice(), &self.prefix].concat();
            sealed.splice(0..0, header);
        }
        self.count()?;
        Ok((sealed.into(), is_last))
    }

    async fn open(&mut self) -> io::Result<(Bytes, bool)> {
        if self.number == 0 {
            let header = read_up_to(&mut self.body, HEADER_BYTES).await?;
            let prefix = header
                .strip_prefix(MAGIC)
                .and_then(|prefix| prefix.try_into().ok());
            self.prefix = prefix.ok_or_else(|| self.corrupt("it is not an encrypted object"))?;
        }
        let (chunk, is_last) = self.next(CHUNK + TAG_BYTES).await?;
        let payload = Payload {
            msg: &chunk,
            aad: &self.associated,
        };
        let opened = self
            .cipher
            .decrypt(&self.nonce(is_last), payload)
            .map_err(|_| self.corrupt("it was changed, or is not of this tenant and path"))?;
        self.count()?;
        Ok((opened.into(), is_last))
    }

    fn corrupt(&self, what: &'static str) -> io::Error {
        ObjectError::Corrupt {
            path: self.path.clone(),
            what,
        }
        .into()
    }
}

async fn read_up_to(
    body: &mut (impl AsyncRead + Send + Unpin),
    size: usize,
) -> io::Result<Vec<u8>> {
    let mut chunk = vec![0; size];
    let mut read = 0;
    while read < size {
        match body.read(&mut chunk[read..]).await? {
            0 => break,
            more => read += more,
        }
    }
    chunk.truncate(read);
    Ok(chunk)
}

/// The encrypted form of what `body` gives, to be stored at `path` and nowhere else.
pub fn seal_reader<R: AsyncRead + Send + Unpin>(
    key: &DataKey,
    path: &ObjectPath,
    body: R,
) -> impl AsyncRead + Send + Unpin + use<R> {
    let chunks = stream::try_unfold(Some(Chunks::new(key, path, body)), async |chunks| {
        let Some(mut chunks) = chunks else {
            return Ok(None);
        };
        let (sealed, is_last) = chunks.seal().await?;
        Ok(Some((sealed, (!is_last).then_some(chunks))))
    });
    reader(chunks)
}

/// What was encrypted to be stored at `path`.
pub fn open_reader<R: AsyncRead + Send + Unpin>(
    key: &DataKey,
    path: &ObjectPath,
    body: R,
) -> impl AsyncRead + Send + Unpin + use<R> {
    let chunks = stream::try_unfold(Some(Chunks::new(key, path, body)), async |chunks| {
        let Some(mut chunks) = chunks else {
            return Ok(None);
        };
        let (opened, is_last) = chunks.open().await?;
        Ok(Some((opened, (!is_last).then_some(chunks))))
    });
    reader(chunks)
}

fn reader<S>(chunks: S) -> impl AsyncRead + Send + Unpin + use<S>
where
    S: Stream<Item = io::Result<Bytes>> + Send,
{
    StreamReader::new(Box::pin(chunks))
}
