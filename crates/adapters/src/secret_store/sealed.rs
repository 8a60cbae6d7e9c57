//! The sealed store: a reference *is* the secret in an AEAD box, opened with a key that the
//! services hold.
//!
//! Deliberately keeps nothing: the box lives wherever its reference is stored. Invariants: a box
//! is bound to its format, its key and its subject (associated data), so it opens for no other;
//! AES-256-GCM with a random 96-bit nonce, so one key may seal some billions of boxes.
//!
//! Format: `sealed:v1:<key id>:<base64url(nonce || ciphertext || tag)>`, without padding.

use std::fmt;

use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::{Aes256Gcm, Key, Nonce};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use contract::secret::{Secret, SecretRef};
use zeroize::Zeroizing;

use super::{MAX_SECRET_BYTES, SecretError, SecretSubject};

const PREFIX: &str = "sealed:v1:";
const FORMAT: &str = "v1";
const KEY_BYTES: usize = 32;
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
/// Longest id of a key, in characters.
const MAX_KEY_ID_CHARS: usize = 32;
/// Most keys in a ring: the current one and those that are being retired.
const MAX_KEYS: usize = 16;
/// Longest base64url text of a box that is decoded.
const MAX_BOX_CHARS: usize = (NONCE_BYTES + MAX_SECRET_BYTES + TAG_BYTES).div_ceil(3) * 4;

/// Why a text is not a key ring. Never repeats the text, which holds keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKeyRing {
    /// No key at all.
    #[error(
        "the key ring is empty; it is `<id>:<base64 of 32 bytes>`, several separated by commas"
    )]
    Empty,
    /// More keys than a ring holds.
    #[error("the key ring holds more than {MAX_KEYS} keys")]
    TooMany,
    /// A key without an id, or with one that a reference cannot hold.
    #[error(
        "key {0} of the ring needs an id of 1 to {MAX_KEY_ID_CHARS} of a-z, 0-9 and -, then `:`"
    )]
    Id(usize),
    /// A key that is not 32 bytes in base64.
    #[error("key {0} of the ring is not the base64 of {KEY_BYTES} bytes")]
    Key(usize),
    /// Two keys with one id.
    #[error("key {0} of the ring has the id of an earlier one")]
    Repeated(usize),
}

/// The keys of the sealed store: the first seals, all open.
///
/// A key is retired in three steps: add a new one behind it everywhere, put the new one first
/// everywhere, and drop the old one when every box has been sealed anew.
pub struct KeyRing {
    /// Never empty.
    keys: Vec<NamedKey>,
}

struct NamedKey {
    id: String,
    key: Zeroizing<[u8; KEY_BYTES]>,
}

impl KeyRing {
    /// Reads `<id>:<base64 of 32 bytes>`, several separated by commas; the first one seals.
    pub fn parse(text: &str) -> Result<Self, InvalidKeyRing> {
        if text.trim().is_empty() {
            return Err(InvalidKeyRing::Empty);
        }
        let mut keys: Vec<NamedKey> = Vec::new();
        for (index, entry) in text.split(',').enumerate() {
            let position = index + 1;
            if position > MAX_KEYS {
                return Err(InvalidKeyRing::TooMany);
            }
            let (id, encoded) = entry
                .trim()
                .split_once(':')
                .filter(|(id, _)| is_key_id(id))
                .ok_or(InvalidKeyRing::Id(position))?;
            if keys.iter().any(|known| known.id == id) {
                return Err(InvalidKeyRing::Repeated(position));
            }
            keys.push(NamedKey {
                id: id.to_owned(),
                key: decode_key(encoded).ok_or(InvalidKeyRing::Key(position))?,
            });
        }
        Ok(Self { keys })
    }

    /// A ring of one new random key with a random id.
    pub fn generate() -> Self {
        let id = format!("k{:08x}", rand::random::<u32>());
        let key = Zeroizing::new(rand::random());
        Self {
            keys: vec![NamedKey { id, key }],
        }
    }

    /// The text that [`KeyRing::parse`] reads, to be stored where only the services can read it.
    pub fn to_secret(&self) -> Secret {
        let entries: Vec<Zeroizing<String>> = self
            .keys
            .iter()
            .map(|named| {
                let key = Zeroizing::new(STANDARD.encode(named.key.as_slice()));
                Zeroizing::new(format!("{}:{}", named.id, *key))
            })
            .collect();
        let entries: Vec<&str> = entries.iter().map(|entry| entry.as_str()).collect();
        Secret::new(entries.join(","))
    }

    fn current(&self) -> &NamedKey {
        &self.keys[0]
    }

    fn get(&self, id: &str) -> Option<&NamedKey> {
        self.keys.iter().find(|named| named.id == id)
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids = self.keys.iter().map(|named| &named.id);
        f.write_str("KeyRing")?;
        f.debug_list().entries(ids).finish()
    }
}

impl NamedKey {
    fn cipher(&self) -> Aes256Gcm {
        Aes256Gcm::new(<&Key<Aes256Gcm>>::from(&*self.key))
    }

    fn associated_data(&self, subject: &SecretSubject) -> String {
        format!("{FORMAT}|{}|{subject}", self.id)
    }
}

fn is_key_id(id: &str) -> bool {
    (1..=MAX_KEY_ID_CHARS).contains(&id.len())
        && id
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

fn decode_key(encoded: &str) -> Option<Zeroizing<[u8; KEY_BYTES]>> {
    let bytes = Zeroizing::new(STANDARD.decode(encoded).ok()?);
    let key: [u8; KEY_BYTES] = bytes.as_slice().try_into().ok()?;
    Some(Zeroizing::new(key))
}

/// Secrets that are sealed into their references.
#[derive(Debug)]
pub struct SealedStore {
    ring: KeyRing,
}

impl SealedStore {
    /// A store that seals with the ring's first key and opens with any.
    pub fn new(ring: KeyRing) -> Self {
        Self { ring }
    }

    pub(super) fn put(
        &self,
        subject: &SecretSubject,
        secret: &Secret,
    ) -> Result<SecretRef, SecretError> {
        let named = self.ring.current();
        let nonce: [u8; NONCE_BYTES] = rand::random();
        let associated_data = named.associated_data(subject);
        let payload = Payload {
            msg: secret.expose().as_bytes(),
            aad: associated_data.as_bytes(),
        };
        // The cipher fails for texts of gigabytes only.
        let sealed = named
            .cipher()
            .encrypt(&Nonce::from(nonce), payload)
            .map_err(|_| SecretError::InvalidSize)?;
        let mut content = nonce.to_vec();
        content.extend_from_slice(&sealed);
        let text = URL_SAFE_NO_PAD.encode(content);
        Ok(SecretRef(format!("{PREFIX}{}:{text}", named.id)))
    }

    pub(super) fn open(
        &self,
        subject: &SecretSubject,
        reference: &SecretRef,
    ) -> Result<Secret, SecretError> {
        let refused = || SecretError::Refused {
            subject: subject.to_string(),
        };
        let (key_id, text) = split(reference).ok_or(SecretError::Malformed { store: "sealed" })?;
        let named = self
            .ring
            .get(key_id)
            .ok_or_else(|| SecretError::UnknownKey {
                key_id: key_id.to_owned(),
            })?;
        let content = URL_SAFE_NO_PAD.decode(text).map_err(|_| refused())?;
        let (nonce, sealed) = content
            .split_first_chunk::<NONCE_BYTES>()
            .ok_or_else(refused)?;
        let associated_data = named.associated_data(subject);
        let payload = Payload {
            msg: sealed,
            aad: associated_data.as_bytes(),
        };
        let opened = named
            .cipher()
            .decrypt(&Nonce::from(*nonce), payload)
            .map_err(|_| refused())?;
        // Only UTF-8 is ever sealed, so other bytes cannot come out of an authentic box.
        String::from_utf8(opened)
            .map(Secret::new)
            .map_err(|_| refused())
    }

    /// The same secret in a box of the ring's first key; none where it is in one already.
    pub(super) fn reseal(
        &self,
        subject: &SecretSubject,
        reference: &SecretRef,
    ) -> Result<Option<SecretRef>, SecretError> {
        let (key_id, _) = split(reference).ok_or(SecretError::Malformed { store: "sealed" })?;
        if key_id == self.ring.current().id {
            return Ok(None);
        }
        let secret = self.open(subject, reference)?;
        self.put(subject, &secret).map(Some)
    }

    /// The ids of the ring's keys: the first seals.
    pub(super) fn key_ids(&self) -> Vec<&str> {
        self.ring
            .keys
            .iter()
            .map(|named| named.id.as_str())
            .collect()
    }

    /// A box of another subject is refused, as every store refuses it; a box that no key opens
    /// any more is as good as removed.
    pub(super) fn remove(
        &self,
        subject: &SecretSubject,
        reference: &SecretRef,
    ) -> Result<(), SecretError> {
        match self.open(subject, reference) {
            Ok(_) | Err(SecretError::UnknownKey { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// The key id and the box of a reference.
fn split(reference: &SecretRef) -> Option<(&str, &str)> {
    let (key_id, text) = reference.0.strip_prefix(PREFIX)?.split_once(':')?;
    (is_key_id(key_id) && text.len() <= MAX_BOX_CHARS).then_some((key_id, text))
}

#[cfg(test)]
mod tests;
