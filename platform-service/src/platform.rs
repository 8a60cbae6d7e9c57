//! What every part of the service shares: the registry, the settings, the stores of secrets.
//!
//! Deliberately no behaviour: the parts hold it. Invariant: nothing here reaches a tenant's data.

use std::ops::Deref;
use std::sync::Arc;

use adapters::secret_store::SecretStore;
use axum::extract::FromRef;
use contract::client::ServiceClient;
use kit::auth::service::ServiceVerifier;
use kit::passwords::Hasher;
use tokio_util::sync::CancellationToken;

use crate::clusters;
use crate::config::Settings;
use crate::feed;
use crate::operations;
use crate::operators;
use crate::readiness::Readiness;
use crate::registry::RegistryPool;
use crate::replicas;
use crate::tenants::signup::Signups;

/// The state of every handler and background task; clones share it.
#[derive(Clone)]
pub(crate) struct Platform(Arc<Inner>);

/// See [`Platform`].
pub(crate) struct Inner {
    /// The registry.
    pub(crate) registry: RegistryPool,
    /// The registry, for callers whose right to ask is not known yet: however many they are, they
    /// never wait in front of leases, heartbeats and routes.
    pub(crate) public_registry: RegistryPool,
    /// As loaded.
    pub(crate) settings: Settings,
    /// The passwords of tenants' roles.
    pub(crate) secrets: SecretStore,
    /// The platform's own secrets, sealed whatever the tenants' store is: cluster passwords,
    /// signing keys, what an operation keeps in its plan.
    pub(crate) seal: SecretStore,
    /// What the last look at the registry said.
    pub(crate) readiness: Readiness,
    /// The turns of heartbeats at the shares.
    pub(crate) sharing: replicas::Sharing,
    /// Calls services that own schemas.
    pub(crate) services: ServiceClient,
    /// Verifies services that call.
    pub(crate) callers: ServiceVerifier,
    /// Hashes owners' passwords.
    pub(crate) hasher: Hasher,
    /// Tells the runner of operations about work, and waits for it.
    pub(crate) runner: operations::RunnerHandle,
    /// Connections to clusters.
    pub(crate) clusters: clusters::Connections,
    /// Rings when a tenant changed.
    pub(crate) feed: feed::Bell,
    /// Writes when operator keys were last used.
    pub(crate) noting: operators::Noting,
    /// Limits and keys of sign-ups.
    pub(crate) signups: Signups,
    /// Cancelled when a stop is wanted: it is not ready any more, and serves until its notice is over.
    pub(crate) leaving: CancellationToken,
    /// Cancelled when that is over; long polls and all work in the background end then.
    pub(crate) stopping: CancellationToken,
}

impl Platform {
    pub(crate) fn new(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }
}

impl Deref for Platform {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl FromRef<Platform> for ServiceVerifier {
    fn from_ref(platform: &Platform) -> Self {
        platform.callers.clone()
    }
}
