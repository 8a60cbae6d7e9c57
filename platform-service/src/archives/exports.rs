//! Asking for an export, and fetching it; the last backup of a purged tenant is fetched as one.
//!
//! Deliberately two requests: it may take long to pack, and can be fetched as often as needed until it
//! expires. Invariant: whoever fetches one may read tenants' data.

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use contract::operator::backup::{BackupId, BackupKind, BackupState};
use contract::operator::operation::OperationView;
use contract::{Code, TenantId};
use http::header;
use kit::error::{Problem, Result};
use kit::extract::{Path, Query};
use serde_json::json;
use tokio_util::io::ReaderStream;
use utoipa_axum::router::OpenApiRouter;

use crate::backups::{archive, found, is_packed};
use crate::operations::begin::{Begin, Planned, WaitQuery, begin};
use crate::operations::{ExportPlan, Subject};
use crate::operators::{BackupsWrite, Operator, TenantsQuery};
use crate::platform::Platform;
use crate::stop::Stop;
use crate::tenants::idempotency::MaybeIdempotencyKey;

/// Export a tenant to an archive.
///
/// A tar of `manifest.json` with lengths and checksums, `registry.json` with what the platform knows of
/// the tenant, and `database.dump` in the format of `pg_dump -Fc`. It is listed with the backups, which say
/// when it expires and is removed (`backups.keep_exports` of the platform's settings); its id is in the
/// operation's `result`.
#[utoipa::path(
    post,
    path = "/v1/tenants/{id}/export",
    operation_id = "tenants.export",
    tag = "tenants",
    params(("id" = TenantId, Path, example = "t_acme_corp"), WaitQuery),
    responses(
        (status = 200, description = "It is packed.", body = OperationView),
        (status = 202, description = "It is being packed.", body = OperationView, headers(("location" = String), ("retry-after" = u32))),
    )
)]
pub(crate) async fn export(
    operator: Operator<BackupsWrite>,
    State(platform): State<Platform>,
    Path(tenant): Path<TenantId>,
    key: MaybeIdempotencyKey,
    Query(query): Query<WaitQuery>,
) -> Result<Response> {
    archive::objects(&platform.settings)?;
    let request = Begin {
        actor: operator.actor(),
        key,
        request: json!({ "export": tenant }),
        wait: query.wait,
    };
    let keep_for = platform.settings.backups.keep_exports.get();
    begin(&platform, request, move |db, _| {
        Box::pin(async move {
            let plan = ExportPlan::record(db, &tenant, keep_for).await?;
            Ok(Planned {
                subject: Subject::Tenant(tenant),
                detail: json!({ "export": plan.id() }),
                plan: plan.into(),
            })
        })
    })
    .await
}

/// Fetch an export, or the last backup of a tenant that was purged.
///
/// Until it expires: `expires_at` of `GET /v1/backups/{id}`. Either is the archive that `PUT
/// /v1/imports/{name}` takes. Also of a `corrupt` one what is there is sent, and it breaks off if that is
/// not what was written.
#[utoipa::path(
    get,
    path = "/v1/exports/{id}/archive",
    operation_id = "exports.archive",
    tag = "tenants",
    params(("id" = BackupId, Path, example = "bak_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f")),
    responses((status = 200, description = "The archive.", body = [u8], content_type = "application/x-tar"))
)]
pub(crate) async fn fetch(
    _operator: Operator<TenantsQuery>,
    State(platform): State<Platform>,
    Path(id): Path<BackupId>,
) -> Result<Response> {
    let row = found(&mut *platform.registry.acquire().await?, id).await?;
    let none = || Problem::new(Code::NotFound).detail("There is no such archive to fetch.");
    let written = match (row.kind, row.state, row.written) {
        (
            BackupKind::Export | BackupKind::Final,
            BackupState::Ready | BackupState::Corrupt,
            Some(written),
        ) if is_packed(&row.object) => written,
        _ => return Err(none()),
    };
    let objects = archive::objects(&platform.settings)?;
    let path = archive::object_path(&row.object).map_err(Stop::into_problem)?;
    let reader = objects.get(&path).await;
    let reader = reader.and_then(|reader| reader.expecting(written.into()));
    let reader = reader.map_err(|error| archive::object_stop(error).into_problem())?;
    let headers = [
        (header::CONTENT_TYPE, "application/x-tar".to_owned()),
        (header::CONTENT_LENGTH, written.size_bytes.to_string()),
        (
            header::CONTENT_DISPOSITION,
            format!("attachment; filename=\"{}-{id}.tar\"", row.tenant),
        ),
    ];
    Ok((headers, Body::from_stream(ReaderStream::new(reader))).into_response())
}

pub(crate) fn router() -> OpenApiRouter<Platform> {
    kit::operations!(export, fetch)
}
