//! Tokens of tenants that let nobody log in, so that what their people are told can be seen.
//!
//! Deliberately signed here, with the installation's own key, as app-service had signed them before the
//! tenant was held back: no door gives one out any more. Invariants: a token allows nothing and lives for
//! a day; its file, which its owner alone can read, is renewed as long as the stack runs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use adapters::secret_store::SecretSubject;
use anyhow::Context as _;
use app_service::auth::AuthSettings;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use kit::auth::access::{ACCESS_TOKEN_TYPE, AccessClaims};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::demo;
use crate::folder::{self, Folder};
use crate::reach::Reach;

const LIFETIME: time::Duration = time::Duration::DAY;
const RENEWAL: Duration = Duration::from_secs(10 * 60);

/// The tokens of the demo tenants that are closed.
pub(crate) struct Gates {
    reach: Reach,
    auth: AuthSettings,
    folder: PathBuf,
}

impl Gates {
    /// Writes the first ones.
    pub(crate) async fn open(
        reach: Reach,
        auth: AuthSettings,
        folder: &Folder,
    ) -> anyhow::Result<Self> {
        let gates = Self {
            reach,
            auth,
            folder: folder.gates(),
        };
        folder::make_private(&gates.folder)?;
        gates.renew().await?;
        Ok(gates)
    }

    /// Renews them from time to time, without an end.
    pub(crate) async fn keep_fresh(self) {
        loop {
            tokio::time::sleep(RENEWAL).await;
            if let Err(error) = self.renew().await {
                tracing::warn!(cause = format!("{error:#}"), "tokens were not renewed");
            }
        }
    }

    async fn renew(&self) -> anyhow::Result<()> {
        let now = OffsetDateTime::now_utc();
        let keys = self.reach.platform().signing_keys().await?.keys;
        let signing = keys.into_iter().filter(|key| key.signs_from <= now);
        let key = signing
            .max_by_key(|key| key.signs_from)
            .context("no key signs yet")?;
        let subject = SecretSubject::SigningKey;
        let private = self.reach.open(&subject, &key.private_key).await?;
        let private = EncodingKey::from_ed_pem(private.expose().as_bytes())?;
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some(ACCESS_TOKEN_TYPE.to_owned());
        header.kid = Some(key.kid);
        for demo in demo::TENANTS.iter().filter(|demo| demo.is_closed()) {
            let claims = self.claims(demo.id, now)?;
            let token = jsonwebtoken::encode(&header, &claims, &private)?;
            let line = format!("authorization: Bearer {token}\n");
            folder::write_private(&file(&self.folder, demo.id), &line)?;
        }
        Ok(())
    }

    /// Somebody of the tenant, who may do nothing.
    fn claims(&self, tenant: &str, now: OffsetDateTime) -> anyhow::Result<AccessClaims> {
        let id = |prefix: &str| format!("{prefix}_{}", Uuid::now_v7().simple());
        Ok(AccessClaims {
            iss: self.auth.issuer.clone(),
            aud: self.auth.audience.clone(),
            sub: id("usr"),
            tenant: tenant.parse()?,
            sid: id("ses"),
            permissions: std::collections::BTreeSet::new(),
            iat: now.unix_timestamp(),
            nbf: now.unix_timestamp(),
            exp: (now + LIFETIME).unix_timestamp(),
            jti: id("gate"),
        })
    }
}

/// The file with the header that shows a tenant's token.
fn file(folder: &Path, tenant: &str) -> PathBuf {
    folder.join(tenant)
}
