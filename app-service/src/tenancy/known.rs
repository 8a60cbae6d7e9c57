//! A tenant as a replica knows it: its route, with what requests need of it.
//!
//! Deliberately does not decide how long it is kept: the directory does. Invariant: its connections are
//! those of this route, and no others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use contract::tenant::Limit;
use contract::{Code, TenantRoute, TenantStatus, TierGrant};
use kit::error::Problem;
use kit::limit::{GlobalLimiter, Rate};

use super::connections::{AcquireError, ClusterConnections, Held};
use super::gate::Claim;
use super::open::Opener;

/// Connections that a tenant may hold on one replica.
pub(super) const CONNECTIONS_LIMIT: &str = "connections";
/// Requests of a tenant that one replica takes in a second.
const REQUESTS_LIMIT: &str = "requests_per_second";

/// See the module.
pub(crate) struct Known {
    pub(super) route: TenantRoute,
    pub(super) tier_name: Arc<str>,
    pub(super) opener: Arc<Opener>,
    pub(super) cluster: Arc<ClusterConnections>,
    pub(super) rate: RequestRate,
    /// Milliseconds after the directory's start at which it is to be renewed.
    pub(super) renew_at: AtomicU64,
    /// Whether something newer was heard of or learned.
    pub(super) superseded: AtomicBool,
}

impl Known {
    /// What the platform says.
    pub(crate) fn route(&self) -> &TenantRoute {
        &self.route
    }

    pub(super) fn is_superseded(&self) -> bool {
        self.superseded.load(Ordering::Acquire)
    }

    /// Whether its database should let us in.
    pub(super) fn can_be_entered(&self) -> bool {
        self.route.status == TenantStatus::Active
            && self.route.hold.is_none()
            && !self.is_superseded()
    }

    pub(super) fn tier_name(&self) -> &Arc<str> {
        &self.tier_name
    }

    /// Counts a request against the tenant's rate.
    pub(super) fn admit(&self) -> Result<(), Problem> {
        match &self.rate {
            RequestRate::Unlimited => Ok(()),
            RequestRate::None => Err(not_granted(&self.route.tier, REQUESTS_LIMIT)),
            RequestRate::PerSecond(rate) => rate.check().map_err(|wait| {
                let detail = format!("The tier's {REQUESTS_LIMIT} is used up.");
                Problem::new(Code::RateLimited)
                    .detail(detail)
                    .retry_after(wait.0)
            }),
        }
    }

    pub(super) async fn acquire(&self) -> Result<Held, AcquireError> {
        let limit = match self.route.tier.limit(CONNECTIONS_LIMIT) {
            // The platform's own work needs one even where the tenant's people are granted none: they are
            // refused before they come here.
            Limit::AtMost(number) => usize::try_from(number).unwrap_or(1).max(1),
            Limit::Unlimited => usize::MAX,
        };
        let claim = Claim {
            limit,
            weight: self.route.tier.weight,
        };
        self.cluster.acquire(&self.opener, claim).await
    }

    pub(super) fn close_idle(&self) {
        self.cluster.close_idle_of(&self.route.tenant);
    }
}

/// What is said where a tier grants nothing of what everything needs: waiting does not help.
pub(super) fn not_granted(tier: &TierGrant, limit: &str) -> Problem {
    let name = &tier.name;
    Problem::new(Code::LimitReached).detail(format!("The tier {name} grants no {limit}."))
}

/// More than a replica can serve: what is granted beyond it is as good as that.
const MOST_PER_SECOND: i64 = 1_000_000;

/// Requests of a tenant that one replica takes.
pub(super) enum RequestRate {
    /// Its tier bounds them not.
    Unlimited,
    /// So many.
    PerSecond(GlobalLimiter),
    /// Its tier grants none.
    None,
}

impl RequestRate {
    pub(super) fn of(tier: &TierGrant) -> Self {
        match tier.limit(REQUESTS_LIMIT) {
            Limit::Unlimited => Self::Unlimited,
            Limit::AtMost(number) => u32::try_from(number.min(MOST_PER_SECOND))
                .ok()
                .and_then(|number| Rate::new(number, Duration::from_secs(1)).ok())
                .map_or(Self::None, |rate| Self::PerSecond(GlobalLimiter::new(rate))),
        }
    }
}
