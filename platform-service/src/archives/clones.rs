//! Asking for a copy of a tenant, as it is or as it was when a backup of it was made.
//!
//! Deliberately the copy is a tenant like any other: it has its tier, its region and its own id.
//! Invariant: its statements that anonymise are in no log and no audit row.

use axum::extract::State;
use axum::response::Response;
use contract::operator::backup::{BackupId, NewClone};
use contract::operator::operation::OperationView;
use contract::{Code, TenantId};
use kit::error::{Problem, Result};
use kit::extract::{Json, Path, Query};
use serde_json::json;
use sqlx::PgConnection;
use utoipa_axum::router::OpenApiRouter;

use crate::backups::store::{self, BackupRow};
use crate::backups::{archive, found, living, original};
use crate::operations::begin::{Begin, Planned, WaitQuery, begin};
use crate::operations::{ClonePlan, OperationKind, Subject};
use crate::operators::{Operator, TenantsWrite};
use crate::platform::Platform;
use crate::tenants::idempotency::MaybeIdempotencyKey;
use crate::tenants::intake::{Wanted, admit};

/// Copy a tenant to a new id.
///
/// The copy has the rows of one moment, and nobody's session. `anonymise_sql` runs in it as the owner of
/// its schemas, in one transaction, before anybody can reach it.
///
/// With `backup` the rows are those of that backup of the tenant, brought to the newest schemas; the tenant
/// itself is not asked, so it may be suspended, deleted or on a server that is down. Of a tenant that is
/// purged, its last backup becomes a tenant with `company` and `email`, which are not known any more.
#[utoipa::path(
    post,
    path = "/v1/tenants/{id}/clones",
    operation_id = "tenants.clone",
    tag = "tenants",
    params(("id" = TenantId, Path, example = "t_acme_corp"), WaitQuery),
    request_body = NewClone,
    responses(
        (status = 200, description = "The copy is served.", body = OperationView),
        (status = 202, description = "The copy is being made.", body = OperationView, headers(("location" = String), ("retry-after" = u32))),
    )
)]
pub(crate) async fn clone(
    operator: Operator<TenantsWrite>,
    State(platform): State<Platform>,
    Path(source): Path<TenantId>,
    key: MaybeIdempotencyKey,
    Query(query): Query<WaitQuery>,
    Json(new): Json<NewClone>,
) -> Result<Response> {
    let request = Begin {
        actor: operator.actor(),
        key,
        request: json!({ "clone": source, "new": new }),
        wait: query.wait,
    };
    if new.backup.is_some() {
        archive::objects(&platform.settings)?;
    }
    let shared = platform.clone();
    begin(&platform, request, move |db, id| {
        Box::pin(async move {
            let backup = match new.backup {
                Some(backup) => Some(kept(db, backup).await?),
                None => None,
            };
            let original = match &backup {
                Some(backup) => original(db, &source, backup).await?,
                None => living(db, &source).await?,
            };
            let wanted = Wanted {
                slug: Some(&new.slug),
                company: new.company.as_ref().unwrap_or(&original.company),
                email: new.email.as_ref().unwrap_or(&original.contact_email),
                tier: &original.tier,
                region: Some(&original.region),
                time_zone: &original.time_zone,
                labels: new.labels.as_ref().unwrap_or(&original.labels),
            };
            let copy = admit(db, wanted).await?;
            let tenants = (&original, &copy);
            let (backup, sql) = (backup.as_ref(), new.anonymise_sql);
            let plan = ClonePlan::record(db, &shared, id, tenants, backup, sql).await?;
            Ok(Planned {
                subject: Subject::Tenant(copy.id),
                plan: plan.into(),
                detail: match new.backup {
                    Some(backup) => json!({ "source": source, "backup": backup }),
                    None => json!({ "source": source }),
                },
            })
        })
    })
    .await
}

/// A backup that nobody is about to remove, nor begins to until the transaction ends.
async fn kept(connection: &mut PgConnection, id: BackupId) -> Result<BackupRow> {
    store::hold(connection, id).await?;
    let row = found(connection, id).await?;
    match store::used_by(connection, id, OperationKind::ForgetBackup).await? {
        None => Ok(row),
        Some(operation) => Err(Problem::new(Code::Conflict)
            .detail(format!("The operation {operation} is removing the backup."))),
    }
}

pub(crate) fn router() -> OpenApiRouter<Platform> {
    kit::operations!(clone)
}
