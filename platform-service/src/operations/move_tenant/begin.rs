//! Asking for a move: where to, how, and whether it may be.
//!
//! Deliberately decided before anything is held: a refusal costs nobody anything. Invariant: a tenant
//! never leaves its region, and data never goes to an older server.

use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use contract::operator::cluster::{MovePreview, MoveVariant, Moved, NewMove};
use contract::operator::operation::OperationView;
use contract::{ClusterName, Code, OperationId, TenantId, TenantStatus};
use kit::error::{Problem, Result};
use kit::extract::{Json, Path, Query};
use serde_json::json;
use sqlx::PgConnection;
use utoipa_axum::router::OpenApiRouter;

use super::MovePlan;
use crate::clusters::placement::{Candidate, Needs, Unfit, place, why_none};
use crate::clusters::postgres::{self, Name};
use crate::clusters::store::{self as clusters, ClusterRow, kept};
use crate::config::HoldSettings;
use crate::operations::begin::{Begin, Planned, TryQuery, begin, refuse_busy};
use crate::operations::{OperationKind, Subject};
use crate::operators::{Operator, TenantsWrite};
use crate::platform::Platform;
use crate::stop::Stop;
use crate::tenants::idempotency::MaybeIdempotencyKey;
use crate::tenants::place::Placed;
use crate::tenants::{self, TenantRow};
use crate::tools::{self, Tool};

/// What an empty database of ours takes.
const FRAME_BYTES: u64 = 9_000_000;
/// What copying takes by itself.
const COPY_MS: u64 = 150;
/// Bytes that are dumped and restored in a millisecond.
const BYTES_PER_MS: u64 = 60_000;
/// The longest predicted copy for which requests are held without being asked for.
const SHORT_MS: u64 = 500;

/// What was seen of a tenant before its move is planned.
#[derive(Debug, Clone)]
pub(crate) struct Measured {
    /// Of its database.
    pub(crate) bytes: u64,
    pub(crate) tools: Vec<Tool>,
}

/// Which move is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) tenant: TenantId,
    pub(crate) to: Option<ClusterName>,
    pub(crate) variant: Option<MoveVariant>,
}

/// Looks at a tenant's size, and at the programs that could copy it.
async fn measure(platform: &Platform, tenant: &TenantId) -> std::result::Result<Measured, Stop> {
    let placed = Placed::find(platform, tenant).await?;
    let name = Name::Tenant(tenant.clone());
    let bytes = {
        let mut server = placed.server.acquire().await?;
        postgres::moving::bytes_of(&mut server, &name).await?
    };
    Ok(Measured {
        bytes,
        tools: tools::find(&platform.settings.tools).await,
    })
}

/// How long copying a database of so many bytes takes, in milliseconds.
fn predicted_ms(bytes: u64) -> u64 {
    COPY_MS + bytes.saturating_sub(FRAME_BYTES) / BYTES_PER_MS
}

/// How long requests may be held for a copy of so many bytes: by far longer than it should take.
fn hold_for(settings: &HoldSettings, bytes: u64) -> Duration {
    let copy = Duration::from_millis(predicted_ms(bytes) * 4);
    let before = settings.acknowledge.get() + settings.drain.get();
    settings.longest.get().max(before + copy)
}

/// Decides a move under the lock of the tenant and of its region's clusters.
///
/// # Errors
/// The tenant's state or region, the target's room or version, or the programs do not allow it.
pub(crate) async fn plan_move(
    platform: &Platform,
    connection: &mut PgConnection,
    wanted: &Wanted,
    measured: &Measured,
) -> Result<MovePlan> {
    let gone = || Problem::new(Code::NotFound);
    let seen = tenants::store::find(&mut *connection, &wanted.tenant).await?;
    let region = seen.ok_or_else(gone)?.region;
    // Clusters before their tenants, as everywhere: a tenant's region never changes.
    let candidates = clusters::lock_candidates(&mut *connection, &region).await?;
    let row = tenants::store::find_for_update(&mut *connection, &wanted.tenant).await?;
    let row = row.ok_or_else(gone)?;
    let from = movable(&row)?;
    let needs = Needs {
        region: &row.region,
        tier: &row.tier,
        labels: &row.labels,
        bytes: measured.bytes,
    };
    let to = match &wanted.to {
        Some(to) => named(&mut *connection, &candidates, to, &from, needs).await?,
        None => chosen(&candidates, &from, needs)?,
    };
    let (source, target) = (
        cluster(&mut *connection, &from).await?,
        cluster(&mut *connection, &to).await?,
    );
    let variant = way(wanted.variant, measured, (&source, &target))?;
    Ok(MovePlan {
        old_copy: row.copy,
        copy: row.copy + 1,
        variant,
        bytes: measured.bytes,
        hold_for: hold_for(&platform.settings.hold, measured.bytes),
        from,
        to,
        rows: Default::default(),
        shape: String::new(),
        snapshot: None,
        held_at: None,
        switched_at: None,
        found: Default::default(),
        remains: Default::default(),
    })
}

impl MovePlan {
    /// Says that the database on the target is this operation's, before it is made.
    pub(crate) async fn expect_target(
        &self,
        connection: &mut PgConnection,
        tenant: &TenantId,
        operation: OperationId,
    ) -> std::result::Result<(), sqlx::Error> {
        let side = self.side(tenant);
        kept::expect(connection, (&self.to, &side), tenant, operation).await
    }
}

/// The cluster of a tenant that can be moved.
fn movable(row: &TenantRow) -> Result<ClusterName> {
    match row.status {
        TenantStatus::Active | TenantStatus::Suspended => {}
        TenantStatus::Provisioning => return Err(Problem::new(Code::TenantProvisioning)),
        TenantStatus::Deleted => return Err(Problem::new(Code::TenantDeleted)),
    }
    let unplaced = || Problem::internal("a living tenant has no cluster");
    row.cluster.clone().ok_or_else(unplaced)
}

async fn cluster(connection: &mut PgConnection, name: &ClusterName) -> Result<ClusterRow> {
    let row = clusters::find(connection, name).await?;
    row.ok_or_else(|| Problem::internal("the cluster's row is gone"))
}

/// The cluster that an operator names, if it takes the tenant.
async fn named(
    connection: &mut PgConnection,
    candidates: &[Candidate],
    to: &ClusterName,
    from: &ClusterName,
    needs: Needs<'_>,
) -> Result<ClusterName> {
    if to == from {
        return Err(Problem::new(Code::Conflict).detail(format!("The tenant is on {to} already.")));
    }
    let found = candidates.iter().find(|candidate| candidate.name == *to);
    let judged = match found {
        Some(candidate) => candidate.judge(needs),
        None if clusters::find(connection, to).await?.is_some() => Err(Unfit::Region),
        None => return Err(Problem::field("/to", "is no cluster")),
    };
    match judged {
        Ok(()) => Ok(to.clone()),
        Err(Unfit::Region) => Err(Problem::new(Code::RegionLeft).detail(format!(
            "The tenant's data stays in {:?}, and {to} is elsewhere.",
            needs.region
        ))),
        Err(unfit) => Err(Problem::new(Code::ClusterFull)
            .detail(format!("The cluster {to} does not take it: {unfit}."))),
    }
}

/// The cluster that placement chooses.
pub(crate) fn chosen(
    candidates: &[Candidate],
    from: &ClusterName,
    needs: Needs<'_>,
) -> Result<ClusterName> {
    let others = candidates
        .iter()
        .filter(|candidate| candidate.name != *from);
    let candidates: Vec<Candidate> = others.cloned().collect();
    match place(&candidates, needs) {
        Some(chosen) => Ok(chosen.name.clone()),
        None if candidates.is_empty() => Err(Problem::new(Code::ClusterFull).detail(format!(
            "There is no other cluster in the region {:?}.",
            needs.region
        ))),
        None => {
            let misfit = why_none(&candidates, needs);
            let detail = format!("No other cluster takes it. {}", misfit.words);
            Err(Problem::new(Code::ClusterFull).detail(detail))
        }
    }
}

/// How the data goes there, if programs and servers let it.
pub(crate) fn way(
    asked: Option<MoveVariant>,
    measured: &Measured,
    (source, target): (&ClusterRow, &ClusterRow),
) -> Result<MoveVariant> {
    tools::pick(
        &measured.tools,
        source.server_version,
        target.server_version,
    )?;
    variant(asked, measured.bytes, source)
}

/// What a move that was decided would do.
pub(crate) fn preview(
    tenant: TenantId,
    (from, to): (ClusterName, ClusterName),
    variant: MoveVariant,
    measured: &Measured,
) -> MovePreview {
    let copy_ms = predicted_ms(measured.bytes);
    MovePreview {
        tenant,
        from,
        to,
        variant,
        size_bytes: measured.bytes,
        predicted_copy_ms: copy_ms,
        predicted_hold_ms: match variant {
            MoveVariant::Dump => copy_ms,
            MoveVariant::Replicate => SHORT_MS,
        },
    }
}

/// How the data goes there: in the way that holds requests for less than half a second, unless another
/// is asked for.
fn variant(asked: Option<MoveVariant>, bytes: u64, source: &ClusterRow) -> Result<MoveVariant> {
    let predicted = predicted_ms(bytes);
    let best = if predicted < SHORT_MS {
        MoveVariant::Dump
    } else {
        MoveVariant::Replicate
    };
    let variant = asked.unwrap_or(best);
    if variant == MoveVariant::Dump || source.can_replicate {
        return Ok(variant);
    }
    Err(Problem::new(Code::Conflict).detail(format!(
        "The cluster {} cannot replicate: set wal_level = logical on its server, and let a superuser run \
         `alter role tn_platform replication`. Or name the variant `dump`, which holds the tenant's \
         requests for about {predicted} ms.",
        source.name
    )))
}

/// Move a tenant to another cluster of its region.
///
/// Its requests wait while it is copied and switched; they do not fail. Until the switch everything
/// can be undone; what is left behind is kept for a day, and nobody can write to it. A dry run says where it
/// would go and how, and is refused for what the move would be refused for.
#[utoipa::path(
    post,
    path = "/v1/tenants/{id}/move",
    operation_id = "tenants.move",
    tag = "tenants",
    params(("id" = TenantId, Path, example = "t_acme_corp"), TryQuery),
    request_body = NewMove,
    responses(
        (status = 200, description = "It is on the other cluster; or what would happen, for a dry run.", body = Moved),
        (
            status = 202,
            description = "It is being moved.",
            body = OperationView,
            headers(("location" = String), ("retry-after" = u32))
        ),
    )
)]
pub(crate) async fn move_tenant(
    operator: Operator<TenantsWrite>,
    State(platform): State<Platform>,
    Path(tenant): Path<TenantId>,
    Query(query): Query<TryQuery>,
    key: MaybeIdempotencyKey,
    Json(new): Json<NewMove>,
) -> Result<Response> {
    let known = {
        let mut registry = platform.registry.acquire().await?;
        tenants::store::find(&mut registry, &tenant).await?
    };
    movable(&known.ok_or_else(|| Problem::new(Code::NotFound))?)?;
    let measured = measure(&platform, &tenant)
        .await
        .map_err(Stop::into_problem)?;
    let request = json!({ "move": tenant, "request": new });
    let wanted = Wanted {
        tenant,
        to: new.to,
        variant: new.variant,
    };
    if query.dry_run {
        let preview = dry_run(&platform, wanted, &measured).await?;
        return Ok(Json(preview).into_response());
    }
    let begun = Begin {
        actor: operator.actor(),
        key,
        request,
        wait: query.wait,
    };
    let with = platform.clone();
    begin(&platform, begun, move |connection, id| {
        Box::pin(async move {
            let plan = plan_move(&with, &mut *connection, &wanted, &measured).await?;
            plan.expect_target(connection, &wanted.tenant, id).await?;
            Ok(Planned {
                detail: json!({ "from": plan.from, "to": plan.to, "variant": plan.variant }),
                subject: Subject::Tenant(wanted.tenant),
                plan: plan.into(),
            })
        })
    })
    .await
}

/// What a move would do now.
async fn dry_run(platform: &Platform, wanted: Wanted, measured: &Measured) -> Result<MovePreview> {
    // Never committed: it decides as a move does.
    let mut transaction = platform.registry.begin().await?;
    let plan = plan_move(platform, &mut transaction, &wanted, measured).await?;
    let subject = Subject::Tenant(wanted.tenant.clone());
    refuse_busy(&mut transaction, &subject, OperationKind::Move).await?;
    let way = (plan.from, plan.to);
    Ok(preview(wanted.tenant, way, plan.variant, measured))
}

pub(crate) fn router() -> OpenApiRouter<Platform> {
    kit::operations!(move_tenant)
}
