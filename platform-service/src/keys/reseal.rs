//! Boxes that are sealed anew with the first key of the ring.
//!
//! Deliberately in batches, each a transaction of its own: nobody waits for it, and one that breaks off
//! is taken up by whoever looks next, because a box says itself which key it needs. Invariants: a box
//! replaces the one that it was made from and no other; a box that opens for nobody is counted and left
//! alone.

use std::collections::HashSet;

use adapters::secret_store::{ClusterRole, SecretError, SecretSubject};
use contract::TenantId;
use contract::secret::SecretRef;
use kit::error::Problem;
use serde_json::Value;
use sqlx::PgConnection;

use super::store::{self, HeldBox, Keeper, TenantBoxes};
use crate::feed::Unannounced;
use crate::platform::Platform;
use crate::stop::Stop;

/// Boxes that are sealed anew in one transaction.
pub(crate) const BATCH: i64 = 200;
/// What a box starts with.
const BOX_PREFIX: &str = "sealed:v1:";

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Advance {
    /// There may be more.
    More,
    /// Operations that are under way hold boxes of an older key.
    Waits,
    /// No box is left that an older key of the ring sealed.
    Complete,
}

/// What was done so far.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Tally {
    /// Boxes that were sealed anew.
    pub(crate) resealed: u64,
    /// The last tenant whose boxes were looked at.
    pub(crate) after: Option<TenantId>,
    /// Boxes that could not be opened, without what each starts with: their key is not in the ring, or
    /// they are damaged.
    pub(crate) unopened: HashSet<String>,
}

impl Tally {
    /// How many boxes of a key of the ring do not open all the same.
    fn damaged(&self, platform: &Platform) -> u64 {
        let ring = platform.seal.key_ids();
        let key = |text: &str| {
            text.split_once(':')
                .is_some_and(|(key, _)| ring.contains(&key))
        };
        self.unopened.iter().filter(|text| key(text)).count() as u64
    }
}

/// Seals the next batch anew.
pub(crate) async fn advance(platform: &Platform, tally: &mut Tally) -> Result<Advance, Stop> {
    let Some(current) = platform.seal.key_ids().first().map(|id| (*id).to_owned()) else {
        return Ok(Advance::Complete);
    };
    let tenants = {
        let mut registry = platform.registry.acquire().await?;
        store::tenants_behind(&mut registry, &current, tally.after.as_ref(), BATCH).await?
    };
    if let Some(last) = tenants.last() {
        let last = last.tenant.clone();
        reseal_tenants(platform, tally, tenants).await?;
        tally.after = Some(last);
        return Ok(Advance::More);
    }
    let held = {
        let mut registry = platform.registry.acquire().await?;
        store::others_behind(&mut registry, &current).await?
    };
    let mut progressed = false;
    for held in held {
        progressed |= reseal_held(platform, tally, held).await?;
    }
    progressed |= reseal_plans(platform, tally, &current).await?;
    progressed |= reseal_rows(platform, tally, &current).await?;
    if progressed {
        // A tenant may have got an older box from an operation meanwhile.
        tally.after = None;
        return Ok(Advance::More);
    }
    // Once around again where something is left: rows that changed behind us, or plans.
    tally.after = None;
    let left = behind(platform, &mut *platform.registry.acquire().await?).await?;
    Ok(if left > tally.damaged(platform) {
        Advance::Waits
    } else {
        Advance::Complete
    })
}

async fn reseal_tenants(
    platform: &Platform,
    tally: &mut Tally,
    tenants: Vec<TenantBoxes>,
) -> Result<(), Stop> {
    let mut transaction = platform.registry.begin().await?;
    let mut changed = Unannounced::none();
    for held in tenants {
        let subject = SecretSubject::Tenant(held.tenant.clone());
        let mut anew = Vec::with_capacity(held.references.len());
        let mut resealed = 0;
        for reference in &held.references {
            match resealed_box(platform, tally, std::slice::from_ref(&subject), reference)? {
                Some(new) => {
                    anew.push(new);
                    resealed += 1;
                }
                None => anew.push(reference.clone()),
            }
        }
        if resealed == 0 {
            continue;
        }
        let news = store::replace_tenant(&mut transaction, &held, &anew).await?;
        if !news.is_empty() {
            tally.resealed += resealed;
        }
        changed = changed.and(news);
    }
    // Last in the transaction: see the feed.
    changed.announce(&mut transaction).await?;
    transaction.commit().await?;
    platform.feed.ring();
    Ok(())
}

/// Whether it was replaced.
async fn reseal_held(platform: &Platform, tally: &mut Tally, held: HeldBox) -> Result<bool, Stop> {
    let subject = match &held.keeper {
        Keeper::Cluster(cluster, role) => SecretSubject::Cluster(cluster.clone(), *role),
        Keeper::SigningKey(_) => SecretSubject::SigningKey,
        Keeper::DataKey(tenant) => SecretSubject::DataKey(tenant.clone()),
    };
    let Some(anew) = resealed_box(platform, tally, &[subject], &held.reference)? else {
        return Ok(false);
    };
    let mut registry = platform.registry.acquire().await?;
    let replaced = store::replace_held(&mut registry, &held, &anew).await?;
    tally.resealed += u64::from(replaced);
    Ok(replaced)
}

/// Boxes in the plans of operations that nobody runs just now. A plan that is being worked on is
/// written by whoever works on it, and gone when that is over.
async fn reseal_plans(platform: &Platform, tally: &mut Tally, current: &str) -> Result<bool, Stop> {
    let mut transaction = platform.registry.begin().await?;
    let mut progressed = false;
    for mut held in store::plans_behind(&mut transaction, current, BATCH).await? {
        let mut subjects = vec![SecretSubject::Operation(held.operation)];
        if let Some(tenant) = held.tenant.clone() {
            subjects.push(SecretSubject::Tenant(tenant.clone()));
            subjects.push(SecretSubject::DataKey(tenant));
        }
        let replaced = reseal_json(platform, tally, &subjects, &mut held.plan)?;
        if replaced > 0 {
            store::replace_plan(&mut transaction, held.operation, &held.plan).await?;
            tally.resealed += replaced;
            progressed = true;
        }
    }
    transaction.commit().await?;
    Ok(progressed)
}

/// Boxes in rows of files of tenants that wait for their turn, batch by batch. A row that is begun
/// meanwhile has no box any more.
async fn reseal_rows(platform: &Platform, tally: &mut Tally, current: &str) -> Result<bool, Stop> {
    let (mut progressed, mut after) = (false, None);
    loop {
        let mut transaction = platform.registry.begin().await?;
        let rows = store::rows_behind(&mut transaction, current, after, BATCH).await?;
        let Some(last) = rows.last() else {
            return Ok(progressed);
        };
        after = Some((last.operation, last.number));
        for mut row in rows {
            let subject = SecretSubject::Operation(row.operation);
            let replaced = reseal_json(platform, tally, &[subject], &mut row.request)?;
            if replaced > 0 {
                store::replace_row(&mut transaction, &row).await?;
                tally.resealed += replaced;
                progressed = true;
            }
        }
        transaction.commit().await?;
    }
}

/// Replaces every box in a JSON value; gives how many there were.
fn reseal_json(
    platform: &Platform,
    tally: &mut Tally,
    subjects: &[SecretSubject],
    value: &mut Value,
) -> Result<u64, Stop> {
    match value {
        Value::String(text) if text.starts_with(BOX_PREFIX) => {
            let reference = SecretRef(text.clone());
            Ok(match resealed_box(platform, tally, subjects, &reference)? {
                Some(SecretRef(anew)) => {
                    *text = anew;
                    1
                }
                None => 0,
            })
        }
        Value::Array(values) => {
            let each = values.iter_mut();
            each.map(|value| reseal_json(platform, tally, subjects, value))
                .sum()
        }
        Value::Object(fields) => {
            let each = fields.values_mut();
            each.map(|value| reseal_json(platform, tally, subjects, value))
                .sum()
        }
        _ => Ok(0),
    }
}

/// The box anew for the first of the subjects that it opens for; none where it needs no new one, or
/// opens for nobody.
fn resealed_box(
    platform: &Platform,
    tally: &mut Tally,
    subjects: &[SecretSubject],
    reference: &SecretRef,
) -> Result<Option<SecretRef>, Stop> {
    // A secret in another store, which keeps its keys itself.
    if !reference.0.starts_with(BOX_PREFIX) {
        return Ok(None);
    }
    for subject in subjects {
        match platform.seal.reseal(subject, reference) {
            Ok(anew) => return Ok(anew),
            Err(SecretError::Refused { .. } | SecretError::UnknownKey { .. }) => {}
            Err(error) => return Err(Stop::Fail(Problem::internal(error))),
        }
    }
    let text = reference.0.strip_prefix(BOX_PREFIX);
    tally.unopened.extend(text.map(str::to_owned));
    Ok(None)
}

/// How many boxes there are that an older key of the ring sealed.
pub(crate) async fn behind(
    platform: &Platform,
    connection: &mut PgConnection,
) -> Result<u64, sqlx::Error> {
    let keys = super::sealing(platform, connection).await?;
    let older = keys.iter().skip(1).filter(|key| key.in_ring);
    Ok(older.map(|key| key.secrets).sum())
}

/// The roles of a cluster that have a box in its row.
pub(super) const CLUSTER_ROLES: [ClusterRole; 3] = [
    ClusterRole::Platform,
    ClusterRole::Schema,
    ClusterRole::Query,
];
