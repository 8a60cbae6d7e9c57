//! What the limits and features of a tier, or of a tenant beside its tier, may be called and be.
//!
//! Deliberately no rule about which exist: limits and features are data. Invariant: bounded in number,
//! and every name is one that a module could have.

use std::collections::BTreeMap;

use kit::error::Problem;

const MAX_ENTRIES: usize = 64;
const MAX_NAME_BYTES: usize = 64;

/// Limits by name: `null` is unlimited.
pub(crate) fn limits(
    pointer: &'static str,
    limits: &BTreeMap<String, Option<i64>>,
) -> Result<(), Problem> {
    names(pointer, limits.keys())?;
    match limits
        .iter()
        .find(|(_, limit)| limit.is_some_and(|limit| limit < 0))
    {
        Some((name, _)) => Err(Problem::field(
            format!("{pointer}/{name}"),
            "must not be negative; null is unlimited",
        )),
        None => Ok(()),
    }
}

/// Names of limits or features.
pub(crate) fn names<'n>(
    pointer: &'static str,
    names: impl ExactSizeIterator<Item = &'n String>,
) -> Result<(), Problem> {
    if names.len() > MAX_ENTRIES {
        return Err(Problem::field(pointer, "has more than 64 names"));
    }
    let mut names = names;
    if names.all(|name| is_name(name)) {
        return Ok(());
    }
    Err(Problem::field(
        pointer,
        "has a name that is not 1 to 64 of a-z, 0-9, _ and .",
    ))
}

fn is_name(name: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'.'))
}
