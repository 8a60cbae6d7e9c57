//! Taking an archive in, and making a tenant of it.
//!
//! Deliberately two requests: an upload may take long, and an import that is refused needs none again.
//! Invariant: an archive is there as a whole or not at all.

use adapters::object_store::ObjectPath;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use contract::Code;
use contract::operator::backup::{NewImport, UploadView};
use contract::operator::operation::OperationView;
use futures::TryStreamExt as _;
use http::{HeaderMap, StatusCode};
use kit::error::{Problem, Result};
use kit::extract::{Json, Path, Query, uncoded};
use serde_json::json;
use tokio::io::AsyncReadExt;
use tokio_util::io::StreamReader;
use utoipa_axum::router::OpenApiRouter;

use super::{format, store as uploads};
use crate::backups::archive::{self, Written};
use crate::backups::tidy::UPLOADS;
use crate::operations::begin::{Begin, Planned, WaitQuery, begin};
use crate::operations::{ImportPlan, Subject};
use crate::operators::{Operator, TenantsWrite};
use crate::platform::Platform;
use crate::stop::Stop;
use crate::tenants::idempotency::MaybeIdempotencyKey;
use crate::tenants::intake::{Wanted, admit};

/// Longest archive: 16 GiB.
const MAX_BYTES: u64 = 16 * 1024 * 1024 * 1024;

fn object(name: &str) -> Result<String> {
    let path = format!("{UPLOADS}/{name}");
    let rule = "is 1 to 100 of a-z, 0-9, ., _ and -, and does not begin with a dot";
    match name.contains('/') || archive::object_path(&path).is_err() {
        true => Err(Problem::field("/archive", rule)),
        false => Ok(path),
    }
}

/// Where an archive is that may be replaced or removed.
///
/// # Errors
/// It is being imported, and goes with its import: what came in its place would go as well.
async fn unneeded(platform: &Platform, name: &str) -> Result<ObjectPath> {
    let object = object(name)?;
    let mut registry = platform.registry.acquire().await?;
    if uploads::is_needed(&mut registry, &object, None).await? {
        return Err(Problem::new(Code::Conflict)
            .detail("An archive of this name is being imported, and is removed with that."));
    }
    archive::object_path(&object).map_err(Stop::into_problem)
}

/// Upload an archive to import.
///
/// Send the file as it was exported. An archive of the same name is replaced, unless it is being imported; it
/// is removed when its import is over, or after a day without one.
#[utoipa::path(
    put,
    path = "/v1/imports/{name}",
    operation_id = "imports.upload",
    tag = "tenants",
    params(("name" = String, Path, pattern = "^[a-z0-9_-][a-z0-9._-]{0,99}$", example = "acme-2026-01-05.tar")),
    request_body(content_type = "application/x-tar", description = "The bytes of the archive."),
    responses((status = 200, description = "It is kept.", body = UploadView)),
    extensions(("x-unhurried" = json!(true)))
)]
pub(crate) async fn upload(
    _operator: Operator<TenantsWrite>,
    State(platform): State<Platform>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<UploadView>> {
    uncoded(&headers)?;
    let objects = archive::objects(&platform.settings)?;
    let path = unneeded(&platform, &name).await?;
    let body = body.into_data_stream().map_err(std::io::Error::other);
    let body = StreamReader::new(body).take(MAX_BYTES + 1);
    let stored = objects
        .put(&path, body)
        .await
        .map_err(|error| match error {
            adapters::object_store::ObjectError::Body(error) => Problem::new(Code::JsonMalformed)
                .detail("The upload broke off.")
                .caused_by(error),
            other => archive::object_stop(other).into_problem(),
        })?;
    if stored.size_bytes > MAX_BYTES {
        let removed = objects.delete(&path).await;
        removed.map_err(|error| archive::object_stop(error).into_problem())?;
        return Err(Problem::new(Code::BodyTooLarge));
    }
    let written = Written::from(stored);
    Ok(Json(UploadView {
        archive: name,
        size_bytes: written.size_bytes,
        sha256: written.sha256_text(),
    }))
}

/// Remove an uploaded archive.
///
/// One that is being imported is removed by its import.
#[utoipa::path(
    delete,
    path = "/v1/imports/{name}",
    operation_id = "imports.remove",
    tag = "tenants",
    params(("name" = String, Path, pattern = "^[a-z0-9_-][a-z0-9._-]{0,99}$", example = "acme-2026-01-05.tar")),
    responses((status = 204, description = "It is gone."))
)]
pub(crate) async fn remove(
    _operator: Operator<TenantsWrite>,
    State(platform): State<Platform>,
    Path(name): Path<String>,
) -> Result<StatusCode> {
    let objects = archive::objects(&platform.settings)?;
    let path = unneeded(&platform, &name).await?;
    let removed = objects.delete(&path).await;
    removed.map_err(|error| archive::object_stop(error).into_problem())?;
    Ok(StatusCode::NO_CONTENT)
}

/// Make a tenant of an uploaded archive.
///
/// Every checksum is looked at first, and every row afterwards; then its schemas are brought up to date
/// and it is served, with the people and passwords that it has. Nobody's sign-in goes on.
///
/// Whatever the archive says of the tenant is taken over where the request says nothing else, its tier and
/// limits of its own among it: the audit has them.
#[utoipa::path(
    post,
    path = "/v1/imports",
    operation_id = "imports.create",
    tag = "tenants",
    params(WaitQuery),
    request_body = NewImport,
    responses(
        (status = 200, description = "The tenant is served.", body = OperationView),
        (status = 202, description = "The tenant is being made.", body = OperationView, headers(("location" = String), ("retry-after" = u32))),
    )
)]
pub(crate) async fn import(
    operator: Operator<TenantsWrite>,
    State(platform): State<Platform>,
    key: MaybeIdempotencyKey,
    Query(query): Query<WaitQuery>,
    Json(new): Json<NewImport>,
) -> Result<Response> {
    let objects = archive::objects(&platform.settings)?;
    let object = object(&new.archive)?;
    let path = archive::object_path(&object).map_err(Stop::into_problem)?;
    let mut reader = objects.get(&path).await.map_err(|error| match error {
        adapters::object_store::ObjectError::NotFound { .. } => {
            Problem::new(Code::NotFound).detail("No archive of this name was uploaded.")
        }
        other => archive::object_stop(other).into_problem(),
    })?;
    let head = format::unpack_head(&mut reader).await;
    let unreadable = |problem| archive::unreadable(problem).into_problem();
    let (manifest, registry) = head.map_err(unreadable)?;
    registry.overrides.check()?;
    let request = Begin {
        actor: operator.actor(),
        key,
        request: json!({ "import": new }),
        wait: query.wait,
    };
    let shared = platform.clone();
    begin(&platform, request, move |db, id| {
        Box::pin(async move {
            let wanted = Wanted {
                slug: Some(new.slug.as_ref().unwrap_or(&registry.slug)),
                company: new.company.as_ref().unwrap_or(&registry.company),
                email: &registry.contact_email,
                tier: new.tier.as_ref().unwrap_or(&registry.tier),
                region: Some(new.region.as_ref().unwrap_or(&registry.region)),
                time_zone: &registry.time_zone,
                labels: new.labels.as_ref().unwrap_or(&registry.labels),
            };
            let tenant = admit(db, wanted).await?;
            let detail = json!({
                "archive": new.archive, "archive_of": manifest.tenant,
                "tier": tenant.tier, "overrides": registry.overrides,
            });
            let archive = (object, manifest, &registry);
            let plan = ImportPlan::record(db, &shared, id, &tenant, archive).await?;
            Ok(Planned {
                subject: Subject::Tenant(tenant.id),
                plan: plan.into(),
                detail,
            })
        })
    })
    .await
}

pub(crate) fn router() -> OpenApiRouter<Platform> {
    kit::operations!(upload, remove, import)
}
