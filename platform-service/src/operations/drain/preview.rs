//! What emptying a cluster would do: who would go where, and who would stay.
//!
//! Deliberately by the rules of the moves themselves, one tenant after the other, as if each had arrived before
//! the next one is placed. Invariant: nothing is changed, and no lock is held while servers are asked.

use std::collections::BTreeMap;

use contract::operator::cluster::{DrainPreview, MovePreview, MoveVariant, RemainingTenant};
use contract::operator::fleet::Selection;
use contract::{ClusterName, Code, OperationId, TenantId, TenantStatus};
use kit::error::{Problem, Result};

use super::reason;
use crate::clusters::placement::{Candidate, Needs};
use crate::clusters::postgres::{self, Name};
use crate::clusters::store::moves::{self, LeaverState};
use crate::clusters::store::{self as clusters, ClusterRow};
use crate::operations::begin::refuse_busy;
use crate::operations::move_tenant::{Measured, chosen, preview, way};
use crate::operations::{OperationKind, Subject};
use crate::platform::Platform;
use crate::stop::Stop;
use crate::tenants::{self, TenantRow};
use crate::tools;

/// Tenants that are read at once.
const PAGE: i64 = 1_000;

/// What emptying this cluster would do.
pub(super) async fn of(
    platform: &Platform,
    cluster: &ClusterName,
    variant: Option<MoveVariant>,
) -> Result<DrainPreview> {
    let mut seen = Seen::look(platform, cluster).await?;
    let tools = tools::find(&platform.settings.tools).await;
    let (mut moves, mut remaining) = (Vec::new(), Vec::new());
    let rows = std::mem::take(&mut seen.rows);
    let tenants = rows.len() as u64;
    for row in rows {
        let measured = Measured {
            bytes: seen.sizes.get(&row.id).copied().unwrap_or_default(),
            tools: tools.clone(),
        };
        match seen.place(cluster, &row, variant, &measured) {
            Ok(planned) => moves.push(planned),
            Err(why) => remaining.push(RemainingTenant {
                tenant: row.id,
                reason: reason(&why),
            }),
        }
    }
    Ok(DrainPreview {
        cluster: cluster.clone(),
        tenants,
        moves,
        remaining,
        kept: seen.kept,
    })
}

/// What there is.
struct Seen {
    rows: Vec<TenantRow>,
    /// Why some cannot go, whatever takes them.
    stuck: BTreeMap<TenantId, String>,
    sizes: BTreeMap<TenantId, u64>,
    candidates: Vec<Candidate>,
    clusters: BTreeMap<ClusterName, ClusterRow>,
    kept: u64,
}

impl Seen {
    async fn look(platform: &Platform, cluster: &ClusterName) -> Result<Self> {
        let mut transaction = platform.registry.begin().await?;
        let row = clusters::find(&mut transaction, cluster).await?;
        let row = row.ok_or_else(|| Problem::new(Code::NotFound))?;
        let subject = Subject::Cluster(cluster.clone());
        refuse_busy(&mut transaction, &subject, OperationKind::Drain).await?;
        let leavers = moves::leavers(&mut transaction, cluster, OperationId::new()).await?;
        let stuck = leavers.into_iter().filter_map(|leaver| match leaver.state {
            LeaverState::Failed(why) => Some((leaver.tenant, why)),
            LeaverState::Free | LeaverState::Busy => None,
        });
        let stuck = stuck.collect();
        let rows = served(&mut transaction, cluster).await?;
        let (kept, _) = moves::kept_databases(&mut transaction, cluster, 0).await?;
        let candidates = clusters::lock_candidates(&mut transaction, &row.region).await?;
        let mut known = BTreeMap::new();
        for candidate in &candidates {
            let found = clusters::find(&mut transaction, &candidate.name).await?;
            known.extend(found.map(|found| (candidate.name.clone(), found)));
        }
        // Its locks end here.
        drop(transaction);
        let sizes = sizes(platform, cluster, &rows)
            .await
            .map_err(Stop::into_problem)?;
        Ok(Self {
            rows,
            stuck,
            sizes,
            candidates,
            clusters: known,
            kept,
        })
    }

    /// Where a tenant would go; it is there for those that come after it.
    fn place(
        &mut self,
        from: &ClusterName,
        row: &TenantRow,
        variant: Option<MoveVariant>,
        measured: &Measured,
    ) -> Result<MovePreview> {
        let conflict = |words: String| Problem::new(Code::Conflict).detail(words);
        if let Some(why) = self.stuck.get(&row.id) {
            return Err(conflict(format!("An operation of it is stuck: {why}")));
        }
        if row.status == TenantStatus::Provisioning {
            return Err(Problem::new(Code::TenantProvisioning));
        }
        if !self.sizes.contains_key(&row.id) {
            return Err(conflict("Its database is not there.".to_owned()));
        }
        let needs = Needs {
            region: &row.region,
            tier: &row.tier,
            labels: &row.labels,
            bytes: measured.bytes,
        };
        let to = chosen(&self.candidates, from, needs)?;
        let known = |name: &ClusterName| {
            let gone = || Problem::internal("the cluster's row is gone");
            self.clusters.get(name).ok_or_else(gone)
        };
        let variant = way(variant, measured, (known(from)?, known(&to)?))?;
        if let Some(taker) = self.candidates.iter_mut().find(|one| one.name == to) {
            taker.databases += 1;
            taker.used_bytes += measured.bytes;
        }
        Ok(preview(
            row.id.clone(),
            (from.clone(), to),
            variant,
            measured,
        ))
    }
}

/// The tenants on a cluster that are not deleted.
async fn served(
    connection: &mut sqlx::PgConnection,
    cluster: &ClusterName,
) -> Result<Vec<TenantRow>, sqlx::Error> {
    let selection = Selection {
        cluster: Some(cluster.clone()),
        ..Default::default()
    };
    let mut all: Vec<TenantRow> = Vec::new();
    loop {
        let after = all.last().map(|row| row.id.clone());
        let page = tenants::store::list(connection, &selection, after.as_ref(), PAGE).await?;
        let is_last = (page.len() as i64) < PAGE;
        all.extend(page);
        if is_last {
            break;
        }
    }
    all.retain(|row| row.status != TenantStatus::Deleted);
    Ok(all)
}

/// What the databases of tenants take; one that is not there has none.
async fn sizes(
    platform: &Platform,
    cluster: &ClusterName,
    rows: &[TenantRow],
) -> std::result::Result<BTreeMap<TenantId, u64>, Stop> {
    if rows.is_empty() {
        return Ok(BTreeMap::new());
    }
    let server = platform.server(cluster).await?;
    let mut connection = server.acquire().await?;
    let names: Vec<Name> = rows
        .iter()
        .map(|row| Name::Tenant(row.id.clone()))
        .collect();
    let sizes = postgres::moving::sizes_of(&mut connection, &names).await?;
    let tenants = rows.iter().map(|row| row.id.clone());
    Ok(tenants
        .zip(sizes)
        .filter_map(|(tenant, size)| Some((tenant, size?)))
        .collect())
}
