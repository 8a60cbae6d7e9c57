//! People's passwords: what is accepted as one, and how it is stored and checked.
//!
//! Deliberately without Unicode normalisation and without a pepper: the bytes that were typed are
//! hashed, whole. Invariants: hashing never runs on an async worker, never more than
//! [`Hasher::MAX_PER_CORE`] at once per core, and checking a password of nobody costs the same.

#[cfg(test)]
mod tests;

mod cost;
mod policy;

use std::sync::Arc;

use argon2::Argon2;
use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::password_hash::{self, PasswordHasher, PasswordVerifier};
use contract::Code;
use contract::secret::Secret;
use tokio::sync::Semaphore;

use crate::error::Problem;

pub use cost::{CostError, PasswordCost};
pub use policy::{Password, PasswordRefusal};

/// Length of salts and of hashes, in bytes.
const SALT_BYTES: usize = 16;
const HASH_BYTES: usize = 32;

/// What checking a password against a stored hash found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verified {
    /// It is the password.
    Match {
        /// What to do about the stored hash.
        stored: Stored,
    },
    /// It is not.
    Mismatch,
}

/// How a stored hash compares with today's cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// Made with the cost of this hasher.
    Current,
    /// Made with another: hash the password again and store that.
    Outdated,
}

/// Why a password could not be hashed or checked.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// Too many are waiting already; ask again in a second.
    #[error("too many passwords are being checked")]
    Busy,
    /// The stored text is not an argon2id hash.
    #[error("the stored password hash cannot be read: {0}")]
    Stored(password_hash::phc::Error),
    /// The algorithm refused.
    #[error("the password could not be hashed: {0}")]
    Algorithm(password_hash::Error),
    /// The worker was stopped: the process is ending.
    #[error("the password worker was stopped")]
    Stopped,
}

impl From<PasswordError> for Problem {
    fn from(error: PasswordError) -> Self {
        match error {
            PasswordError::Busy => Self::new(Code::Overloaded).caused_by(error),
            _ => Self::internal(error),
        }
    }
}

/// Hashes and checks passwords with argon2id. Clones share the limit.
#[derive(Debug, Clone)]
pub struct Hasher {
    argon2: Argon2<'static>,
    params: ParamsString,
    dummy: Arc<str>,
    running: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

impl Hasher {
    /// Hashes at once, per core.
    pub const MAX_PER_CORE: usize = 2;
    /// Hashes running or waiting, per core; more are refused as [`PasswordError::Busy`].
    pub const MAX_QUEUED_PER_CORE: usize = 256;

    /// Hashes with this cost.
    pub fn new(cost: PasswordCost) -> Result<Self, PasswordError> {
        let argon2 = Argon2::from(cost.params());
        let params = ParamsString::try_from(cost.params()).map_err(PasswordError::Algorithm)?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            dummy: dummy(params.clone())?.into(),
            argon2,
            params,
            running: Arc::new(Semaphore::new(cores * Self::MAX_PER_CORE)),
            waiting: Arc::new(Semaphore::new(cores * Self::MAX_QUEUED_PER_CORE)),
        })
    }

    /// The text to store: a PHC string with its own salt and cost.
    pub async fn hash(&self, password: &Password) -> Result<String, PasswordError> {
        self.hash_verified(password.secret()).await
    }

    /// As [`Hasher::hash`], for a text that [`Hasher::verify`] has just matched: an old password
    /// stays valid when the policy changes, and gets today's cost.
    pub async fn hash_verified(&self, password: &Secret) -> Result<String, PasswordError> {
        let password = password.clone();
        self.run(move |argon2| {
            let hash: PasswordHash = argon2
                .hash_password(password.expose().as_bytes())
                .map_err(PasswordError::Algorithm)?;
            Ok(hash.to_string())
        })
        .await
    }

    /// Checks what somebody typed against a stored text.
    pub async fn verify(&self, attempt: &Secret, stored: &str) -> Result<Verified, PasswordError> {
        let stored = PasswordHash::new(stored).map_err(PasswordError::Stored)?;
        let attempt = attempt.clone();
        let current = stored.params == self.params;
        self.run(
            move |argon2| match argon2.verify_password(attempt.expose().as_bytes(), &stored) {
                Ok(()) if current => Ok(Verified::Match {
                    stored: Stored::Current,
                }),
                Ok(()) => Ok(Verified::Match {
                    stored: Stored::Outdated,
                }),
                Err(password_hash::Error::PasswordInvalid) => Ok(Verified::Mismatch),
                Err(error) => Err(PasswordError::Algorithm(error)),
            },
        )
        .await
    }

    /// Spends on an unknown user what [`Hasher::verify`] spends on a known one.
    pub async fn verify_nobody(&self, attempt: &Secret) -> Result<(), PasswordError> {
        self.verify(attempt, &self.dummy).await.map(|_| ())
    }

    /// The permits move into the worker: a caller that goes away does not free its place early.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Argon2<'static>) -> Result<T, PasswordError> + Send + 'static,
    ) -> Result<T, PasswordError> {
        let queued = Arc::clone(&self.waiting)
            .try_acquire_owned()
            .map_err(|_| PasswordError::Busy)?;
        let running = Arc::clone(&self.running)
            .acquire_owned()
            .await
            .map_err(|_| PasswordError::Stopped)?;
        let argon2 = self.argon2.clone();
        tokio::task::spawn_blocking(move || {
            let _permits = (queued, running);
            work(&argon2)
        })
        .await
        .map_err(|_| PasswordError::Stopped)?
    }
}

/// A well-formed hash of this cost that no password has.
fn dummy(params: ParamsString) -> Result<String, PasswordError> {
    let hash = PasswordHash {
        algorithm: argon2::ARGON2ID_IDENT,
        version: Some(argon2::Version::default().into()),
        params,
        salt: Some(Salt::new(&[0; SALT_BYTES]).map_err(PasswordError::Stored)?),
        hash: Some(Output::new(&[0; HASH_BYTES]).map_err(PasswordError::Stored)?),
    };
    Ok(hash.to_string())
}
