//! Who did what to which tenant: one row in the transaction that does it.
//!
//! Deliberately insert-only and without personal data beyond ids. Invariant: no change by an
//! operator or a sign-up commits without its row.

use std::borrow::Cow;
use std::fmt;

use contract::TenantId;
use serde_json::Value;
use sqlx::PgConnection;

use crate::operations::OperationKind;
use crate::operators::OperatorKeyId;

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

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signup => f.write_str("signup"),
            Self::Operator(key) => write!(f, "operator/{key}"),
            Self::Platform => f.write_str("platform"),
        }
    }
}

/// What was done; past tense, dotted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// A tenant was asked for.
    TenantRequested,
    /// A tenant works.
    TenantActivated,
    /// A tenant could not be made and nothing of it is left.
    TenantUndone,
    /// An operator changed a tenant.
    TenantUpdated,
    /// An operator let a stuck operation go on.
    OperationRetried,
    /// A server was added.
    ClusterAdded,
    /// A cluster was removed.
    ClusterRemoved,
    /// An operator key was made.
    OperatorKeyCreated,
    /// An operator key was revoked.
    OperatorKeyRevoked,
    /// A signing key was published.
    SigningKeyPublished,
    /// An operator asked for something that is done to a tenant, a cluster or the fleet.
    OperationBegun(OperationKind),
    /// An operator asked an operation to end.
    OperationCancelled,
    /// An operator changed a cluster.
    ClusterUpdated,
    /// An operator changed a tier's schedule of backups.
    TierUpdated,
    /// An operator got a login to a tenant's database.
    PsqlIssued,
    /// An operator asked the fleet a question.
    QueryRun,
    /// A find of a sweep was removed.
    FindingRemoved,
    /// An operator let a find of a sweep stay.
    FindingKept,
    /// An operator steered a roll-out.
    RolloutSteered,
}

impl Action {
    fn text(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::TenantRequested => "tenant.requested",
            Self::TenantActivated => "tenant.activated",
            Self::TenantUndone => "tenant.undone",
            Self::TenantUpdated => "tenant.updated",
            Self::OperationRetried => "operation.retried",
            Self::ClusterAdded => "cluster.added",
            Self::ClusterRemoved => "cluster.removed",
            Self::OperatorKeyCreated => "operator_key.created",
            Self::OperatorKeyRevoked => "operator_key.revoked",
            Self::SigningKeyPublished => "signing_key.published",
            Self::OperationBegun(kind) => return format!("{}.begun", kind.as_str()).into(),
            Self::OperationCancelled => "operation.cancelled",
            Self::ClusterUpdated => "cluster.updated",
            Self::TierUpdated => "tier.updated",
            Self::PsqlIssued => "psql.issued",
            Self::QueryRun => "query.run",
            Self::FindingRemoved => "finding.removed",
            Self::FindingKept => "finding.kept",
            Self::RolloutSteered => "rollout.steered",
        })
    }
}

/// Records an action; `detail` is a JSON object without secrets.
pub(crate) async fn record(
    connection: &mut PgConnection,
    actor: Actor,
    action: Action,
    tenant: Option<&TenantId>,
    detail: Value,
) -> Result<(), sqlx::Error> {
    let action = action.text();
    sqlx::query!(
        "insert into registry.audit (actor, action, tenant_id, detail) values ($1, $2, $3, $4)",
        actor.to_string(),
        action.as_ref(),
        tenant.map(TenantId::as_str),
        detail,
    )
    .execute(connection)
    .await?;
    Ok(())
}
