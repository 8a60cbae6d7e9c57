//! HTTP clients of the internal API: [`PlatformClient`] for services of the data plane,
//! [`ServiceClient`] for the platform.
//!
//! Deliberately without retries and caches: the callers know what a failure means to them.
//! Invariant: a refusal (an answer) and a failure to get an answer are different errors, because
//! only the first one may be remembered.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

use crate::credential::ServiceSigner;
use crate::ids::{ReplicaId, TenantId};
use crate::internal::{
    Changes, Heartbeat, HeartbeatAnswer, MigrateAnswer, MigrateRequest, MigrationReport,
    OwnershipAct, OwnershipRequest, ProvisionRequest, SigningKeys,
};
use crate::problem::{Code, ProblemDocument};
use crate::tenant::TenantRoute;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Shorter than a service keeps what is idle: a request must not meet the end of its connection.
const IDLE_LIMIT: Duration = Duration::from_secs(60);
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// A migration may be long; its own statement timeouts end it earlier.
const MIGRATE_TIMEOUT: Duration = Duration::from_secs(15 * 60);
/// What the hooks of all modules of a service may take together, with their connection.
const HOOKS_TIMEOUT: Duration = Duration::from_secs(60);
/// What a long poll may take beyond the wait that it asked for.
const POLL_GRACE: Duration = Duration::from_secs(5);

/// Why a call gave no value.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The other side answered with a problem.
    #[error("refused with {} ({})", .0.code.as_str(), .0.detail.as_deref().unwrap_or("no detail"))]
    Refused(Box<ProblemDocument>),
    /// No answer: not reachable, broken off or too late.
    #[error("no answer")]
    Unreachable(#[source] reqwest::Error),
    /// An answer that is not of the contract.
    #[error("an answer outside the contract: status {status}")]
    Malformed {
        /// Its status.
        status: u16,
    },
    /// The credential could not be signed.
    #[error("the service credential could not be signed")]
    Credential(#[from] jsonwebtoken::errors::Error),
}

impl ClientError {
    /// Whether the time for an answer ran out: what is asked next may wait as long for nothing.
    pub fn is_silence(&self) -> bool {
        matches!(self, Self::Unreachable(error) if error.is_timeout())
    }

    /// The code of a refusal.
    pub fn refusal(&self) -> Option<Code> {
        match self {
            Self::Refused(problem) => Some(problem.code),
            _ => None,
        }
    }
}

#[derive(Debug, Clone)]
struct Transport {
    http: reqwest::Client,
    signer: ServiceSigner,
}

impl Transport {
    fn new(signer: ServiceSigner) -> Result<Self, ClientError> {
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE_LIMIT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .tcp_nodelay(true)
            .build()
            .map_err(ClientError::Unreachable)?;
        Ok(Self { http, signer })
    }

    async fn call<B: Serialize + Sync, A: DeserializeOwned>(
        &self,
        method: Method,
        url: String,
        body: Option<&B>,
        timeout: Duration,
    ) -> Result<A, ClientError> {
        let credential = self.signer.token(&method, &url)?;
        let mut request = self
            .http
            .request(method, url)
            .timeout(timeout)
            .bearer_auth(credential);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.map_err(ClientError::Unreachable)?;
        let status = answer.status();
        let bytes = answer.bytes().await.map_err(ClientError::Unreachable)?;
        let malformed = ClientError::Malformed {
            status: status.as_u16(),
        };
        if status.is_success() {
            let text: &[u8] = if status == StatusCode::NO_CONTENT {
                b"null"
            } else {
                &bytes
            };
            serde_json::from_slice(text).map_err(|_| malformed)
        } else {
            let problem = serde_json::from_slice(&bytes).map_err(|_| malformed)?;
            Err(ClientError::Refused(Box::new(problem)))
        }
    }
}

/// The platform's internal API, as a service of the data plane calls it.
#[derive(Debug, Clone)]
pub struct PlatformClient {
    transport: Transport,
    base: String,
}

impl PlatformClient {
    /// A client for the internal listener at `base`, e.g. `http://127.0.0.1:8081`.
    pub fn new(base: &str, signer: ServiceSigner) -> Result<Self, ClientError> {
        Ok(Self {
            transport: Transport::new(signer)?,
            base: base.trim_end_matches('/').to_owned(),
        })
    }

    /// The route of a tenant; refused with `not-found` for an id that nobody has.
    pub async fn route(&self, tenant: &TenantId) -> Result<TenantRoute, ClientError> {
        let url = format!("{}/internal/tenants/{tenant}/db-info", self.base);
        self.transport
            .call(Method::GET, url, None::<&()>, CALL_TIMEOUT)
            .await
    }

    /// Changes after `after`, waiting up to `wait` for the first one; says that `replica` has acted
    /// on all before.
    pub async fn changes(
        &self,
        replica: ReplicaId,
        epoch: Option<Uuid>,
        after: u64,
        wait: Duration,
    ) -> Result<Changes, ClientError> {
        let mut url = format!(
            "{}/internal/changes?replica={replica}&after={after}&wait_ms={}",
            self.base,
            wait.as_millis()
        );
        if let Some(epoch) = epoch {
            url.push_str(&format!("&epoch={epoch}"));
        }
        self.transport
            .call(Method::GET, url, None::<&()>, wait + POLL_GRACE)
            .await
    }

    /// Says that this replica lives.
    pub async fn heartbeat(&self, heartbeat: &Heartbeat) -> Result<HeartbeatAnswer, ClientError> {
        let url = format!("{}/internal/heartbeat", self.base);
        self.transport
            .call(Method::POST, url, Some(heartbeat), CALL_TIMEOUT)
            .await
    }

    /// Reports how a migration ended.
    pub async fn report_migration(&self, report: &MigrationReport) -> Result<(), ClientError> {
        let url = format!("{}/internal/migration-reports", self.base);
        self.transport
            .call(Method::POST, url, Some(report), CALL_TIMEOUT)
            .await
    }

    /// The keys that sign and verify access tokens.
    pub async fn signing_keys(&self) -> Result<SigningKeys, ClientError> {
        let url = format!("{}/internal/signing-keys", self.base);
        self.transport
            .call(Method::GET, url, None::<&()>, CALL_TIMEOUT)
            .await
    }
}

/// The internal API of a service that owns schemas, as the platform calls it.
#[derive(Debug, Clone)]
pub struct ServiceClient {
    transport: Transport,
}

impl ServiceClient {
    /// A client; each call names the replica's internal base URL.
    pub fn new(signer: ServiceSigner) -> Result<Self, ClientError> {
        Ok(Self {
            transport: Transport::new(signer)?,
        })
    }

    /// Brings the service's schemas in a database, and in more where they are named, to their newest
    /// version.
    pub async fn migrate(
        &self,
        base: &str,
        request: &MigrateRequest,
    ) -> Result<MigrateAnswer, ClientError> {
        let url = format!("{base}/internal/migrate");
        self.transport
            .call(Method::POST, url, Some(request), MIGRATE_TIMEOUT)
            .await
    }

    /// Lets the service change who owns a tenant.
    pub async fn ownership(
        &self,
        base: &str,
        request: &OwnershipRequest,
    ) -> Result<(), ClientError> {
        let url = format!("{base}/internal/ownership");
        let timeout = match request.act {
            // Somebody waits for the answer, and can do without it.
            OwnershipAct::Look { .. } => CALL_TIMEOUT,
            _ => HOOKS_TIMEOUT,
        };
        self.transport
            .call(Method::POST, url, Some(request), timeout)
            .await
    }

    /// Runs the service's provisioning hooks in a new tenant's database.
    pub async fn provision(
        &self,
        base: &str,
        request: &ProvisionRequest,
    ) -> Result<(), ClientError> {
        let url = format!("{base}/internal/provision");
        self.transport
            .call(Method::POST, url, Some(request), HOOKS_TIMEOUT)
            .await
    }
}
