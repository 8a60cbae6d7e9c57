//! Requests and answers about clusters: labels, capacity, moves, drains.
//!
//! Deliberately plain data. Invariant: what is left out of a change stays as it is.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use super::operation::OperationView;
use crate::ids::{ClusterName, TenantId};
use crate::tenant::TlsMode;

/// Whether new tenants may be placed on a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClusterStatus {
    /// New tenants are placed here.
    Active,
    /// It is being emptied, and gets nothing new.
    Draining,
    /// It keeps what it has and gets nothing new.
    Full,
}

impl ClusterStatus {
    /// Every status.
    pub const ALL: [Self; 3] = [Self::Active, Self::Draining, Self::Full];

    /// The word for it in the registry and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Draining => "draining",
            Self::Full => "full",
        }
    }
}

impl std::str::FromStr for ClusterStatus {
    type Err = UnknownClusterStatus;

    fn from_str(text: &str) -> Result<Self, UnknownClusterStatus> {
        Self::ALL
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or(UnknownClusterStatus)
    }
}

/// A word that names no status of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a cluster is active, draining or full")]
pub struct UnknownClusterStatus;

/// What to change of a cluster; what is left out stays, `null` takes a limit away.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "status": "full", "labels": { "disk": "nvme" }, "max_disk_bytes": 500_000_000_000_i64 }))]
pub struct ClusterPatch {
    /// Whether new tenants are placed on it. A drain sets `draining` by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<ClusterStatus>,
    /// Where its server is reached now: host name or address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// TCP port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 65_535)]
    pub port: Option<u16>,
    /// How connections to it are protected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsMode>,
    /// Replaces all labels: at most 20, each of 1 to 63 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    /// Tiers that it is kept for; `null` takes every tier.
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<Vec<String>>)]
    pub tiers: Option<Option<Vec<String>>>,
    /// Share of new tenants relative to the other clusters of the region: 1 to 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1000)]
    pub weight: Option<u32>,
    /// Server connections that all tenants on it may hold together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 100_000)]
    pub connection_budget: Option<u32>,
    /// Databases that it may hold; `null` is unlimited.
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 2_147_483_647)]
    pub max_databases: Option<Option<u32>>,
    /// Bytes that its databases may take; `null` is unlimited.
    #[serde(
        default,
        deserialize_with = "given",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<i64>, minimum = 1)]
    pub max_disk_bytes: Option<Option<u64>>,
}

/// Tells `null` from a field that is left out.
fn given<'de, D, T>(deserializer: D) -> Result<Option<Option<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Some)
}

/// Moves a tenant to another cluster of its region.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "to": "second" }))]
pub struct NewMove {
    /// Where to; left out for the cluster that placement chooses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<ClusterName>,
    /// How; left out for what holds requests for less than half a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<MoveVariant>,
}

/// How a tenant's data goes to another cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MoveVariant {
    /// Requests are held while it is dumped and restored.
    Dump,
    /// It is copied and followed while requests are served, which are held for the last changes alone.
    Replicate,
}

/// What a request to move a tenant is answered with.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(untagged)]
pub enum Moved {
    /// What would happen, for a dry run.
    Preview(MovePreview),
    /// The operation that does it.
    Operation(Box<OperationView>),
}

/// What a move would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(example = json!({
    "tenant": "t_acme", "from": "main", "to": "second", "variant": "dump", "size_bytes": 12_345_678,
    "predicted_copy_ms": 205, "predicted_hold_ms": 205,
}))]
pub struct MovePreview {
    /// Whom.
    pub tenant: TenantId,
    /// Where it is.
    pub from: ClusterName,
    /// Where it goes.
    pub to: ClusterName,
    /// How.
    pub variant: MoveVariant,
    /// What its database takes.
    pub size_bytes: u64,
    /// About how long copying takes, in milliseconds.
    pub predicted_copy_ms: u64,
    /// About how long its requests wait, in milliseconds; by replication, at most.
    pub predicted_hold_ms: u64,
}

/// Moves every tenant off a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "at_once": 4 }))]
pub struct NewDrain {
    /// Moves at once: 1 to 16, else 4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 16, default = 4)]
    pub at_once: Option<u32>,
    /// How each tenant moves; left out for what holds its requests for less than half a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<MoveVariant>,
}

/// What a request to empty a cluster is answered with.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(untagged)]
pub enum Drained {
    /// What would happen, for a dry run.
    Preview(DrainPreview),
    /// The operation that does it.
    Operation(Box<OperationView>),
}

/// What emptying a cluster would do, were nothing else placed meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(example = json!({
    "cluster": "old", "tenants": 2, "kept": 1,
    "moves": [{
        "tenant": "t_acme", "from": "old", "to": "second", "variant": "dump", "size_bytes": 12_345_678,
        "predicted_copy_ms": 205, "predicted_hold_ms": 205,
    }],
    "remaining": [{ "tenant": "t_big", "reason": "No other cluster takes it." }],
}))]
pub struct DrainPreview {
    /// The cluster.
    pub cluster: ClusterName,
    /// Tenants that are on it.
    pub tenants: u64,
    /// Who would go, and where.
    pub moves: Vec<MovePreview>,
    /// Who would stay.
    pub remaining: Vec<RemainingTenant>,
    /// Databases on it from which no tenant is served: they stay for their time.
    pub kept: u64,
}

/// A tenant that does not leave a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RemainingTenant {
    /// The tenant.
    pub tenant: TenantId,
    /// Why.
    pub reason: String,
}

/// A cluster that was removed, or would be, and what is left of it on its server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(example = json!({
    "cluster": "old", "server": "done", "dropped": ["stock:41", "stock:42", "tpl:7"], "stays": [],
    "note": null,
}))]
pub struct RemovedCluster {
    /// The cluster.
    pub cluster: ClusterName,
    /// Whether its server was cleared.
    pub server: ServerCleared,
    /// What was dropped on the server: ready copies, templates, logins of operators.
    #[schema(example = json!(["stock:41", "tpl:7"]))]
    pub dropped: Vec<String>,
    /// Databases of the platform that no tenant has, which could be somebody's data: they stay on the
    /// server.
    #[schema(example = json!(["warehouse"]))]
    pub stays: Vec<String>,
    /// What people have to know or to do where the server was not cleared.
    pub note: Option<String>,
}

/// Whether the server of a removed cluster was cleared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ServerCleared {
    /// What the platform makes by itself is dropped, and any installation may add it.
    Done,
    /// Something is left to people: see the note.
    ByHand,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn null_is_not_left_out() {
        let read = |text: &str| serde_json::from_str::<ClusterPatch>(text).unwrap();
        assert_eq!(read("{}"), ClusterPatch::default());
        let patch = read(r#"{"tiers": null, "max_databases": 5, "max_disk_bytes": null}"#);
        assert_eq!(patch.tiers, Some(None));
        assert_eq!(patch.max_databases, Some(Some(5)));
        assert_eq!(patch.max_disk_bytes, Some(None));
        let back = serde_json::to_string(&patch).unwrap();
        assert_eq!(read(&back), patch);
    }
}
