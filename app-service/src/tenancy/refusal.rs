//! Why a tenant cannot be had, and the problem document that its callers are answered with.
//!
//! Deliberately without the refusals of a door or of a permission, which are about the caller. Invariant:
//! what may pass in a moment is not remembered.

use std::sync::Arc;
use std::time::Duration;

use contract::Code;
use contract::client::ClientError;
use kit::error::Problem;

use super::migrations::MigrateRefusal;

/// See the module.
#[derive(Debug, Clone)]
pub(crate) enum Refusal {
    /// Nobody has this id.
    Unknown,
    /// It is being made.
    Provisioning,
    /// It was off-boarded.
    Deleted,
    /// Its schema is older than this code serves, and could not be brought up.
    Migration(MigrateRefusal),
    /// The platform gave no answer; never remembered.
    PlatformUnavailable(Arc<ClientError>),
    /// The platform gave no answer in time, or gives none to others; never remembered.
    PlatformSilent,
    /// Its database refused us, also by what the platform said when it was asked again.
    Unavailable,
    /// It is held for longer than requests wait, or too many wait already; never remembered.
    Held,
    /// What has to be done before it is served took too long; never remembered.
    TimedOut,
}

impl Refusal {
    pub(super) fn is_remembered(&self) -> bool {
        match self {
            Self::Unknown | Self::Provisioning | Self::Deleted | Self::Unavailable => true,
            Self::Migration(refusal) => *refusal != MigrateRefusal::Busy,
            Self::PlatformUnavailable(_) | Self::PlatformSilent | Self::Held | Self::TimedOut => {
                false
            }
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Unknown => Self::new(Code::NotFound),
            Refusal::Provisioning => Self::new(Code::TenantProvisioning),
            Refusal::Deleted => Self::new(Code::TenantDeleted),
            Refusal::Unavailable | Refusal::Migration(MigrateRefusal::Unavailable) => {
                Self::new(Code::TenantUnavailable)
            }
            Refusal::Migration(MigrateRefusal::Busy) | Refusal::TimedOut => {
                Self::new(Code::TenantMigrating)
            }
            Refusal::Migration(MigrateRefusal::Halted) => {
                Self::new(Code::RolloutHalted).retry_after(Duration::from_secs(30))
            }
            Refusal::Migration(MigrateRefusal::Failed) => {
                Self::new(Code::MigrationFailed).retry_after(Duration::from_secs(30))
            }
            Refusal::Held => Self::new(Code::TenantHeld).retry_after(Duration::from_secs(1)),
            Refusal::PlatformUnavailable(cause) => {
                Self::new(Code::PlatformUnavailable).caused_by(cause)
            }
            Refusal::PlatformSilent => Self::new(Code::PlatformUnavailable)
                .detail("The platform does not answer just now.")
                .retry_after(Duration::from_secs(1)),
        }
    }
}
