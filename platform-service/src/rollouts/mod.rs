//! Roll-outs: the newest schema for many tenants, in waves, as a stored object that an operator steers.
//!
//! Deliberately knows no migration: the services that own schemas run them. Invariants: one roll-out at
//! a time; every turn of a tenant and what came of it stands in the registry.

pub(crate) mod driver;
mod events;
mod line;
mod steer;
pub(crate) mod store;
mod trial;
mod waves;

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use contract::operator::operation::OperationView;
use contract::operator::rollout::{
    RolloutBegun, RolloutPreview, RolloutRequest, RolloutState, RolloutTenantView, RolloutView,
    TenantProgress, Wave, WavePreview,
};
use contract::{Code, OperationId, SchemaVersions, TenantId};
use kit::db::OnConstraint;
use kit::error::{Problem, Result};
use kit::extract::{Json, Path, Query};
use kit::page::{Limit, Page};
use serde::Deserialize;
use serde_json::json;
use sqlx::PgConnection;
use utoipa_axum::router::OpenApiRouter;

use crate::audit::Actor;
use crate::operations::begin::{Begin, Planned, TryQuery, begin};
use crate::operations::rollout::{RolloutPlan, Start};
use crate::operators::{Operator, RolloutsRead, RolloutsWrite};
use crate::platform::Platform;
use crate::registry::to_json;
use crate::tenants::idempotency::MaybeIdempotencyKey;
use crate::{operations, replicas, tenants};

fn no_such() -> Problem {
    Problem::new(Code::NotFound).detail("There is no such roll-out.")
}

/// That another roll-out was begun since the look for one.
fn begun_meanwhile() -> Problem {
    let words = "A roll-out was begun meanwhile; wait for its end, or abort it.";
    Problem::new(Code::Conflict).detail(words)
}

/// Start a roll-out.
///
/// Its waves are rolled out one after the other; within a wave, `concurrency` calls of a service per cluster at
/// once. A call is for one tenant, or for up to 16 whose migrations are quick, one after the other. Tenants that
/// have the newest schema already are skipped. The roll-out has the id of the operation that this answers with.
/// One roll-out at a time. A dry run says who would be in which wave.
#[utoipa::path(
    post,
    path = "/v1/rollouts",
    operation_id = "rollouts.create",
    tag = "roll-outs",
    params(TryQuery),
    request_body = RolloutRequest,
    responses(
        (status = 200, description = "Done: there was little to do; or what would happen, for a dry run.", body = RolloutBegun),
        (status = 202, description = "Under way.", body = OperationView, headers(("location" = String), ("retry-after" = u32))),
    )
)]
pub(crate) async fn create(
    operator: Operator<RolloutsWrite>,
    State(platform): State<Platform>,
    Query(query): Query<TryQuery>,
    key: MaybeIdempotencyKey,
    Json(request): Json<RolloutRequest>,
) -> Result<Response> {
    waves::check(&request)?;
    let actor = operator.actor();
    if query.dry_run {
        // Never committed: tenants are selected as the roll-out does it.
        let mut transaction = platform.registry.begin().await?;
        let id = OperationId::new();
        let target = record(&mut transaction, id, &request, actor).await?;
        let preview = preview(&mut transaction, id, request.waves, target).await?;
        return Ok(Json(preview).into_response());
    }
    let wanted = Begin {
        actor,
        key,
        request: to_json(&request)?,
        wait: query.wait,
    };
    begin(&platform, wanted, move |connection, id| {
        Box::pin(async move {
            let target = record(connection, id, &request, actor).await?;
            Ok(Planned {
                subject: operations::Subject::Fleet,
                plan: RolloutPlan::new(id, Start::New).into(),
                detail: json!({ "target": target, "waves": request.waves.len() + 1 }),
            })
        })
    })
    .await
}

/// Refuses another roll-out beside the one that is not over.
///
/// # Errors
/// `conflict`, which names it.
async fn refuse_second(connection: &mut PgConnection) -> Result<()> {
    match store::live(connection).await? {
        None => Ok(()),
        Some((id, state)) => Err(Problem::new(Code::Conflict).detail(format!(
            "The roll-out {id} is not over, but {}; wait for its end, or abort it.",
            state.as_str()
        ))),
    }
}

/// Records a roll-out; gives what it brings.
async fn record(
    connection: &mut PgConnection,
    id: OperationId,
    request: &RolloutRequest,
    actor: Actor,
) -> Result<SchemaVersions> {
    tenants::named::rollout(&mut *connection, request).await?;
    let target = replicas::store::newest_versions(&mut *connection).await?;
    if target.is_empty() {
        let words = "No service that owns schemas lives.";
        return Err(Problem::new(Code::NotReady).detail(words));
    }
    refuse_second(&mut *connection).await?;
    store::insert(connection, id, request, &target, actor)
        .await
        .on_constraint("rollout_live_key", begun_meanwhile)?;
    Ok(target)
}

/// Who would be in which wave of a roll-out that is recorded and not committed.
async fn preview(
    connection: &mut PgConnection,
    id: OperationId,
    rules: Vec<Wave>,
    target: SchemaVersions,
) -> Result<RolloutPreview> {
    store::select_tenants(&mut *connection, id).await?;
    let all = store::TenantsFilter {
        state: None,
        wave: None,
        after: None,
    };
    let tenants = store::tenants(connection, id, &all, i64::MAX).await?;
    let (pending, skipped): (Vec<_>, Vec<_>) = tenants
        .into_iter()
        .partition(|one| one.state == TenantProgress::Pending);
    let rules = rules.into_iter().map(Some).chain([None]);
    let waves = rules.zip(0..).map(|(rule, wave)| WavePreview {
        wave,
        rule,
        tenants: pending
            .iter()
            .filter(|one| one.wave == wave)
            .map(|one| one.tenant.clone())
            .collect(),
    });
    Ok(RolloutPreview {
        target,
        waves: waves.collect(),
        skipped: skipped.len() as u64,
    })
}

/// Which roll-outs to list.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct RolloutsQuery {
    /// How many: 1 to 100.
    #[serde(default)]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 100, default = 20)]
    limit: Limit,
    /// The id of the last roll-out of the page before.
    starting_after: Option<OperationId>,
    /// Only those that stand there.
    #[param(inline)]
    state: Option<RolloutState>,
}

/// List roll-outs, newest first.
#[utoipa::path(
    get,
    path = "/v1/rollouts",
    operation_id = "rollouts.list",
    tag = "roll-outs",
    params(RolloutsQuery),
    responses((status = 200, description = "A page of roll-outs.", body = Page<RolloutView>))
)]
pub(crate) async fn list(
    _operator: Operator<RolloutsRead>,
    State(platform): State<Platform>,
    Query(query): Query<RolloutsQuery>,
) -> Result<Json<Page<RolloutView>>> {
    let mut connection = platform.registry.acquire().await?;
    let probe = query.limit.probe();
    let filter = store::Filter {
        id: None,
        state: query.state,
        before: query.starting_after,
    };
    let rollouts = store::list(&mut connection, &filter, probe).await?;
    Ok(Json(Page::of(rollouts, query.limit)))
}

/// Show a roll-out, with how many tenants stand where.
#[utoipa::path(
    get,
    path = "/v1/rollouts/{id}",
    operation_id = "rollouts.show",
    tag = "roll-outs",
    params(("id" = OperationId, Path, example = "op_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f")),
    responses((status = 200, description = "The roll-out.", body = RolloutView))
)]
pub(crate) async fn show(
    _operator: Operator<RolloutsRead>,
    State(platform): State<Platform>,
    Path(id): Path<OperationId>,
) -> Result<Json<RolloutView>> {
    let mut connection = platform.registry.acquire().await?;
    let found = store::find(&mut connection, id).await?;
    found.map(Json).ok_or_else(no_such)
}

/// Which tenants of a roll-out to list.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct RolloutTenantsQuery {
    /// How many: 1 to 100.
    #[serde(default)]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 100, default = 20)]
    limit: Limit,
    /// The id of the last tenant of the page before.
    starting_after: Option<TenantId>,
    /// Only those that stand there.
    #[param(inline)]
    state: Option<TenantProgress>,
    /// Only those of this wave, from 0.
    #[param(maximum = 65_535)]
    wave: Option<u16>,
}

/// List the tenants of a roll-out, with the SQLSTATE and the statement of those that failed.
#[utoipa::path(
    get,
    path = "/v1/rollouts/{id}/tenants",
    operation_id = "rollouts.tenants",
    tag = "roll-outs",
    params(
        ("id" = OperationId, Path, example = "op_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f"),
        RolloutTenantsQuery,
    ),
    responses((status = 200, description = "A page of tenants, by id.", body = Page<RolloutTenantView>))
)]
pub(crate) async fn tenants(
    _operator: Operator<RolloutsRead>,
    State(platform): State<Platform>,
    Path(id): Path<OperationId>,
    Query(query): Query<RolloutTenantsQuery>,
) -> Result<Json<Page<RolloutTenantView>>> {
    let mut connection = platform.registry.acquire().await?;
    store::find(&mut connection, id)
        .await?
        .ok_or_else(no_such)?;
    let filter = store::TenantsFilter {
        state: query.state,
        wave: query.wave,
        after: query.starting_after,
    };
    let rows = store::tenants(&mut connection, id, &filter, query.limit.probe()).await?;
    Ok(Json(Page::of(rows, query.limit)))
}

pub(crate) fn router() -> OpenApiRouter<Platform> {
    kit::operations!(create, list, show, tenants)
        .merge(steer::router())
        .merge(events::router())
        .merge(trial::router())
}
