//! Who did what to which tenant: one row in the transaction that does it.
//!
//! Deliberately insert-only and without personal data beyond ids. Invariant: no change by an
//! operator or a sign-up commits without its row.

pub(crate) mod api;
mod store;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use crate::operations::OperationKind;
use crate::operators::OperatorKeyId;

pub(crate) use store::record;

/// What an operator's id follows.
const OPERATOR: &str = "operator/";
/// What follows the kind of an operation that was asked for.
const BEGUN: &str = ".begun";

/// Who did it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Actor {
    /// Somebody who signed up.
    Signup,
    /// The bearer of this key.
    Operator(OperatorKeyId),
    /// The platform itself, at an operation's end or by a setting.
    Platform,
}

/// A text that names nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is platform, signup, or the id of an operator key (opr_...)")]
pub(crate) struct UnknownActor;

impl FromStr for Actor {
    type Err = UnknownActor;

    fn from_str(text: &str) -> Result<Self, UnknownActor> {
        match text {
            "signup" => Ok(Self::Signup),
            "platform" => Ok(Self::Platform),
            _ => {
                let key = text.strip_prefix(OPERATOR).unwrap_or(text);
                Ok(Self::Operator(key.parse().map_err(|_| UnknownActor)?))
            }
        }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signup => f.write_str("signup"),
            Self::Operator(key) => write!(f, "{OPERATOR}{key}"),
            Self::Platform => f.write_str("platform"),
        }
    }
}

macro_rules! actions {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)+) => {
        /// What was done; past tense, dotted.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Action {
            $($(#[$doc])* $name,)+
            /// An operator asked for something that is done to a tenant, a cluster or the fleet.
            OperationBegun(OperationKind),
        }

        impl Action {
            fn text(self) -> Cow<'static, str> {
                Cow::Borrowed(match self {
                    $(Self::$name => $text,)+
                    Self::OperationBegun(kind) => {
                        return format!("{}{BEGUN}", kind.as_str()).into();
                    }
                })
            }
        }

        impl FromStr for Action {
            type Err = UnknownAction;

            fn from_str(text: &str) -> Result<Self, UnknownAction> {
                match text {
                    $($text => return Ok(Self::$name),)+
                    _ => {}
                }
                let kind = text.strip_suffix(BEGUN).ok_or(UnknownAction)?;
                Ok(Self::OperationBegun(kind.parse().map_err(|_| UnknownAction)?))
            }
        }
    };
}

actions! {
    /// A tenant was asked for.
    TenantRequested = "tenant.requested";
    /// A tenant works.
    TenantActivated = "tenant.activated";
    /// A tenant could not be made and nothing of it is left.
    TenantUndone = "tenant.undone";
    /// An operator changed a tenant.
    TenantUpdated = "tenant.updated";
    /// An operator let a stuck operation go on.
    OperationRetried = "operation.retried";
    /// A server was added.
    ClusterAdded = "cluster.added";
    /// A cluster was removed.
    ClusterRemoved = "cluster.removed";
    /// An operator key was made.
    OperatorKeyCreated = "operator_key.created";
    /// An operator key was revoked.
    OperatorKeyRevoked = "operator_key.revoked";
    /// A signing key was published.
    SigningKeyPublished = "signing_key.published";
    /// An operator asked an operation to end.
    OperationCancelled = "operation.cancelled";
    /// An operator changed a cluster.
    ClusterUpdated = "cluster.updated";
    /// An operator changed a tier or its schedule of backups.
    TierUpdated = "tier.updated";
    /// An operator got a login to a tenant's database.
    PsqlIssued = "psql.issued";
    /// An operator asked the fleet a question.
    QueryRun = "query.run";
    /// An operator has a find of a sweep removed.
    FindingRemoving = "finding.removing";
    /// A find of a sweep was removed.
    FindingRemoved = "finding.removed";
    /// An operator let a find of a sweep stay.
    FindingKept = "finding.kept";
    /// An operator steered a roll-out.
    RolloutSteered = "rollout.steered";
}

/// A word that names no action.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("names no action")]
pub(crate) struct UnknownAction;
