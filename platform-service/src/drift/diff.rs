//! What differs between two catalogs.
//!
//! Deliberately knows texts alone. Invariant: two catalogs differ in nothing exactly when each has the
//! other's lines.

use std::collections::BTreeMap;

use contract::operator::rollout::Difference;

/// Lines by what they are about.
pub(crate) type Catalog = BTreeMap<String, Line>;

/// Something in a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) kind: Kind,
    pub(crate) definition: String,
    /// The statement that makes it.
    pub(crate) make: Option<String>,
    /// The statement that takes it away without harm.
    pub(crate) unmake: Option<String>,
}

/// What sort of thing it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Object,
    Right,
}

/// Something that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Drifted {
    pub(crate) kind: Kind,
    pub(crate) object: String,
    pub(crate) difference: Difference,
    pub(crate) expected: Option<String>,
    pub(crate) found: Option<String>,
    pub(crate) mend: Option<String>,
}

/// What differs, in the order of the objects.
pub(crate) fn diff(expected: &Catalog, found: &Catalog) -> Vec<Drifted> {
    let mut objects: Vec<&String> = expected.keys().chain(found.keys()).collect();
    objects.sort();
    objects.dedup();
    objects
        .into_iter()
        .filter_map(|object| drifted(object, expected.get(object), found.get(object)))
        .collect()
}

fn drifted(object: &str, expected: Option<&Line>, found: Option<&Line>) -> Option<Drifted> {
    let (difference, kind, mend) = match (expected, found) {
        (Some(expected), None) => (Difference::Missing, expected.kind, expected.make.clone()),
        (None, Some(found)) => (Difference::Extra, found.kind, found.unmake.clone()),
        (Some(expected), Some(found)) if expected.definition != found.definition => {
            let mend = expected.make.as_deref();
            let mend = match found.unmake.as_deref() {
                _ if is_made_over(object, expected.kind) => mend.map(str::to_owned),
                // One message is one transaction: nobody sees it missing.
                Some(unmake) => mend.map(|make| format!("{unmake}; {make}")),
                None => None,
            };
            (Difference::Different, expected.kind, mend)
        }
        _ => return None,
    };
    Some(Drifted {
        kind,
        object: object.to_owned(),
        difference,
        expected: expected.map(|line| line.definition.clone()),
        found: found.map(|line| line.definition.clone()),
        mend,
    })
}

/// Whether the statement that makes it replaces what is there.
fn is_made_over(object: &str, kind: Kind) -> bool {
    kind == Kind::Right || object.starts_with("owner of ") || object.starts_with("routine ")
}

#[cfg(test)]
mod tests;
