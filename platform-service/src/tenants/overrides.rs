//! What a tenant has beyond or below its tier.
//!
//! Deliberately the same names as a tier's, and no rule about which exist: limits and features are
//! data. Invariant: bounded in number, and every name is one that a module could have.

use std::collections::BTreeMap;

use contract::TierGrant;
use kit::error::Problem;
use serde::{Deserialize, Serialize};

use crate::tiers;

/// Laid over the tier's limits and features.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"limits": {"users": 75}, "features": {"entries": true}}))]
pub(crate) struct Overrides {
    /// Limit by name, not negative; `null` means unlimited.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    limits: BTreeMap<String, Option<i64>>,
    /// Feature by name: switched on or off whatever the tier says.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    features: BTreeMap<String, bool>,
}

impl Overrides {
    /// Lays them over a tier.
    pub(crate) fn apply(&self, mut tier: TierGrant) -> TierGrant {
        for (name, limit) in &self.limits {
            tier.limits.insert(name.clone(), *limit);
        }
        for (name, on) in &self.features {
            if *on {
                tier.features.insert(name.clone());
            } else {
                tier.features.remove(name);
            }
        }
        tier
    }

    /// Points at what breaks a rule, below `/overrides`.
    pub(crate) fn check(&self) -> Result<(), Problem> {
        tiers::rules::limits("/overrides/limits", &self.limits)?;
        tiers::rules::names("/overrides/features", self.features.keys())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overrides_lie_over_the_tier() {
        let tier = TierGrant {
            name: "standard".to_owned(),
            weight: 1,
            limits: BTreeMap::from([("users".to_owned(), Some(50)), ("jobs".to_owned(), Some(1))]),
            features: ["entries".to_owned()].into(),
        };
        let overrides: Overrides = serde_json::from_value(serde_json::json!({
            "limits": {"users": null}, "features": {"entries": false, "map": true}
        }))
        .unwrap();
        let grant = overrides.apply(tier);
        assert_eq!(grant.limits["users"], None);
        assert_eq!(grant.limits["jobs"], Some(1));
        assert_eq!(grant.features, ["map".to_owned()].into());
    }

    #[test]
    fn odd_names_and_negative_limits_are_refused() {
        for odd in [
            serde_json::json!({"limits": {"Users": 1}}),
            serde_json::json!({"limits": {"users": -1}}),
            serde_json::json!({"features": {"": true}}),
        ] {
            let overrides: Overrides = serde_json::from_value(odd).unwrap();
            assert!(overrides.check().is_err());
        }
    }
}
