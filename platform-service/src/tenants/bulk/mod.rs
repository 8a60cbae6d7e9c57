//! Making many tenants of a file: taken in at once, made a few at a time, reported row by row.
//!
//! Deliberately a row that breaks a rule fails alone. Invariants: a row makes one tenant, however often
//! the operation is taken up again; a password is sealed as soon as it is read, and forgotten when its
//! row is begun.

mod read;
pub(crate) mod store;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use contract::operator::backup::{BulkRowState, BulkRowView};
use contract::operator::operation::OperationView;
use contract::{Code, OperationId};
use http::{HeaderMap, header};
use kit::error::{Problem, Result};
use kit::extract::{Json, Path, Query, uncoded};
use kit::page::{Limit, Page};
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use utoipa_axum::router::OpenApiRouter;

use super::idempotency::MaybeIdempotencyKey;
use crate::backups::archive::hex;
use crate::operations::begin::{Begin, Planned, WaitQuery, begin};
use crate::operations::{BulkCreatePlan, Subject};
use crate::operators::{OperationsRead, Operator, TenantsWrite};
use crate::platform::Platform;

pub(crate) use read::NewRow;

/// Longest file: 8 MiB.
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// Create many tenants from CSV or NDJSON.
///
/// Up to 10,000 rows with the fields of a sign-up, and `labels`; a CSV names them in its first line, and
/// writes labels as `disk=nvme rack=7`. Each row succeeds
/// or fails by itself: `GET /v1/operations/{id}/rows` reports them.
#[utoipa::path(
    post,
    path = "/v1/tenants/bulk",
    operation_id = "tenants.create_bulk",
    tag = "tenants",
    params(WaitQuery),
    request_body(
        content(
            (String = "text/csv", example = "company,slug,email,password\nAcme Corp,acme-corp,ada@acme.example,correct horse battery staple\n"),
            (String = "application/x-ndjson", example = "{\"company\":\"Acme Corp\",\"email\":\"ada@acme.example\",\"password\":\"correct horse battery staple\"}\n"),
        ),
        description = "One row a tenant.",
    ),
    responses(
        (status = 200, description = "Every row is done or has failed.", body = OperationView),
        (status = 202, description = "The tenants are being made.", body = OperationView, headers(("location" = String), ("retry-after" = u32))),
    ),
    extensions(("x-unhurried" = json!(true)))
)]
pub(crate) async fn create(
    operator: Operator<TenantsWrite>,
    State(platform): State<Platform>,
    key: MaybeIdempotencyKey,
    Query(query): Query<WaitQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response> {
    let content_type = headers.get(header::CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok());
    let format = read::Format::of(content_type.unwrap_or_default())?;
    uncoded(&headers)?;
    let bytes = axum::body::to_bytes(body, MAX_BYTES).await;
    let bytes = bytes.map_err(|error| Problem::new(Code::BodyTooLarge).caused_by(error))?;
    let rows = read::rows(format, &bytes)?;
    let request = Begin {
        actor: operator.actor(),
        key,
        request: json!({ "bulk": hex(&Sha256::digest(&bytes)) }),
        wait: query.wait,
    };
    let shared = platform.clone();
    begin(&platform, request, move |_, id| {
        Box::pin(async move {
            let detail = json!({ "rows": rows.len() });
            let plan = BulkCreatePlan::seal(&shared, id, rows).await?;
            Ok(Planned {
                subject: Subject::Fleet,
                plan: plan.into(),
                detail,
            })
        })
    })
    .await
}

/// Which rows to list.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct RowsQuery {
    /// How many: 1 to 100.
    #[serde(default)]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 100, default = 20)]
    limit: Limit,
    /// The number of the last row of the page before.
    #[param(value_type = Option<i64>, minimum = 0, maximum = 4_294_967_295_i64)]
    starting_after: Option<u32>,
    /// Only those that stand there.
    state: Option<BulkRowState>,
}

/// List the rows of a file of tenants, in their order.
#[utoipa::path(
    get,
    path = "/v1/operations/{id}/rows",
    operation_id = "operations.rows",
    tag = "operations",
    params(("id" = OperationId, Path, example = "op_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f"), RowsQuery),
    responses((status = 200, description = "A page of rows; none for an operation of another kind.", body = Page<BulkRowView>))
)]
pub(crate) async fn rows(
    _operator: Operator<OperationsRead>,
    State(platform): State<Platform>,
    Path(id): Path<OperationId>,
    Query(query): Query<RowsQuery>,
) -> Result<Json<Page<BulkRowView>>> {
    let mut connection = platform.registry.acquire().await?;
    let after = query.starting_after.unwrap_or(0);
    let limit = query.limit.probe();
    let rows = store::list(&mut connection, id, (query.state, after), limit).await?;
    Ok(Json(Page::of(rows, query.limit)))
}

pub(crate) fn router() -> OpenApiRouter<Platform> {
    kit::operations!(create, rows)
}
