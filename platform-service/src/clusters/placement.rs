//! Where a tenant goes: one pure function, for new tenants and for those that move.
//!
//! Deliberately looks at no history: an operator says by a cluster's weight how much of what comes it is to
//! get. Connections make no cluster full, because they are shared and come back: one that has few left is
//! the last choice. Invariant: a cluster that is full, draining, of another region, without a label that is
//! asked for, or kept for other tiers is never chosen.

use std::collections::BTreeMap;

pub(crate) use contract::operator::cluster::ClusterStatus;
use contract::{ClusterName, Code};
use kit::error::Problem;

use super::postgres::ServerConnections;

/// Of a cluster's disk, the part that placement fills: tenants grow where they are. In percent.
const DISK_PERCENT: u64 = 90;
/// Of a server's connections, the part that may be used before its cluster is the last choice. In percent.
const CONNECTIONS_PERCENT: u64 = 90;

/// What placement knows of a cluster.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub(crate) name: ClusterName,
    pub(crate) region: String,
    pub(crate) status: ClusterStatus,
    /// Tiers that it is kept for; `None` takes every tier.
    pub(crate) tiers: Option<Vec<String>>,
    pub(crate) labels: BTreeMap<String, String>,
    /// Share of new tenants relative to the others; at least 1.
    pub(crate) weight: u32,
    /// Databases of tenants that it holds.
    pub(crate) databases: u32,
    /// Databases that it may hold.
    pub(crate) max_databases: Option<u32>,
    /// Bytes that its databases took when they were last measured.
    pub(crate) used_bytes: u64,
    /// Bytes that they may take.
    pub(crate) max_disk_bytes: Option<u64>,
    /// Of its server, when they were last measured.
    pub(crate) connections: Option<ServerConnections>,
}

/// Which tenants a cluster is meant for, those that are on it too.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Purpose<'a> {
    pub(crate) region: &'a str,
    /// See [`Candidate::tiers`].
    pub(crate) tiers: Option<&'a [String]>,
    pub(crate) labels: &'a BTreeMap<String, String>,
}

impl Purpose<'_> {
    /// Whether a tenant belongs there, whatever room there is.
    pub(crate) fn judge(&self, needs: Needs<'_>) -> Result<(), Unfit> {
        let tier_fits = self
            .tiers
            .is_none_or(|tiers| tiers.iter().any(|kept| kept == needs.tier));
        let mut labels = needs.labels.iter();
        kept([
            (self.region == needs.region, Unfit::Region),
            (tier_fits, Unfit::Tier),
            (
                labels.all(|(key, value)| self.labels.get(key) == Some(value)),
                Unfit::Labels,
            ),
        ])
    }
}

/// What a tenant needs of its cluster.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Needs<'a> {
    pub(crate) region: &'a str,
    pub(crate) tier: &'a str,
    /// Labels that the cluster must have.
    pub(crate) labels: &'a BTreeMap<String, String>,
    /// Of its data; 0 for a new one.
    pub(crate) bytes: u64,
}

/// Why a cluster does not take a tenant, in the order in which it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub(crate) enum Unfit {
    /// Data stays in its region.
    #[error("it stands in another region")]
    Region,
    /// See [`ClusterStatus`].
    #[error("its status lets nothing new in")]
    Status,
    /// It is kept for other tiers.
    #[error("it is kept for other tiers")]
    Tier,
    /// A label is missing or has another value.
    #[error("it lacks a label that the tenant asks for")]
    Labels,
    /// `max_databases` is reached.
    #[error("it holds as many databases as it may")]
    Databases,
    /// `max_disk_bytes` would be too near.
    #[error("its disk has no room for it")]
    Disk,
}

/// The first of these rules that is not kept.
fn kept(rules: [(bool, Unfit); 3]) -> Result<(), Unfit> {
    match rules.into_iter().find(|(kept, _)| !kept) {
        Some((_, unfit)) => Err(unfit),
        None => Ok(()),
    }
}

impl Candidate {
    /// Whether nearly all connections of its server were used when they were last measured.
    fn is_crowded(&self) -> bool {
        self.connections.is_some_and(|connections| {
            u64::from(connections.used) * 100 >= u64::from(connections.all) * CONNECTIONS_PERCENT
        })
    }

    /// Whether it takes a tenant.
    pub(crate) fn judge(&self, needs: Needs<'_>) -> Result<(), Unfit> {
        let purpose = Purpose {
            region: &self.region,
            tiers: self.tiers.as_deref(),
            labels: &self.labels,
        };
        purpose.judge(needs)?;
        let disk_fits = self.max_disk_bytes.is_none_or(|most| {
            self.used_bytes.saturating_add(needs.bytes) < most / 100 * DISK_PERCENT
        });
        kept([
            (self.status == ClusterStatus::Active, Unfit::Status),
            (
                self.max_databases.is_none_or(|most| self.databases < most),
                Unfit::Databases,
            ),
            (disk_fits, Unfit::Disk),
        ])
    }
}

/// The cluster for a tenant: one that is kept for its tier where there is one, of those one whose server
/// has connections left, and of those the least loaded by weight; equals go by name.
pub(crate) fn place<'a>(candidates: &'a [Candidate], needs: Needs<'_>) -> Option<&'a Candidate> {
    candidates
        .iter()
        .filter(|candidate| candidate.judge(needs).is_ok())
        .min_by(|a, b| {
            // (a + 1) / weight of a  <  (b + 1) / weight of b, without dividing.
            let load = |one: &Candidate, other: &Candidate| {
                (u64::from(one.databases) + 1) * u64::from(other.weight)
            };
            b.tiers
                .is_some()
                .cmp(&a.tiers.is_some())
                .then_with(|| a.is_crowded().cmp(&b.is_crowded()))
                .then_with(|| load(a, b).cmp(&load(b, a)))
                .then_with(|| a.name.cmp(&b.name))
        })
}

/// Why [`place`] finds no cluster, in words: the rule at which the last ones fall out.
pub(crate) fn why_none(candidates: &[Candidate], needs: Needs<'_>) -> Misfit {
    let region = needs.region;
    let furthest = candidates
        .iter()
        .filter_map(|candidate| candidate.judge(needs).err())
        .max()
        .unwrap_or(Unfit::Region);
    let words = match furthest {
        Unfit::Region => format!("There is no cluster in the region {region:?}."),
        Unfit::Status => {
            format!("No cluster of the region {region:?} is active: none lets anything new in.")
        }
        Unfit::Tier => format!(
            "The clusters of the region {region:?} that let anything new in are kept for other tiers than {:?}.",
            needs.tier
        ),
        Unfit::Labels => {
            let labels = needs.labels.iter();
            let labels: Vec<String> = labels
                .map(|(key, value)| format!("{key}={value}"))
                .collect();
            format!(
                "No cluster of the region {region:?} that takes the tier {:?} has the labels that are \
                 asked for: {}.",
                needs.tier,
                labels.join(", ")
            )
        }
        Unfit::Databases | Unfit::Disk => format!(
            "No cluster of the region {region:?} has room for a tenant of the tier {:?}: those that \
             would take it are full.",
            needs.tier
        ),
    };
    Misfit { furthest, words }
}

/// Why no cluster takes a tenant.
#[derive(Debug)]
pub(crate) struct Misfit {
    furthest: Unfit,
    pub(crate) words: String,
}

impl Misfit {
    /// What is answered: what time may mend is `full`, the rest no waiting mends.
    pub(crate) fn into_problem(self, full: Code) -> Problem {
        let code = match self.furthest {
            Unfit::Databases | Unfit::Disk => full,
            Unfit::Region | Unfit::Status | Unfit::Tier | Unfit::Labels => Code::ClusterFull,
        };
        Problem::new(code).detail(self.words)
    }
}

#[cfg(test)]
mod tests;
