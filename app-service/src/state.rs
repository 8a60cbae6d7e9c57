//! What every handler of the service can reach.
//!
//! Deliberately no database: a connection comes from a [`crate::tenancy::Tenant`] and a tenant from
//! a door. Invariant: nothing public here gives either.

use std::sync::Arc;

use axum::extract::FromRef;
use ipnet::IpNet;
use kit::auth::access::TokenVerifier;
use kit::auth::service::ServiceVerifier;
use kit::limit::{GlobalLimiter, KeyedLimiter};

use crate::auth::{Auth, AuthSettings};
use crate::module::{OwnershipHook, ProvisionHook};
use crate::tenancy::{Directory, Migrator};

/// The state of every handler; clones share it. A module sees it only as the state of its router.
#[derive(Clone)]
pub struct AppState(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) directory: Directory,
    pub(crate) migrator: Migrator,
    pub(crate) auth: Auth,
    pub(crate) platform_calls: ServiceVerifier,
    pub(crate) sign_in_limits: SignInLimits,
    pub(crate) provision: Vec<ProvisionHook>,
    pub(crate) ownership: Vec<OwnershipHook>,
}

/// Limits of the door without a token, checked before anything is looked up.
pub(crate) struct SignInLimits {
    pub(crate) per_address: KeyedLimiter<IpNet>,
    pub(crate) look_ups: GlobalLimiter,
}

impl SignInLimits {
    pub(crate) fn new(settings: &AuthSettings) -> Self {
        let addresses = settings.sign_in_addresses.get();
        Self {
            per_address: KeyedLimiter::new(settings.sign_in_per_address, addresses),
            look_ups: GlobalLimiter::new(settings.unknown_look_ups),
        }
    }
}

impl AppState {
    pub(crate) fn new(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }

    pub(crate) fn directory(&self) -> &Directory {
        &self.0.directory
    }

    pub(crate) fn migrator(&self) -> &Migrator {
        &self.0.migrator
    }

    pub(crate) fn auth(&self) -> &Auth {
        &self.0.auth
    }

    pub(crate) fn verifier(&self) -> &TokenVerifier {
        self.0.auth.verifier()
    }

    pub(crate) fn sign_in_limits(&self) -> &SignInLimits {
        &self.0.sign_in_limits
    }

    pub(crate) fn ownership_hooks(&self) -> &[OwnershipHook] {
        &self.0.ownership
    }

    /// What modules do in a new tenant's database.
    pub(crate) fn provision_hooks(&self) -> &[ProvisionHook] {
        &self.0.provision
    }
}

impl FromRef<AppState> for Auth {
    fn from_ref(state: &AppState) -> Self {
        state.0.auth.clone()
    }
}

impl FromRef<AppState> for ServiceVerifier {
    fn from_ref(state: &AppState) -> Self {
        state.0.platform_calls.clone()
    }
}
