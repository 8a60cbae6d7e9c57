//! Who may do what in a tenant, as it stands now.
//!
//! Deliberately one pure function over the route: it asks neither the platform nor the database. Invariant:
//! it is asked at the door and again before every connection, because what was found at the door may be old
//! by then.

use contract::tenant::{Suspension, SuspensionWall};
use contract::{Code, TenantRoute, TenantStatus};
use http::Method;
use kit::error::Problem;
use time::UtcOffset;

use super::known::{CONNECTIONS_LIMIT, not_granted};

/// What a caller is about to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Intent {
    /// Read.
    Read,
    /// Whatever the tenant allows.
    Write,
    /// Sign in: nobody has been proved yet, so nothing is told.
    SignIn,
    /// Sign out.
    SignOut,
    /// What the platform asks for, which knows how the tenant stands.
    Platform,
}

impl Intent {
    /// That of a request by its method.
    pub(super) fn of(method: &Method) -> Self {
        if method.is_safe() {
            Self::Read
        } else {
            Self::Write
        }
    }

    /// Whether the tenant allows it.
    ///
    /// # Errors
    /// `tenant-read-only`, `tenant-suspended` with the operator's reason; `tenant-provisioning`,
    /// `tenant-deleted`; `limit-reached` where its tier grants no connections; for [`Intent::SignIn`]
    /// always `credentials-wrong`.
    pub(super) fn admit(self, route: &TenantRoute) -> Result<(), Problem> {
        let code = match (route.status, self) {
            (_, Self::Platform) => return Ok(()),
            (TenantStatus::Suspended, _) if !reads(route) => Some(Code::TenantSuspended),
            (TenantStatus::Suspended, Self::Write) => Some(Code::TenantReadOnly),
            (TenantStatus::Active | TenantStatus::Suspended, _) => None,
            (TenantStatus::Provisioning, _) => Some(Code::TenantProvisioning),
            (TenantStatus::Deleted, _) => Some(Code::TenantDeleted),
        };
        let problem = match (code, &route.suspension) {
            // Nobody waits for a connection that does not come.
            (None, _) if route.tier.limit(CONNECTIONS_LIMIT).is_none() => {
                not_granted(&route.tier, CONNECTIONS_LIMIT)
            }
            (None, _) => return Ok(()),
            (Some(code), Some(suspension)) => Problem::new(code).detail(told(suspension)),
            (Some(code), None) => Problem::new(code),
        };
        match self {
            Self::SignIn => Err(Problem::new(Code::CredentialsWrong)),
            _ => Err(problem),
        }
    }

    /// A problem as its caller may see it: who has no token does not learn how a tenant fares.
    pub(super) fn shown(self, problem: Problem) -> Problem {
        let tells = matches!(
            problem.code(),
            Code::TenantUnavailable
                | Code::TenantMigrating
                | Code::TenantHeld
                | Code::RolloutHalted
                | Code::MigrationFailed
        );
        match self {
            Self::SignIn if tells => Problem::new(Code::Overloaded).caused_by(problem),
            _ => problem,
        }
    }
}

/// Whether a tenant is suspended so that its people may read.
pub(super) fn reads(route: &TenantRoute) -> bool {
    route.status == TenantStatus::Suspended
        && route
            .suspension
            .as_ref()
            .is_some_and(|suspension| suspension.wall == SuspensionWall::ReadOnly)
}

/// What the tenant's people are told.
fn told(suspension: &Suspension) -> String {
    let mut words = suspension
        .reason
        .clone()
        .unwrap_or_else(|| "An operator of the platform holds the tenant back.".to_owned());
    if let Some(until) = suspension.until {
        let until = until.to_offset(UtcOffset::UTC);
        let (day, hour, minute) = (until.date(), until.hour(), until.minute());
        words.push_str(&format!(" (Until {day} {hour:02}:{minute:02}, UTC.)"));
    }
    words
}
