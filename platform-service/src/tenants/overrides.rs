//! What a tenant has beyond or below its tier.
//!
//! Deliberately the same names as a tier's, and no rule about which exist: limits and features are
//! data. Invariant: bounded in number, and every name is one that a module could have.

use std::collections::BTreeMap;

use contract::TierGrant;
use kit::error::Problem;
use serde::{Deserialize, Serialize};

const MAX_ENTRIES: usize = 64;
const MAX_NAME_BYTES: usize = 64;

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
        if self.limits.len() > MAX_ENTRIES || self.features.len() > MAX_ENTRIES {
            return Err(Problem::field(
                "/overrides",
                "has more than 64 limits or features",
            ));
        }
        for (name, limit) in &self.limits {
            check_name("/overrides/limits", name)?;
            if limit.is_some_and(|limit| limit < 0) {
                return Err(Problem::field(
                    format!("/overrides/limits/{name}"),
                    "must not be negative; null is unlimited",
                ));
            }
        }
        for name in self.features.keys() {
            check_name("/overrides/features", name)?;
        }
        Ok(())
    }
}

fn check_name(pointer: &'static str, name: &str) -> Result<(), Problem> {
    let valid = (1..=MAX_NAME_BYTES).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'.'));
    if valid {
        Ok(())
    } else {
        Err(Problem::field(
            pointer,
            "has a name that is not 1 to 64 of a-z, 0-9, _ and .",
        ))
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
