//! How far an operation is, for whoever started it and for operators.
//!
//! Deliberately shows no plan. Invariants: an operation is read with its own poll token or with an
//! operator key, and one that does not exist looks like one that the token is not for; the words of
//! clusters and services are for operators alone.

mod store;

use axum::extract::{FromRef, FromRequestParts, State};
use axum::response::{IntoResponse, Response};
use contract::operator::operation::{OperationSummary, OperationView};
use contract::{ClusterName, Code, OperationId, TenantId};
use http::{HeaderValue, header, request};
use kit::auth::bearer;
use kit::error::{Problem, Result};
use kit::extract::{Json, Path, Query};
use kit::openapi::{Describe, require};
use kit::page::{Limit, Page};
use serde::Deserialize;
use sqlx::PgConnection;
use time::OffsetDateTime;
use utoipa::openapi::path::Operation;
use utoipa_axum::router::OpenApiRouter;

use super::store::{Filter, OperationRow, find, list as find_all};
use super::{OperationKind, OperationState};
use crate::operators::{self, Access as _, OperationsRead, Operator};
use crate::platform::Platform;
use crate::tenants::idempotency::poll_digest;

/// The name of the poll token's security scheme in the OpenAPI document.
pub(crate) const POLL_SCHEME: &str = "poll";

/// Which operations to list.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct OperationsQuery {
    /// How many: 1 to 100.
    #[serde(default)]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 100, default = 20)]
    limit: Limit,
    /// The id of the last operation of the page before.
    starting_after: Option<OperationId>,
    /// Only those that stand there.
    state: Option<OperationState>,
    /// Only those of this kind, e.g. `create`.
    kind: Option<String>,
    /// Only those on this tenant.
    tenant: Option<TenantId>,
    /// Only those on this cluster.
    cluster: Option<ClusterName>,
    /// Only the parts of this operation.
    parent: Option<OperationId>,
    /// Only those that were begun then or later.
    #[serde(default, with = "time::serde::rfc3339::option")]
    #[param(value_type = Option<String>, format = DateTime, example = "2027-01-31T00:00:00Z")]
    since: Option<OffsetDateTime>,
    /// Only those that were begun before.
    #[serde(default, with = "time::serde::rfc3339::option")]
    #[param(value_type = Option<String>, format = DateTime, example = "2027-02-01T00:00:00Z")]
    until: Option<OffsetDateTime>,
}

fn summary(row: OperationRow) -> OperationSummary {
    OperationSummary {
        id: row.id,
        kind: row.kind.as_str().to_owned(),
        tenant: row.subject.tenant().cloned(),
        cluster: row.subject.cluster().cloned(),
        parent: row.parent,
        state: row.state,
        step: row.step.as_str().to_owned(),
        failure: row.failure,
        progress: row.progress,
        created_at: row.created_at,
        finished_at: row.finished_at,
    }
}

/// An operation with its log, as operators see it.
pub(super) async fn view(
    connection: &mut PgConnection,
    row: OperationRow,
) -> Result<OperationView, sqlx::Error> {
    let log = store::log(connection, row.id).await?;
    Ok(OperationView {
        result: row.result.clone(),
        summary: summary(row),
        log,
    })
}

fn no_such() -> Problem {
    Problem::new(Code::NotFound).detail("There is no such operation, or the token is not for it.")
}

fn no_token() -> Problem {
    Problem::new(Code::TokenInvalid)
        .detail("Send the token that the 202 answered, or an operator key.")
}

/// Who may read an operation.
#[derive(Debug)]
pub(crate) enum Reader {
    /// An operator who may see all.
    Operator,
    /// The bearer of the token with this digest.
    Poller([u8; 32]),
}

impl Reader {
    fn may_read(&self, row: &OperationRow) -> bool {
        match self {
            Self::Operator => true,
            Self::Poller(digest) => row.poll_digest.as_deref() == Some(digest.as_slice()),
        }
    }

    /// What of an operation this reader is shown.
    fn shown(&self, view: OperationView) -> OperationView {
        match self {
            Self::Operator => view,
            Self::Poller(_) => view.for_everybody(),
        }
    }
}

impl<S> FromRequestParts<S> for Reader
where
    S: Send + Sync,
    Platform: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut request::Parts, state: &S) -> Result<Self, Problem> {
        let token = bearer(&parts.headers, Code::TokenMissing)?;
        if !operators::is_key(token) {
            return poll_digest(token).map(Self::Poller).ok_or_else(no_token);
        }
        Operator::<OperationsRead>::from_request_parts(parts, state).await?;
        Ok(Self::Operator)
    }
}

impl Describe for Reader {
    fn describe(operation: &mut Operation) {
        Operator::<OperationsRead>::describe(operation);
        let scope = OperationsRead::SCOPE.as_str();
        require(
            operation,
            POLL_SCHEME,
            serde_json::json!({ "door": "poll", "scope": scope }),
        );
    }
}

/// Show how far an operation is.
///
/// Read it with the token that the 202 answered, or with an operator key. As long as it goes on,
/// `Retry-After` says when to ask again.
#[utoipa::path(
    get,
    path = "/v1/operations/{id}",
    operation_id = "operations.show",
    tag = "sign-up",
    params(("id" = OperationId, Path, example = "op_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f")),
    responses((status = 200, description = "The operation.", body = OperationView, headers(("retry-after" = u32))))
)]
pub(crate) async fn show(
    reader: Reader,
    State(platform): State<Platform>,
    Path(id): Path<OperationId>,
) -> Result<Response> {
    let mut connection = platform.public_registry.acquire().await?;
    let row = find(&mut connection, id)
        .await?
        .filter(|row| reader.may_read(row))
        .ok_or_else(no_such)?;
    let state = row.state;
    let view = view(&mut connection, row).await?;
    let mut response = Json(reader.shown(view)).into_response();
    if !state.is_over() {
        let headers = response.headers_mut();
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    Ok(response)
}

/// List operations, newest first.
#[utoipa::path(
    get,
    path = "/v1/operations",
    operation_id = "operations.list",
    tag = "operations",
    params(OperationsQuery),
    responses((status = 200, description = "A page of operations.", body = Page<OperationSummary>))
)]
pub(crate) async fn list(
    _operator: Operator<OperationsRead>,
    State(platform): State<Platform>,
    Query(query): Query<OperationsQuery>,
) -> Result<Json<Page<OperationSummary>>> {
    let kind = query.kind.map(|word| word.parse::<OperationKind>());
    let kind = kind
        .transpose()
        .map_err(|_| Problem::new(Code::QueryInvalid).and_field("kind", "names no kind"))?;
    let filter = Filter {
        state: query.state,
        kind,
        tenant: query.tenant,
        cluster: query.cluster,
        parent: query.parent,
        since: query.since,
        until: query.until,
    };
    let mut transaction = platform.registry.begin().await?;
    let rows = find_all(
        &mut transaction,
        &filter,
        query.starting_after,
        query.limit.probe(),
    )
    .await?;
    Ok(Json(Page::of(rows, query.limit).map(summary)))
}

pub(crate) fn router() -> OpenApiRouter<Platform> {
    kit::operations!(list, show)
}
