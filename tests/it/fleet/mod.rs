//! What is done to tenants that exist, to clusters and to the whole fleet: one file per theme, and every
//! kind of operation failed, repeated, killed and stuck at every step by [`harness`].
//!
//! Deliberately the same loops for all kinds. Invariant: a kind without a case fails here.

mod adoptions;
mod away;
pub(crate) mod backups;
mod canaries;
mod causes;
mod copies;
mod doctor;
mod drift;
mod erasures;
mod expiries;
pub(crate) mod harness;
pub(crate) mod life;
mod logins;
mod moves;
mod outages;
mod queries;
mod races;
mod recoveries;
mod replaced_keys;
pub(crate) mod rollouts;
mod sweeps;

use world::OperationKind;

use self::harness::Case;

/// Works, and looks meanwhile without a pause: the most that was seen.
async fn most_during<T>(
    work: impl Future<Output = T>,
    look: impl AsyncFn() -> usize,
) -> (usize, T) {
    let (mut work, mut most) = (std::pin::pin!(work), 0);
    loop {
        tokio::select! {
            done = &mut work => return (most, done),
            seen = look() => most = most.max(seen),
        }
    }
}

/// The cases of all kinds, one line per theme.
fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    cases.extend(adoptions::cases());
    cases.extend(backups::cases());
    cases.extend(copies::cases());
    cases.extend(life::cases());
    cases.push(rollouts::case());
    cases.extend(drift::cases());
    cases.extend(moves::cases());
    cases.extend(replaced_keys::cases());
    cases
}

#[test]
fn every_kind_has_its_case() {
    let cases = cases();
    for kind in OperationKind::ALL {
        // `saga` has that of `create`; what is done when it is recorded cannot fail midway.
        if *kind == OperationKind::Create || kind.steps().is_empty() {
            continue;
        }
        let covered: Vec<_> = cases
            .iter()
            .filter(|case| case.kind == *kind)
            .flat_map(|case| case.steps)
            .collect();
        for step in kind.steps() {
            assert!(
                covered.contains(&step),
                "{} has no case with the step {}",
                kind.as_str(),
                step.as_str()
            );
        }
    }
}
