//! What roles grant, against what this program knows as permissions.
//!
//! Deliberately no list of permissions: the operations' own description is the list. Invariant: a
//! token never says a permission that no operation asks for.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use kit::openapi::{ACCESS_EXTENSION, operations_of};
use utoipa::openapi::OpenApi;

/// The permissions that operations ask for, `<module>:<action>`.
pub(crate) fn declared(api: &OpenApi) -> BTreeSet<String> {
    let mut paths = api.paths.paths.clone();
    paths
        .values_mut()
        .flat_map(operations_of)
        .filter_map(|operation| {
            operation.extensions.as_ref()?.get(ACCESS_EXTENSION)?["permission"].as_str()
        })
        .filter(|name| name.contains(':'))
        .map(str::to_owned)
        .collect()
}

/// The declared permissions that a role's patterns grant: `*` everything, `*:<action>` that action
/// of every module, anything else the permission of that name.
pub(super) fn granted(declared: &BTreeSet<String>, patterns: &[String]) -> BTreeSet<String> {
    declared
        .iter()
        .filter(|permission| patterns.iter().any(|pattern| matches(pattern, permission)))
        .cloned()
        .collect()
}

fn matches(pattern: &str, permission: &str) -> bool {
    if pattern == "*" {
        return true;
    }
    match (pattern.split_once(':'), permission.split_once(':')) {
        (Some(("*", wanted)), Some((_, action))) => wanted == action,
        _ => pattern == permission,
    }
}
