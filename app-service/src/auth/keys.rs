//! The keys that sign and verify access tokens, as the platform hands them out.
//!
//! Deliberately keeps no key of its own making. Invariants: all replicas sign with the newest key
//! whose time has come; a key set that was once had is kept while the platform cannot be reached.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use adapters::secret_store::{SecretError, SecretStore, SecretSubject};
use contract::client::{ClientError, PlatformClient};
use contract::internal::SigningKey as SealedKey;
use jsonwebtoken::EncodingKey;
use kit::auth::access::TokenVerifier;
use kit::error::chain;
use time::OffsetDateTime;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often the set is asked for. A new key is published long before it signs.
const REFRESH: Duration = Duration::from_secs(60);
/// The same while there is no set at all, or the last question was not answered.
const RETRY: Duration = Duration::from_secs(1);
/// Tokens with keys that nobody knows make us ask at most this often.
const ASK_FOR_UNKNOWN: Duration = Duration::from_secs(30);

/// Why the keys could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeysError {
    /// The platform did not hand them out.
    #[error("the platform did not hand out the signing keys")]
    Platform(#[from] ClientError),
    /// A private key does not open.
    #[error("signing key {kid} cannot be opened")]
    Sealed {
        /// Which.
        kid: String,
        /// Why.
        #[source]
        source: SecretError,
    },
    /// A key is not a key.
    #[error("a signing key cannot be read")]
    Key(#[from] jsonwebtoken::errors::Error),
}

/// A key that can sign.
pub(super) struct Key {
    pub(super) kid: String,
    /// The raw public key, base64url.
    pub(super) public: String,
    pub(super) private: EncodingKey,
    pub(super) signs_from: OffsetDateTime,
    pub(super) verifies_until: Option<OffsetDateTime>,
}

impl Key {
    fn verifies_at(&self, now: OffsetDateTime) -> bool {
        self.verifies_until.is_none_or(|until| now < until)
    }
}

/// The keys that are known.
pub(super) struct Keys {
    platform: PlatformClient,
    seal: Arc<SecretStore>,
    verifier: TokenVerifier,
    known: RwLock<Arc<[Key]>>,
    /// When somebody last asked because of an unknown key; held while asking, so that those who
    /// come meanwhile wait for the one answer.
    asked: Mutex<Option<Instant>>,
}

impl Keys {
    /// Knows no key until [`Keys::refresh`] succeeded once.
    pub(super) fn new(
        platform: PlatformClient,
        seal: Arc<SecretStore>,
        verifier: TokenVerifier,
    ) -> Self {
        Self {
            platform,
            seal,
            verifier,
            known: RwLock::new(Arc::new([])),
            asked: Mutex::new(None),
        }
    }

    pub(super) fn verifier(&self) -> &TokenVerifier {
        &self.verifier
    }

    /// All keys that are known.
    pub(super) fn all(&self) -> Arc<[Key]> {
        Arc::clone(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    async fn refresh(&self) -> Result<(), KeysError> {
        let now = OffsetDateTime::now_utc();
        let mut known = Vec::new();
        for sealed in self.platform.signing_keys().await?.keys {
            let key = self.open(sealed).await?;
            if key.verifies_at(now) {
                known.push(key);
            }
        }
        let public = known
            .iter()
            .map(|key| (key.kid.clone(), key.public.clone()));
        self.verifier.replace_keys(public)?;
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = known.into();
        Ok(())
    }

    async fn open(&self, sealed: SealedKey) -> Result<Key, KeysError> {
        let private = self
            .seal
            .open(&SecretSubject::SigningKey, &sealed.private_key)
            .await
            .map_err(|source| KeysError::Sealed {
                kid: sealed.kid.clone(),
                source,
            })?;
        Ok(Key {
            private: EncodingKey::from_ed_pem(private.expose().as_bytes())?,
            kid: sealed.kid,
            public: sealed.public_key,
            signs_from: sealed.signs_from,
            verifies_until: sealed.verifies_until,
        })
    }

    /// Asks for the keys because a token names one that is not known, at a bounded rate.
    pub(super) async fn learn(&self) {
        let mut asked = self.asked.lock().await;
        if asked.is_some_and(|at| at.elapsed() < ASK_FOR_UNKNOWN) {
            return;
        }
        *asked = Some(Instant::now());
        self.refresh_or_log().await;
    }

    async fn refresh_or_log(&self) -> Duration {
        match self.refresh().await {
            Ok(()) => REFRESH,
            Err(error) => {
                tracing::warn!(
                    cause = chain(&error),
                    "the signing keys could not be renewed"
                );
                RETRY
            }
        }
    }

    /// Asks for the keys now and from time to time, until it is told to stop.
    pub(super) async fn keep_fresh(&self, stop: CancellationToken) {
        let work = async {
            loop {
                let pause = self.refresh_or_log().await;
                tokio::time::sleep(pause).await;
            }
        };
        stop.run_until_cancelled(work).await;
    }
}

/// The key that signs at `now`: the newest whose time has come and whose end has not.
pub(super) fn signing_at(keys: &[Key], now: OffsetDateTime) -> Option<&Key> {
    keys.iter()
        .filter(|key| key.signs_from <= now && key.verifies_at(now))
        .max_by(|a, b| (a.signs_from, &a.kid).cmp(&(b.signs_from, &b.kid)))
}
