//! From a request to its tenant's database, and to no other.
//!
//! Deliberately closed: a [`Tenant`] is made only by the doors in [`doors`] (and for the platform's
//! own calls by [`crate::internal`]), a connection comes only from a [`Tenant`], and nothing here
//! can be had from the application's state. Invariant: whoever holds a `Tenant` has shown a
//! verified right to it.

mod admission;
mod changes;
mod connections;
mod directory;
pub(crate) mod doors;
mod doubt;
mod gate;
mod heartbeat;
mod hold;
mod known;
mod lease;
mod look_ups;
mod migrations;
mod open;
mod refusal;
mod unheard;

use std::sync::Arc;

use contract::{TenantId, TenantRoute, TierGrant};
use futures::future::BoxFuture;
use kit::error::Problem;
use kit::observe::Notes;
use sqlx::PgConnection;

pub(crate) use changes::{Seen, follow_changes};
pub(crate) use connections::ConnectionLimits;
pub(crate) use directory::{Directory, DirectorySettings};
pub(crate) use doors::SignIn;
pub use doors::{InTenant, Permission, SignedIn, SigningOut};
pub(crate) use heartbeat::{Heart, Registration, keep_beating};
pub use lease::{Borrowed, Transaction};
pub use migrations::OnDemand;
pub(crate) use migrations::{Migrator, MigratorSettings};
pub(crate) use unheard::stay_seen;

use self::admission::Intent;
use self::known::Known;
use crate::state::AppState;

/// A tenant that the caller has shown a right to, for the time of a request.
#[derive(Clone)]
pub struct Tenant {
    known: Arc<Known>,
    directory: Directory,
    intent: Intent,
    notes: Arc<Notes>,
}

impl Tenant {
    fn new(known: Arc<Known>, directory: Directory, intent: Intent, notes: Arc<Notes>) -> Self {
        let route = known.route();
        notes.tenant(route.tenant.clone(), Arc::clone(known.tier_name()));
        Self {
            known,
            directory,
            intent,
            notes,
        }
    }

    /// The door `Service`: a tenant by the route that the platform sent, which is not kept.
    pub(crate) fn for_platform(state: &AppState, route: TenantRoute, notes: Arc<Notes>) -> Self {
        let known = state.directory().know(route);
        Self::new(known, state.directory().clone(), Intent::Platform, notes)
    }

    /// Its id.
    pub fn id(&self) -> &TenantId {
        &self.route().tenant
    }

    /// Everything that the platform says of it.
    pub fn route(&self) -> &TenantRoute {
        self.known.route()
    }

    /// Its limits and features.
    pub fn grant(&self) -> &TierGrant {
        &self.known.route().tier
    }

    /// Does `work` on a connection for statements that only read, each on its own. It is done once
    /// more from the start where the connection turns out to have died while it was idle.
    ///
    /// `tenant.read(|db, _| Box::pin(store::find(db, id)))`: the second argument only says that what
    /// `work` borrows lives long enough.
    ///
    /// # Errors
    /// Those of `work`; `overloaded` when no connection became free in time, `tenant-unavailable`
    /// when the tenant's database cannot be reached or is not the right one; how the tenant stands,
    /// where that changed since the door.
    pub async fn read<'env, T, E: Into<Problem>>(
        &self,
        work: impl for<'c> Fn(&'c mut PgConnection, Borrowed<'c, 'env>) -> BoxFuture<'c, Result<T, E>>,
    ) -> Result<T, Problem> {
        lease::read(self, work).await
    }

    /// A transaction; ended by [`Transaction::commit`], rolled back when it is dropped.
    ///
    /// # Errors
    /// As [`Tenant::read`].
    pub async fn begin(&self) -> Result<Transaction, Problem> {
        lease::begin(self).await
    }
}

impl std::fmt::Debug for Tenant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tenant({})", self.id())
    }
}
