//! Operators change what a tier grants.
//!
//! Deliberately never a tier's name, which tenants and clusters refer to. Invariant: a change commits
//! with its audit row, and with a new generation and a change in the feed for each of its tenants.

use axum::extract::State;
use contract::operator::tier::TierPatch;
use http::StatusCode;
use kit::error::{Problem, Result, kept};
use kit::extract::{Json, Path, Query};
use serde_json::json;
use utoipa_axum::router::OpenApiRouter;

use super::{TierView, rules, store, unknown};
use crate::audit::{self, Action};
use crate::operations::begin::WaitQuery;
use crate::operators::{Operator, TenantsWrite};
use crate::platform::Platform;
use crate::tenants::rules::words;
use crate::tenants::store::{Renewed, renew};

const MAX_TITLE_CHARS: usize = 100;

/// Change what a tier grants.
///
/// Every tenant of it is given a new generation, and the replicas act on it as on a change of each of
/// them. Overrides of a tenant stay above it. Who is over a smaller limit keeps what is there and gets no
/// more.
#[utoipa::path(
    patch,
    path = "/v1/tiers/{name}",
    operation_id = "tiers.update",
    tag = "tenants",
    params(("name" = String, Path, example = "standard"), WaitQuery),
    request_body = TierPatch,
    responses(
        (status = 200, description = "The tier after it.", body = TierView),
        (
            status = 202,
            description = "It is changed, and not every replica has heard of it yet.",
            body = TierView
        ),
    )
)]
pub(super) async fn update(
    operator: Operator<TenantsWrite>,
    State(platform): State<Platform>,
    Path(name): Path<String>,
    Query(query): Query<WaitQuery>,
    Json(patch): Json<TierPatch>,
) -> Result<(StatusCode, Json<TierView>)> {
    let mut transaction = platform.registry.begin().await?;
    let tier = store::find_for_update(&mut transaction, &name)
        .await?
        .ok_or_else(unknown)?;
    let detail = json!({ "tier": name, "changed": patch });
    let tier = changed(tier, patch)?;
    store::update(&mut transaction, &tier).await?;
    let action = Action::TierUpdated;
    audit::record(&mut transaction, operator.actor(), action, None, detail).await?;
    let tenants = renew(&mut transaction, Renewed::Of(&name)).await?;
    // Last in the transaction: see the feed.
    tenants.announce(&mut transaction).await?;
    transaction.commit().await?;
    platform.feed.ring();
    let status = match query.wait.is_over_once_done(&platform).await? {
        true => StatusCode::OK,
        false => StatusCode::ACCEPTED,
    };
    Ok((status, Json(tier)))
}

/// The tier after the change.
fn changed(mut tier: TierView, patch: TierPatch) -> Result<TierView> {
    let both = patch
        .dropped_limits
        .iter()
        .any(|name| patch.limits.contains_key(name));
    if both {
        return Err(Problem::field(
            "/dropped_limits",
            "names a limit that is set as well",
        ));
    }
    if let Some(title) = patch.title {
        tier.title = words("/title", &title, MAX_TITLE_CHARS)?;
    }
    tier.grant.weight = patch.weight.unwrap_or(tier.grant.weight);
    tier.retention_days = patch.retention_days.unwrap_or(tier.retention_days);
    tier.self_service = patch.self_service.unwrap_or(tier.self_service);
    kept([
        (
            "/weight",
            "is 1 to 1000",
            (1..=1000).contains(&tier.grant.weight),
        ),
        (
            "/retention_days",
            "is 1 to 3650",
            (1..=3650).contains(&tier.retention_days),
        ),
    ])?;
    let grant = &mut tier.grant;
    for name in &patch.dropped_limits {
        if grant.limits.remove(name).is_none() {
            let rule = format!("names {name}, which the tier does not");
            return Err(Problem::field("/dropped_limits", rule));
        }
    }
    grant.limits.extend(patch.limits);
    for (name, on) in patch.features {
        if on {
            grant.features.insert(name);
        } else {
            grant.features.remove(&name);
        }
    }
    rules::limits("/limits", &grant.limits)?;
    rules::names("/features", grant.features.iter())?;
    Ok(tier)
}

pub(super) fn router() -> OpenApiRouter<Platform> {
    kit::operations!(update)
}
