//! Finds over HTTP: list, sweep now, keep.
//!
//! Deliberately without the removal of one find, which has a file of its own. Invariant: who keeps a find
//! or sweeps is in the audit.

use std::time::Duration;

use axum::extract::State;
use contract::Code;
use contract::operator::upkeep::{FindingKind, FindingView, KeepFinding, NewSweep, SweepReport};
use kit::error::{Problem, Result};
use kit::extract::{Json, Query};
use kit::page::{Limit, Page};
use serde::Deserialize;
use serde_json::json;
use utoipa_axum::router::OpenApiRouter;

use super::store::{self, FindingRow, Kept, Key};
use super::{Mode, round};
use crate::audit::{self, Action};
use crate::operators::{ClustersRead, ClustersWrite, Operator};
use crate::platform::Platform;

/// Which finds to list.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct FindingsQuery {
    /// How many: 1 to 100.
    #[serde(default)]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 100, default = 20)]
    limit: Limit,
    /// The id of the last one of the page before.
    starting_after: Option<String>,
    /// Only those of this kind.
    #[param(inline)]
    kind: Option<FindingKind>,
    /// Only those at this place: a cluster's name, `secrets` or `objects`.
    #[param(example = "main")]
    place: Option<String>,
}

fn view(row: FindingRow, grace: Duration) -> FindingView {
    let removed_after = (row.removable && !row.kept).then(|| row.first_seen_at + grace);
    FindingView {
        id: row.key.to_string(),
        kind: row.key.kind,
        place: row.key.place,
        name: row.key.name,
        detail: row.detail,
        kept: row.kept,
        first_seen_at: row.first_seen_at,
        last_seen_at: row.last_seen_at,
        removed_after,
    }
}

fn key(text: &str) -> Result<Key> {
    text.parse()
        .map_err(|error: store::NoKey| Problem::field("/id", error.to_string()))
}

/// List what is the platform's on clusters and in stores and claimed by nobody.
#[utoipa::path(
    get,
    path = "/v1/findings",
    operation_id = "findings.list",
    tag = "upkeep",
    params(FindingsQuery),
    responses((status = 200, description = "A page of finds.", body = Page<FindingView>))
)]
pub(crate) async fn list(
    _operator: Operator<ClustersRead>,
    State(platform): State<Platform>,
    Query(query): Query<FindingsQuery>,
) -> Result<Json<Page<FindingView>>> {
    let after = match query.starting_after.as_deref().map(str::parse::<Key>) {
        None => None,
        Some(Ok(key)) => Some(key),
        Some(Err(error)) => {
            return Err(Problem::new(Code::QueryInvalid).detail(error.to_string()));
        }
    };
    let mut registry = platform.registry.acquire().await?;
    let filter = store::Filter {
        kind: query.kind,
        place: query.place,
    };
    let limit = query.limit.probe();
    let rows = store::list(&mut registry, &filter, after.as_ref(), limit).await?;
    let grace = platform.settings.sweep.grace.get();
    Ok(Json(
        Page::of(rows, query.limit).map(|row| view(row, grace)),
    ))
}

/// Look now for what nobody claims, and remove what has been found for longer than the grace.
#[utoipa::path(
    post,
    path = "/v1/findings/sweep",
    operation_id = "findings.sweep",
    tag = "upkeep",
    request_body = NewSweep,
    responses((status = 200, description = "What was found and removed.", body = SweepReport)),
    // Each removal waits for the server's disk.
    extensions(("x-unhurried" = json!(true)))
)]
pub(crate) async fn sweep(
    operator: Operator<ClustersWrite>,
    State(platform): State<Platform>,
    Json(new): Json<NewSweep>,
) -> Result<Json<SweepReport>> {
    let mode = if new.dry_run {
        Mode::Look
    } else {
        Mode::Remove
    };
    Ok(Json(round(&platform, operator.actor(), mode).await?))
}

/// Say whether a find stays, whatever its age.
#[utoipa::path(
    post,
    path = "/v1/findings/keep",
    operation_id = "findings.keep",
    tag = "upkeep",
    request_body = KeepFinding,
    responses((status = 200, description = "The find after it.", body = FindingView))
)]
pub(crate) async fn keep(
    operator: Operator<ClustersWrite>,
    State(platform): State<Platform>,
    Json(request): Json<KeepFinding>,
) -> Result<Json<FindingView>> {
    let key = key(&request.id)?;
    let kept = if request.kept {
        Kept::Stays
    } else {
        Kept::Goes
    };
    let mut transaction = platform.registry.begin().await?;
    let row = store::set_kept(&mut transaction, &key, kept)
        .await?
        .ok_or_else(|| Problem::new(Code::NotFound))?;
    let detail = json!({ "finding": key.to_string(), "kept": request.kept });
    let action = Action::FindingKept;
    audit::record(&mut transaction, operator.actor(), action, None, detail).await?;
    transaction.commit().await?;
    Ok(Json(view(row, platform.settings.sweep.grace.get())))
}

pub(crate) fn router() -> OpenApiRouter<Platform> {
    kit::operations!(list, sweep, keep).merge(super::by_hand::router())
}
