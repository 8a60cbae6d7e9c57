//! Changes of a tier.
//!
//! Deliberately plain data. Invariant: what is left out of a change stays as it is.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// What to change of a tier; what is left out stays.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "limits": { "users": 75 }, "features": { "map": true }, "retention_days": 45 }))]
pub struct TierPatch {
    /// What people read, of 1 to 100 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Share of a contended resource relative to other tiers: 1 to 1000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1000)]
    pub weight: Option<u32>,
    /// Limits to set, by name: not negative, `null` is unlimited. The others stay.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<String, Option<i64>>,
    /// Limits that it does not name any more: what they bound is not granted.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub dropped_limits: BTreeSet<String>,
    /// Features to switch on or off, by name. The others stay.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub features: BTreeMap<String, bool>,
    /// How long a tenant that is deleted from now on can be restored, in days: 1 to 3650.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 3650)]
    pub retention_days: Option<u32>,
    /// Whether anybody may choose it at the sign-up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub self_service: Option<bool>,
}
