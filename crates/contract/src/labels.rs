//! Labels of clusters, and those that a tenant's cluster must have: one rule for both.
//!
//! Deliberately a rule and no type: whoever refuses labels names the field of its request. Invariant: what
//! a tenant may ask for, a cluster may have, and the other way round.

use std::collections::BTreeMap;

/// The rule, in words that follow the name of a field.
pub const RULE: &str =
    "has at most 20 labels, names and values of 1 to 63 visible ASCII characters";
const MOST: usize = 20;
const MOST_BYTES: usize = 63;

/// Whether these labels keep the [`RULE`].
pub fn fit(labels: &BTreeMap<String, String>) -> bool {
    let word = |text: &String| {
        (1..=MOST_BYTES).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
    };
    labels.len() <= MOST && labels.iter().all(|(name, value)| word(name) && word(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_few_and_short_and_visible() {
        let one = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
        let many = |count: usize| -> BTreeMap<_, _> {
            (0..count)
                .map(|number| (format!("l{number}"), "x".to_owned()))
                .collect()
        };
        let (longest, longer) = ("x".repeat(63), "x".repeat(64));
        for good in [
            many(0),
            many(20),
            one("disk", "nvme"),
            one(&longest, &longest),
        ] {
            assert!(fit(&good), "{good:?}");
        }
        for bad in [
            many(21),
            one("", "x"),
            one("x", ""),
            one(&longer, "x"),
            one("x", &longer),
            one("x", "a b"),
            one("x", "ä"),
            one("x\n", "x"),
        ] {
            assert!(!fit(&bad), "{bad:?}");
        }
    }
}
