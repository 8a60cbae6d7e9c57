//! The life of a tenant as one pure function.
//!
//! Deliberately knows no database and no operation: whoever changes a status asks here first.
//! Invariant: a status changes only by [`TenantStatus::after`].

use serde::{Deserialize, Serialize};

/// Where a tenant stands in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TenantStatus {
    /// Being made; requests get 503 with `Retry-After`.
    Provisioning,
    /// Served.
    Active,
    /// Held back by an operator; requests get 403.
    Suspended,
    /// Off-boarded; requests get 410. The id is never given to anybody else.
    Deleted,
}

/// What can happen to a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TenantEvent {
    /// The last step of its creation succeeded.
    Activated,
    /// An operator held it back.
    Suspended,
    /// An operator let it go on.
    Resumed,
    /// It was off-boarded.
    Deleted,
    /// An operator brought it back before its data was destroyed.
    Restored,
}

/// A change that the life of a tenant does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a tenant that is {} cannot be {event:?}", .status.as_str())]
pub struct NotAllowed {
    /// Where the tenant stands.
    pub status: TenantStatus,
    /// What was tried.
    pub event: TenantEvent,
}

impl TenantStatus {
    /// Every status, for help texts and tests.
    pub const ALL: [Self; 4] = [
        Self::Provisioning,
        Self::Active,
        Self::Suspended,
        Self::Deleted,
    ];

    /// The status after `event`, or why it cannot happen now.
    ///
    /// An event that has happened already is allowed and changes nothing, so that a resumed
    /// operation can say it again.
    pub fn after(self, event: TenantEvent) -> Result<Self, NotAllowed> {
        use TenantEvent as E;
        match (self, event) {
            (Self::Provisioning | Self::Active, E::Activated) => Ok(Self::Active),
            (Self::Active | Self::Suspended, E::Suspended) => Ok(Self::Suspended),
            (Self::Suspended | Self::Active, E::Resumed) => Ok(Self::Active),
            (Self::Active | Self::Suspended | Self::Deleted, E::Deleted) => Ok(Self::Deleted),
            // What was suspended is held back again by its own event.
            (Self::Deleted | Self::Active, E::Restored) => Ok(Self::Active),
            (status, event) => Err(NotAllowed { status, event }),
        }
    }

    /// The word for it in the registry and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Provisioning => "provisioning",
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Deleted => "deleted",
        }
    }
}

impl std::str::FromStr for TenantStatus {
    type Err = UnknownStatus;

    fn from_str(text: &str) -> Result<Self, UnknownStatus> {
        Self::ALL
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or(UnknownStatus)
    }
}

/// A word that names no status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a status is one of provisioning, active, suspended, deleted")]
pub struct UnknownStatus;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_table() {
        use TenantEvent as E;
        use TenantStatus as S;
        let table = [
            (S::Provisioning, [Some(S::Active), None, None, None, None]),
            (
                S::Active,
                [
                    Some(S::Active),
                    Some(S::Suspended),
                    Some(S::Active),
                    Some(S::Deleted),
                    Some(S::Active),
                ],
            ),
            (
                S::Suspended,
                [
                    None,
                    Some(S::Suspended),
                    Some(S::Active),
                    Some(S::Deleted),
                    None,
                ],
            ),
            (
                S::Deleted,
                [None, None, None, Some(S::Deleted), Some(S::Active)],
            ),
        ];
        for (status, expected) in table {
            let events = [
                E::Activated,
                E::Suspended,
                E::Resumed,
                E::Deleted,
                E::Restored,
            ];
            for (event, expected) in events.into_iter().zip(expected) {
                assert_eq!(status.after(event).ok(), expected, "{status:?} {event:?}");
            }
        }
    }
}
