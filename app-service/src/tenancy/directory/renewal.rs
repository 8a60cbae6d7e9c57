//! Renewal behind: what is known is asked for again while it is served, and brought up where that is wanted.
//!
//! Deliberately served on as it is while the platform cannot be reached. Invariant: few renewals are under way at
//! once, and nobody waits for one.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use contract::{Code, TenantRoute, TenantStatus};

use super::{Directory, millis};
use crate::tenancy::hold;
use crate::tenancy::known::Known;
use crate::tenancy::migrations::{MigrateRefusal, Urgency};

/// Renewals that are under way at once.
pub(super) const RENEWALS: usize = 16;
/// How long a failed renewal is left alone.
const RENEWAL_PAUSE: Duration = Duration::from_secs(2);

impl Directory {
    pub(super) fn renew_behind(&self, known: &Arc<Known>) {
        let pause = millis(RENEWAL_PAUSE).min(self.freshness_of(&known.route));
        known.renew_at.store(self.now() + pause, Ordering::Relaxed);
        let Ok(turn) = Arc::clone(&self.0.renewals).try_acquire_owned() else {
            return;
        };
        let (directory, known) = (self.clone(), Arc::clone(known));
        self.0.tasks.spawn(async move {
            let id = &known.route.tenant;
            match directory.0.platform.route(id).await {
                Ok(route) if route == known.route => {
                    let next = directory.now() + directory.freshness_of(&known.route);
                    known.renew_at.store(next, Ordering::Relaxed);
                    directory.migrate_behind(&known.route);
                }
                Ok(_) => directory.forget(id),
                Err(error) if error.refusal() == Some(Code::NotFound) => directory.forget(id),
                // Served on as it is: the data plane outlives the control plane.
                Err(_) => {}
            }
            drop(turn);
        });
    }

    /// Brings a tenant up that is behind: first where it cannot be served as it is, else meanwhile.
    pub(super) async fn migrate(&self, route: &TenantRoute) -> Result<(), MigrateRefusal> {
        let migrator = &self.0.migrator;
        match migrator.due(route)? {
            None => Ok(()),
            Some(urgency @ Urgency::Needed) => migrator.bring_up(route, urgency).await,
            Some(Urgency::Wanted) => {
                self.migrate_behind(route);
                Ok(())
            }
        }
    }

    /// Brings a tenant up that is served meanwhile, where that is wanted and nothing is in its way.
    fn migrate_behind(&self, route: &TenantRoute) {
        let is_served = route.status == TenantStatus::Active && route.hold.is_none();
        let wanted = Ok(Some(Urgency::Wanted));
        if !is_served || self.0.migrator.due(route) != wanted {
            return;
        }
        let (migrator, route) = (self.0.migrator.clone(), route.clone());
        self.0.tasks.spawn(async move {
            // What kept it from coming up was logged, and told where it is a failure.
            let _ = migrator.bring_up(&route, Urgency::Wanted).await;
        });
    }

    /// What is held is looked at often: the news of the end may be lost.
    pub(super) fn freshness_of(&self, route: &TenantRoute) -> u64 {
        match route.hold {
            Some(_) => millis(hold::LOOK),
            None => self.freshness(),
        }
    }

    pub(super) fn freshness(&self) -> u64 {
        let fresh = if self.0.hears_feed.load(Ordering::Relaxed) {
            self.0.settings.fresh
        } else {
            self.0.settings.fresh_without_feed
        };
        millis(fresh)
    }
}
