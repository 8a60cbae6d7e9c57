//! Asks the platform for tenants' routes: a bounded number of questions at once, and only a few while it
//! does not answer.
//!
//! Deliberately without a clock: the few that still ask find out when it answers again. Invariant: while
//! the platform is known to be silent, every other request is refused at once and waits for no answer.

use std::sync::atomic::{AtomicBool, Ordering};

use contract::client::{ClientError, PlatformClient};
use contract::{TenantId, TenantRoute};
use tokio::sync::Semaphore;

/// Look-ups that are under way at once: when everything is forgotten, the platform is to be able
/// to answer what every replica asks it.
const AT_ONCE: usize = 64;
/// The same while the platform is silent.
const TRIES: usize = 4;

/// See the module.
pub(super) struct LookUps {
    turns: Semaphore,
    tries: Semaphore,
    silent: AtomicBool,
}

/// Why a look-up gave no route.
pub(super) enum NoRoute {
    /// The platform did not hand it out.
    Asked(ClientError),
    /// It was not asked: it gives no answer to others.
    Silent,
}

impl LookUps {
    pub(super) fn new() -> Self {
        Self {
            turns: Semaphore::new(AT_ONCE),
            tries: Semaphore::new(TRIES),
            silent: AtomicBool::new(false),
        }
    }

    /// What the platform says of a tenant.
    pub(super) async fn route(
        &self,
        platform: &PlatformClient,
        id: &TenantId,
    ) -> Result<TenantRoute, NoRoute> {
        let tries = match self.is_silent() {
            true => Some(self.tries.try_acquire().map_err(|_| NoRoute::Silent)?),
            false => None,
        };
        let _turn = self.turns.acquire().await;
        // Others may have found out while this one waited for its turn.
        if tries.is_none() && self.is_silent() {
            return Err(NoRoute::Silent);
        }
        let answer = platform.route(id).await;
        let silent = answer.as_ref().is_err_and(ClientError::is_silence);
        self.silent.store(silent, Ordering::Relaxed);
        answer.map_err(NoRoute::Asked)
    }

    fn is_silent(&self) -> bool {
        self.silent.load(Ordering::Relaxed)
    }
}
