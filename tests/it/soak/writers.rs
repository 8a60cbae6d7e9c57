//! What is written to each tenant, and what became of it.
//!
//! Deliberately no request is sent twice: a title stands for one write. Invariant: while a tenant is
//! brought back to a backup nobody writes to it, so nothing that was acknowledged may be missing.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::Method;
use serde_json::json;
use tokio::sync::RwLock;
use tokio_util::sync::CancellationToken;
use world::{PASSWORD, Speaker, TenantHandle};

use crate::support::entry;

/// Between two writes of a tenant.
const BEAT: Duration = Duration::from_millis(100);

/// A tenant of the soak.
pub(super) struct Subject {
    pub(super) tenant: TenantHandle,
    /// Held for writing by whoever wants no write meanwhile.
    pub(super) quiet: RwLock<()>,
    acknowledged: Mutex<Vec<String>>,
}

impl Subject {
    pub(super) fn new(tenant: TenantHandle) -> Self {
        Self {
            tenant,
            quiet: RwLock::default(),
            acknowledged: Mutex::default(),
        }
    }

    pub(super) fn id(&self) -> &str {
        self.tenant.id().as_str()
    }

    /// Titles of the writes that were acknowledged so far.
    pub(super) fn acknowledged(&self) -> Vec<String> {
        let held = self.acknowledged.lock();
        held.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// How often each status was answered, and what should never be.
#[derive(Default)]
pub(super) struct Met {
    pub(super) statuses: BTreeMap<u16, usize>,
    pub(super) strange: Vec<String>,
}

/// Writes until it is over.
pub(super) async fn write(subject: std::sync::Arc<Subject>, over: CancellationToken) -> Met {
    let mut met = Met::default();
    let mut owner = subject.tenant.owner();
    for number in 0.. {
        if over.is_cancelled() {
            break;
        }
        let quiet = subject.quiet.read().await;
        let title = format!("write {number}");
        let request = owner.request(Method::POST, "/v1/entries");
        let answer = request.json(entry(&title)).send().await;
        *met.statuses.entry(answer.status()).or_insert(0) += 1;
        match answer.status() {
            201 => {
                let held = subject.acknowledged.lock();
                held.unwrap_or_else(PoisonError::into_inner).push(title);
            }
            // An access token lives for fifteen minutes.
            401 => owner = signed_in(&subject.tenant).await.unwrap_or(owner),
            // Suspended, deleted, held: as it may be. Each is a problem document.
            403 | 410 | 503 => drop(answer.problem()),
            _ => met.strange.push(answer.to_string()),
        }
        drop(quiet);
        tokio::time::sleep(BEAT).await;
    }
    met
}

async fn signed_in(tenant: &TenantHandle) -> Option<Speaker> {
    let body = json!({ "email": tenant.email(), "password": PASSWORD });
    let answer = tenant.anonymous().post("/v1/auth/login", body).await;
    let token = answer.json()["access_token"].as_str()?.to_owned();
    Some(tenant.anonymous().bearer(&token))
}
