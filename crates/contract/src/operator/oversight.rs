//! What operators may do, what they did, and who serves: scopes, the audit, the replicas.
//!
//! Deliberately types alone. Invariant: no secret is in them.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;

use crate::ids::{ReplicaId, ServiceName, TenantId};
use crate::internal::OwnedSchema;

/// What an operator key may allow.
pub const SCOPES: [&str; 14] = [
    "tenants:read",
    "tenants:write",
    "clusters:read",
    "clusters:write",
    "tenants:destroy",
    "tenants:query",
    "operations:read",
    "operations:write",
    "rollouts:read",
    "rollouts:write",
    "backups:read",
    "backups:write",
    "keys:write",
    "audit:read",
];

/// Something that was done, and who did it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(example = json!({
    "id": 4711, "at": "2027-01-31T09:30:00Z",
    "actor": "operator/opr_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f", "actor_name": "on-call console",
    "action": "suspend.begun", "tenant": "t_acme",
    "detail": { "operation": "op_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f", "wall": "read_only" },
}))]
pub struct AuditEntry {
    /// Names it.
    pub id: i64,
    /// When it was done.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// Who did it: `platform`, `signup`, or `operator/` and the id of a key.
    #[schema(example = "operator/opr_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f")]
    pub actor: String,
    /// The name of that key.
    pub actor_name: Option<String>,
    /// What was done.
    #[schema(example = "suspend.begun")]
    pub action: String,
    /// To which tenant.
    pub tenant: Option<TenantId>,
    /// What is known of it beyond that; no secret and no personal data.
    #[schema(value_type = Object)]
    pub detail: Value,
}

/// A running process of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(example = json!({
    "id": "rep_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f", "service": "app-service",
    "internal_url": "http://10.0.0.7:8091", "live": true, "acknowledged": 812, "newest_change": 812,
    "owns": [{ "owner": "entries", "newest": 3, "minimum": 2 }],
    "first_seen_at": "2027-01-30T09:30:00Z", "last_seen_at": "2027-01-31T09:30:00Z",
}))]
pub struct ReplicaView {
    /// Names it as long as it runs.
    pub id: ReplicaId,
    /// The service.
    pub service: ServiceName,
    /// Where its internal listener is reached.
    #[schema(example = "http://10.0.0.7:8091")]
    pub internal_url: String,
    /// Whether it was heard of in time. One that is silent is forgotten once it holds no connection.
    pub live: bool,
    /// The number of the last change that it has acted on; none where it knows another registry's.
    pub acknowledged: Option<u64>,
    /// The number of the newest change. What waits for replicas waits for those that live to get there.
    pub newest_change: u64,
    /// The schemas that it owns, with the versions that it brings.
    pub owns: Vec<OwnedSchema>,
    /// When it was first heard of.
    #[serde(with = "time::serde::rfc3339")]
    pub first_seen_at: OffsetDateTime,
    /// When it was last heard of.
    #[serde(with = "time::serde::rfc3339")]
    pub last_seen_at: OffsetDateTime,
}
