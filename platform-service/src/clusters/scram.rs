//! The SCRAM-SHA-256 verifier of a role's password (RFC 5802, RFC 7677), computed by us, so that
//! no password is ever part of a statement.
//!
//! Deliberately no SASLprep: every password is 64 hexadecimal digits. One iteration is enough for
//! 256 random bits, since stretching only helps what can be guessed. Invariant: what is made here
//! is a verifier as PostgreSQL reads it; a malformed one would be taken for a password in the clear.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use contract::secret::Secret;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

const ITERATIONS: u32 = 1;
const SALT_BYTES: usize = 16;
const KEY_BYTES: usize = 32;
/// Of SHA-256.
const BLOCK_BYTES: usize = 64;

/// What a server stores to check a password: nobody can log in with it.
pub(crate) struct Verifier(String);

impl Verifier {
    /// A verifier with a salt of its own.
    pub(crate) fn of(password: &Secret) -> Self {
        Self::with(password, &rand::random::<[u8; SALT_BYTES]>(), ITERATIONS)
    }

    fn with(password: &Secret, salt: &[u8], iterations: u32) -> Self {
        let salted: [u8; KEY_BYTES] = pbkdf2::pbkdf2_hmac_array::<Sha256, KEY_BYTES>(
            password.expose().as_bytes(),
            salt,
            iterations,
        );
        let stored_key: [u8; KEY_BYTES] = Sha256::digest(keyed(&salted, b"Client Key")).into();
        let server_key = keyed(&salted, b"Server Key");
        Self(format!(
            "SCRAM-SHA-256${iterations}:{}${}:{}",
            STANDARD.encode(salt),
            STANDARD.encode(stored_key),
            STANDARD.encode(server_key),
        ))
    }

    /// The text for `ALTER ROLE ... PASSWORD`.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier(..)")
    }
}

fn keyed(key: &[u8; KEY_BYTES], message: &[u8]) -> [u8; KEY_BYTES] {
    // A key that is shorter than a block is padded with zeros (RFC 2104).
    let mut block = [0; BLOCK_BYTES];
    block[..KEY_BYTES].copy_from_slice(key);
    let mut mac = Hmac::<Sha256>::new(&block.into());
    mac.update(message);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests;
