//! What the doctor thinks of all that is not of one cluster: keys, operations, replicas.
//!
//! Deliberately pure, as all of its judgement. Invariant: a key is judged by its times alone, never by what
//! it is.

use std::time::Duration;

use contract::operator::rollout::RolloutState;
use contract::operator::upkeep::{Diagnosis, Verdict};
use contract::{OperationId, TenantId};
use time::OffsetDateTime;

use super::{Said, clock, findings, listed};
use crate::clusters::requirements::unless;
use crate::doctor::facts::{OperatorKeyFacts, PlatformFacts};
use crate::keys::SealedWith;

/// An operator key that is older should be replaced.
const OLD_OPERATOR_KEY: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// Whoever holds an operator key that ends sooner needs the next one.
const ENDING_OPERATOR_KEY: Duration = Duration::from_secs(14 * 24 * 60 * 60);
/// An operator key that nobody used for longer should be revoked.
const UNUSED_OPERATOR_KEY: Duration = Duration::from_secs(90 * 24 * 60 * 60);
/// A sealing key that is older should be replaced.
const OLD_SEALING_KEY: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// A key that is due is published within a minute; this much later something is wrong.
const LATE_SIGNING_KEY: Duration = Duration::from_secs(24 * 60 * 60);
/// Where no cluster is meant.
const PLATFORM: &str = "platform";

/// Everything that is not of one cluster.
pub(in crate::doctor) fn platform(facts: &PlatformFacts) -> Vec<Diagnosis> {
    let checks = [
        ("clock", clock(facts.skew, "the registry")),
        ("signing_key", signing_key(facts)),
        ("sealing_keys", sealing(facts)),
        ("operator_keys", operator_keys(facts)),
        ("stuck_operations", stuck(facts)),
        ("tenants_behind", behind(facts)),
        ("rollout", rollout(facts.rollout)),
        ("backups", backups(facts)),
        ("orphans", findings(u64::from(facts.findings))),
        ("replicas", replicas(facts.replicas)),
    ];
    let checks = checks.into_iter();
    checks
        .map(|(check, said)| said.of(check, PLATFORM))
        .collect()
}

fn signing_key(facts: &PlatformFacts) -> Said {
    let age = facts.signing_key.map(|from| facts.now - from);
    let most = facts.signing_key_life + LATE_SIGNING_KEY;
    let verdict = match age {
        None => Verdict::Bad,
        Some(age) => unless(age <= most, Verdict::Warn),
    };
    Said {
        verdict,
        found: match age {
            None => "none".to_owned(),
            Some(age) => format!("the newest has signed for {} days", age.whole_days().max(0)),
        },
        why: "A key that signs for long can be stolen for long; one that is due is replaced by itself.",
        mend: "tenantctl keys rotate-signing".to_owned(),
    }
}

fn sealing(facts: &PlatformFacts) -> Said {
    let unopened: u64 = facts
        .sealing
        .iter()
        .filter(|key| !key.in_ring)
        .map(|key| key.secrets)
        .sum();
    let older = facts.sealing.iter().skip(1).filter(|key| key.in_ring);
    let older: u64 = older.map(|key| key.secrets).sum();
    let ids: Vec<String> = facts
        .sealing
        .iter()
        .map(|key| format!("{} seals {} ({})", key.id, key.secrets, age(key, facts.now)))
        .collect();
    let first = facts.sealing.first().and_then(|key| key.known_since);
    let is_old = first.is_some_and(|since| facts.now - since > OLD_SEALING_KEY);
    let (verdict, mend) = match (unopened, older) {
        (0, 0) if is_old => (
            Verdict::Warn,
            "# put a new key last into sealing.keys of every service and restart them; then first, and \
             restart them; then: tenantctl keys reseal",
        ),
        (1.., _) => (
            Verdict::Bad,
            "# put the key that is missing back into sealing.keys of every service, then: \
             tenantctl keys reseal",
        ),
        (0, 1..) => (Verdict::Warn, "tenantctl keys reseal"),
        (0, 0) => (Verdict::Ok, ""),
    };
    Said {
        verdict,
        found: ids.join(", "),
        why: "Whoever had a key that seals for years opens what it sealed. A replaced key can be dropped from \
              the ring only when it seals nothing any more; what a missing key sealed opens never again.",
        mend: mend.to_owned(),
    }
}

/// A key says nothing of its age: known is since when the platform has it.
fn age(key: &SealedWith, now: OffsetDateTime) -> String {
    match key.known_since {
        None => "its age is not known".to_owned(),
        Some(since) => format!("known for {} days", (now - since).whole_days().max(0)),
    }
}

fn operator_keys(facts: &PlatformFacts) -> Said {
    let names = |concerns: &dyn Fn(&OperatorKeyFacts) -> bool| -> Vec<String> {
        let keys = facts.operator_keys.iter().filter(|key| concerns(key));
        keys.map(|key| key.name.clone()).collect()
    };
    let old = names(&|key| facts.now - key.made > OLD_OPERATOR_KEY);
    let ending = names(&|key| {
        key.ends
            .is_some_and(|end| end - facts.now < ENDING_OPERATOR_KEY)
    });
    let unused = names(&|key| facts.now - key.unused_since > UNUSED_OPERATOR_KEY);
    let replaced = old.is_empty() && ending.is_empty();
    Said {
        verdict: unless(replaced && unused.is_empty(), Verdict::Warn),
        found: format!(
            "older than a year: {}; ending within 14 days: {}; not used for 90 days: {}",
            listed(&old),
            listed(&ending),
            listed(&unused)
        ),
        why: "Who had a key a year ago still has it; who has one that ends is refused from then on; one that \
              nobody uses is of use to a thief alone.",
        mend: match replaced {
            true => "tenantctl keys list # then, for each: tenantctl keys revoke KEY_ID",
            false => "tenantctl keys list # then, for each: tenantctl keys create NAME --scope SCOPE; tenantctl keys revoke KEY_ID",
        }
        .to_owned(),
    }
}

fn stuck(facts: &PlatformFacts) -> Said {
    let names: Vec<String> = facts
        .stuck
        .iter()
        .map(|(id, kind)| format!("{id} ({kind})"))
        .collect();
    Said {
        verdict: unless(names.is_empty(), Verdict::Bad),
        found: listed(&names),
        why: "It goes neither on nor back by itself, and nothing else is done to its tenant meanwhile.",
        mend: facts.stuck.first().map_or_else(String::new, |(id, _)| {
            format!("tenantctl operations show {id}; tenantctl operations retry {id}")
        }),
    }
}

fn behind(facts: &PlatformFacts) -> Said {
    let begin = match facts.rollout {
        None => "tenantctl rollouts start".to_owned(),
        Some(live) => goes_on(live),
    };
    Said {
        verdict: unless(facts.behind == 0, Verdict::Warn),
        found: format!("{} active tenants", facts.behind),
        why: "Their schemas are older than the newest: the first request after a long time migrates, \
              unless a roll-out does it before.",
        mend: format!("tenantctl tenants list --behind --status active; {begin}"),
    }
}

/// What brings a roll-out that is not over to its end: no other one can begin before.
fn goes_on((id, state): (OperationId, RolloutState)) -> String {
    match state {
        RolloutState::Halted => format!(
            "tenantctl rollouts show {id} --tenants failed; tenantctl rollouts retry {id} # or: tenantctl \
             rollouts resume {id}, which goes on without those that failed"
        ),
        RolloutState::Paused => format!("tenantctl rollouts resume {id}"),
        RolloutState::Running | RolloutState::Done | RolloutState::Aborted => {
            format!("tenantctl rollouts watch {id}")
        }
    }
}

fn rollout(live: Option<(OperationId, RolloutState)>) -> Said {
    let waits =
        live.filter(|(_, state)| matches!(state, RolloutState::Halted | RolloutState::Paused));
    Said {
        verdict: unless(waits.is_none(), Verdict::Warn),
        found: match live {
            None => "none".to_owned(),
            Some((id, state)) => format!("{id} is {}", state.as_str()),
        },
        why: "It waits for an operator: no tenant has its turn meanwhile, no other roll-out can begin, and \
              while it is halted whoever is below a service's minimum is refused.",
        mend: waits.map_or_else(String::new, goes_on),
    }
}

fn backups(facts: &PlatformFacts) -> Said {
    let Some(first) = facts.without_store.first() else {
        return overdue(&facts.overdue);
    };
    Said {
        verdict: Verdict::Bad,
        found: format!("no object store; {}", listed(&facts.without_store)),
        why: "These tiers have a schedule of backups, and nowhere to keep any.",
        mend: format!(
            "# set objects.folder of platform-service, or take the schedule away: \
             tenantctl backups schedule {first} --off"
        ),
    }
}

fn overdue(tenants: &[TenantId]) -> Said {
    let names: Vec<String> = tenants.iter().map(TenantId::to_string).collect();
    Said {
        verdict: unless(names.is_empty(), Verdict::Bad),
        found: listed(&names),
        why: "Their newest backup is older than two intervals of their tier's schedule, or there is none: \
              what was written since is lost with their database.",
        mend: tenants.first().map_or_else(String::new, |first| {
            format!(
                "tenantctl operations list --kind backup --tenant {first}; \
                 tenantctl tenants backup {first}"
            )
        }),
    }
}

fn replicas(living: u64) -> Said {
    Said {
        verdict: unless(living > 0, Verdict::Bad),
        found: format!("{living} live"),
        why: "Without a service that owns schemas nobody is served and no tenant can be made.",
        mend: "# start app-service, and look at its log: it says whether the platform takes it"
            .to_owned(),
    }
}
