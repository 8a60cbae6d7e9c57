//! Backups of tenants: made, listed, tried, removed, by hand and by their tier's schedule.
//!
//! Deliberately one object per backup, in PostgreSQL's own archive format, so that anybody with
//! `pg_restore` can read one that is not encrypted. Invariants: a backup counts only when its length
//! and checksum are recorded; what is removed is marked first.

pub(crate) mod archive;
pub(crate) mod changes;
mod delete;
pub(crate) mod discard;
mod facts;
pub(crate) mod keys;
pub(crate) mod last;
mod restore;
pub(crate) mod schedule;
pub(crate) mod store;
pub(crate) mod tidy;

use axum::extract::State;
use axum::response::Response;
use contract::operator::backup::{BackupId, BackupKind, BackupState, BackupView, NewBackup};
use contract::operator::operation::OperationView;
use contract::{Code, TenantId, TenantStatus};
use kit::error::{Problem, Result};
use kit::extract::{Json, Path, Query};
use kit::page::{Limit, Page};
use serde::Deserialize;
use serde_json::json;
use sqlx::PgConnection;
use utoipa_axum::router::OpenApiRouter;

use crate::clusters;
use crate::operations::begin::{Begin, Planned, WaitQuery, begin};
use crate::operations::{BackupPlan, Subject, VerifyBackupPlan};
use crate::operators::{BackupsRead, BackupsWrite, Operator};
use crate::platform::Platform;
use crate::tenants::idempotency::MaybeIdempotencyKey;
use crate::tenants::{self, TenantRow};
use archive::Archive;
use store::BackupRow;

/// Where a tenant's objects are.
pub(crate) fn folder(tenant: &TenantId) -> String {
    format!("tenants/{tenant}")
}

/// The path of a backup. Those of the last kind lie apart: a purge removes all others.
pub(crate) fn object(tenant: &TenantId, id: BackupId, kind: BackupKind) -> String {
    let folder = folder(tenant);
    match kind {
        BackupKind::Manual | BackupKind::Scheduled => format!("{folder}/backups/{id}.dump"),
        BackupKind::Final => format!("{folder}/final/{id}.tar"),
        BackupKind::Export => format!("{folder}/exports/{id}.tar"),
    }
}

/// Whether an object is an archive to take along, and no bare dump, as last backups of earlier releases are.
pub(crate) fn is_packed(object: &str) -> bool {
    std::path::Path::new(object)
        .extension()
        .is_some_and(|extension| extension == "tar")
}

impl BackupRow {
    pub(super) fn view(self) -> BackupView {
        BackupView {
            size_bytes: self.written.map(|written| written.size_bytes),
            sha256: self.written.map(|written| written.sha256_text()),
            tables: u64::try_from(self.tables.len()).unwrap_or(u64::MAX),
            rows: archive::rows(&self.tables),
            id: self.id,
            tenant: self.tenant,
            kind: self.kind,
            state: self.state,
            encryption: self.encryption,
            schema_versions: self.schema_versions,
            server_version: self.server_version,
            copy: self.copy,
            created_at: self.created_at,
            finished_at: self.finished_at,
            verified_at: self.verified_at,
            expires_at: self.expires_at,
        }
    }

    /// Refuses what is another tenant's.
    ///
    /// # Errors
    /// It is another tenant's.
    pub(crate) fn must_be_of(&self, tenant: &TenantId) -> Result<()> {
        if self.tenant == *tenant {
            return Ok(());
        }
        let detail = format!("{} is a backup of another tenant.", self.id);
        Err(Problem::new(Code::Conflict).detail(detail))
    }

    /// What an operation needs to load it.
    ///
    /// # Errors
    /// It is no backup that can be loaded.
    pub(crate) fn archive(&self) -> Result<Archive> {
        let refused = |detail: String| Problem::new(Code::Conflict).detail(detail);
        if self.kind == BackupKind::Export {
            return Err(refused(format!(
                "{} is an archive to take along: import it as a tenant.",
                self.id
            )));
        }
        match (self.state, self.written) {
            (BackupState::Ready | BackupState::Corrupt, Some(written)) => Ok(Archive {
                tenant: self.tenant.clone(),
                object: self.object.clone(),
                written,
                encryption: self.encryption,
                server_version: self.server_version,
            }),
            (state, _) => Err(refused(format!(
                "The backup {} is {}.",
                self.id,
                state.as_str()
            ))),
        }
    }
}

/// A tenant that has a database, locked.
///
/// # Errors
/// There is none, or it has no database that is its own now.
pub(crate) async fn living(connection: &mut PgConnection, id: &TenantId) -> Result<TenantRow> {
    let row = tenants::store::find_for_update(connection, id).await?;
    let row = row.ok_or_else(|| Problem::new(Code::NotFound))?;
    match row.status {
        TenantStatus::Active | TenantStatus::Suspended => Ok(row),
        TenantStatus::Provisioning => Err(Problem::new(Code::TenantProvisioning)),
        TenantStatus::Deleted => Err(Problem::new(Code::TenantDeleted)),
    }
}

/// The tenant of a backup that can be loaded, locked: whether it is served or deleted; of one that is purged,
/// only the last backup is left.
///
/// # Errors
/// The backup is another tenant's, or cannot be loaded; there is no such tenant, or its data is destroyed.
pub(crate) async fn original(
    connection: &mut PgConnection,
    id: &TenantId,
    backup: &BackupRow,
) -> Result<TenantRow> {
    let row = tenants::store::find_for_update(connection, id).await?;
    let row = row.ok_or_else(|| Problem::new(Code::NotFound))?;
    backup.must_be_of(id)?;
    backup.archive()?;
    let is_purged = row.status == TenantStatus::Deleted && row.purge_after.is_none();
    if is_purged && backup.kind != BackupKind::Final {
        return Err(Problem::new(Code::TenantDeleted).detail("Its data is destroyed."));
    }
    Ok(row)
}

/// The version of the server that a tenant is on.
pub(crate) async fn server_version(
    connection: &mut PgConnection,
    tenant: &TenantRow,
) -> Result<i32> {
    let none = || Problem::internal("the tenant is not placed");
    let cluster = tenant.cluster.as_ref().ok_or_else(none)?;
    let row = clusters::store::find(connection, cluster).await?;
    Ok(row.ok_or_else(none)?.server_version)
}

/// Which backups to list.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct BackupsQuery {
    /// How many: 1 to 100.
    #[serde(default)]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 100, default = 20)]
    limit: Limit,
    /// The id of the last backup of the page before.
    starting_after: Option<BackupId>,
    /// Only those of this tenant.
    tenant: Option<TenantId>,
    /// Only those that were made for this reason.
    #[param(inline)]
    kind: Option<BackupKind>,
    /// Only those that stand there.
    #[param(inline)]
    state: Option<BackupState>,
}

/// List backups and exports, newest first.
#[utoipa::path(
    get,
    path = "/v1/backups",
    operation_id = "backups.list",
    tag = "backups",
    params(BackupsQuery),
    responses((status = 200, description = "A page of backups.", body = Page<BackupView>))
)]
pub(crate) async fn list(
    _operator: Operator<BackupsRead>,
    State(platform): State<Platform>,
    Query(query): Query<BackupsQuery>,
) -> Result<Json<Page<BackupView>>> {
    let filter = store::Filter {
        tenant: query.tenant,
        kind: query.kind,
        state: query.state,
    };
    let mut transaction = platform.registry.begin().await?;
    let (before, limit) = (query.starting_after, query.limit.probe());
    let rows = store::list(&mut transaction, &filter, before, limit).await?;
    Ok(Json(Page::of(rows, query.limit).map(BackupRow::view)))
}

/// Show a backup.
#[utoipa::path(
    get,
    path = "/v1/backups/{id}",
    operation_id = "backups.show",
    tag = "backups",
    params(("id" = BackupId, Path, example = "bak_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f")),
    responses((status = 200, description = "The backup.", body = BackupView))
)]
pub(crate) async fn show(
    _operator: Operator<BackupsRead>,
    State(platform): State<Platform>,
    Path(id): Path<BackupId>,
) -> Result<Json<BackupView>> {
    let mut connection = platform.registry.acquire().await?;
    Ok(Json(found(&mut connection, id).await?.view()))
}

/// A backup that there is.
pub(crate) async fn found(connection: &mut PgConnection, id: BackupId) -> Result<BackupRow> {
    let row = store::find(connection, id).await?;
    row.ok_or_else(|| Problem::new(Code::NotFound).detail("There is no such backup."))
}

/// Back a tenant up now.
///
/// The archive is compressed, of one moment, and its checksum and the rows of every table are recorded
/// with it. Its id is in the operation's `result`.
#[utoipa::path(
    post,
    path = "/v1/tenants/{id}/backups",
    operation_id = "backups.create",
    tag = "backups",
    params(("id" = TenantId, Path, example = "t_acme_corp"), WaitQuery),
    request_body = NewBackup,
    responses(
        (status = 200, description = "It is made.", body = OperationView),
        (status = 202, description = "It is being made.", body = OperationView, headers(("location" = String), ("retry-after" = u32))),
    )
)]
pub(crate) async fn create(
    operator: Operator<BackupsWrite>,
    State(platform): State<Platform>,
    Path(tenant): Path<TenantId>,
    key: MaybeIdempotencyKey,
    Query(query): Query<WaitQuery>,
    Json(new): Json<NewBackup>,
) -> Result<Response> {
    archive::objects(&platform.settings)?;
    let request = Begin {
        actor: operator.actor(),
        key,
        request: json!({ "backup": tenant, "encryption": new.encryption }),
        wait: query.wait,
    };
    begin(&platform, request, move |db, _| {
        Box::pin(async move {
            let kind = BackupKind::Manual;
            let plan = BackupPlan::record(db, &tenant, kind, new.encryption, None).await?;
            Ok(Planned {
                subject: Subject::Tenant(tenant),
                detail: json!({ "backup": plan.id() }),
                plan: plan.into(),
            })
        })
    })
    .await
}

/// Restore a backup to see that it can be.
///
/// It is loaded into a database of its own, which is dropped afterwards, and every table is compared
/// with what was recorded when the backup was made. `changes` of the result says what a restore over the
/// tenant would change: `tables` (the 50 that differ most) with `rows_now` and `rows_then`, which are `null`
/// where they could not be counted in time, and how many more are `unlisted`.
#[utoipa::path(
    post,
    path = "/v1/backups/{id}/verify",
    operation_id = "backups.verify",
    tag = "backups",
    params(("id" = BackupId, Path, example = "bak_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f"), WaitQuery),
    responses(
        (status = 200, description = "It can be restored.", body = OperationView),
        (status = 202, description = "It is being restored.", body = OperationView, headers(("location" = String), ("retry-after" = u32))),
    )
)]
pub(crate) async fn verify(
    operator: Operator<BackupsWrite>,
    State(platform): State<Platform>,
    Path(id): Path<BackupId>,
    key: MaybeIdempotencyKey,
    Query(query): Query<WaitQuery>,
) -> Result<Response> {
    let request = Begin {
        actor: operator.actor(),
        key,
        request: json!({ "verify": id }),
        wait: query.wait,
    };
    begin(&platform, request, move |db, _| {
        Box::pin(async move {
            let row = found(db, id).await?;
            let tenant = living(db, &row.tenant).await?;
            let plan = VerifyBackupPlan::of(&row, &tenant)?;
            Ok(Planned {
                subject: Subject::Tenant(row.tenant),
                plan: plan.into(),
                detail: json!({ "backup": id }),
            })
        })
    })
    .await
}

pub(crate) fn router() -> OpenApiRouter<Platform> {
    kit::operations!(list, show, create, verify)
        .merge(delete::router())
        .merge(restore::router())
}
