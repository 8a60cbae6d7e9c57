//! A tenant as operators see it.
//!
//! Deliberately without its credentials: not even their references. Invariant: the version of a
//! view is the tenant's generation.

use std::collections::BTreeMap;

use contract::operator::tenant::FinalBackup;
use contract::tenant::{Hold, Suspension};
use contract::{ClusterName, SchemaOwner, SchemaVersions, Slug, TenantId, TenantStatus};
use kit::precondition::Version;
use serde::Serialize;
use time::OffsetDateTime;

use super::TenantRow;
use super::overrides::Overrides;
use super::store::MigrationFailureRow;
use crate::registry::{number, parsed};

/// A tenant.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct TenantView {
    pub(crate) id: TenantId,
    pub(crate) slug: Slug,
    #[schema(example = "Acme Corp")]
    pub(crate) company: String,
    #[schema(example = "ada@acme.example")]
    pub(crate) contact_email: String,
    pub(crate) status: TenantStatus,
    #[schema(example = "standard")]
    pub(crate) tier: String,
    pub(crate) overrides: Overrides,
    #[schema(example = "local")]
    pub(crate) region: String,
    #[schema(example = "Europe/Berlin")]
    pub(crate) time_zone: String,
    /// The server that holds its database; none until it is placed.
    pub(crate) cluster: Option<ClusterName>,
    /// Counts the databases that it has had.
    #[schema(example = 1)]
    pub(crate) copy: u32,
    /// Grows with every change; the number in the ETag.
    #[schema(example = 4)]
    pub(crate) generation: u64,
    /// Schema versions by owner, as last reported.
    #[schema(example = json!({"auth": 1, "entries": 1}))]
    pub(crate) schema_versions: SchemaVersions,
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    pub(crate) activated_at: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) updated_at: OffsetDateTime,
    /// Labels that its cluster must have.
    #[schema(example = json!({"disk": "fast"}))]
    pub(crate) labels: BTreeMap<String, String>,
    /// How it is held back, where it is suspended.
    pub(crate) suspension: Option<Suspension>,
    /// Its requests wait while its database is moved or replaced.
    pub(crate) hold: Option<Hold>,
    #[serde(with = "time::serde::rfc3339::option")]
    pub(crate) deleted_at: Option<OffsetDateTime>,
    /// What the database and role of a deleted one are called.
    #[schema(example = "deleted:t_acme_corp:1")]
    pub(crate) kept_name: Option<String>,
    /// Until when a deleted one can be restored; none once its data is being destroyed.
    #[serde(with = "time::serde::rfc3339::option")]
    pub(crate) purge_after: Option<OffsetDateTime>,
    /// What is kept of a deleted one when its data is destroyed, as was asked for at its deletion.
    pub(crate) final_backup: FinalBackup,
    /// When nothing was left of its data.
    #[serde(with = "time::serde::rfc3339::option")]
    pub(crate) purged_at: Option<OffsetDateTime>,
}

/// A tenant with what is wrong with it.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct TenantDetail {
    #[serde(flatten)]
    pub(crate) tenant: TenantView,
    /// Migrations that fail in its database; empty in good times.
    pub(crate) migration_failures: Vec<MigrationFailureView>,
}

/// A migration that fails.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct MigrationFailureView {
    /// Whose schema.
    owner: SchemaOwner,
    #[schema(example = "V3__add_body")]
    migration: String,
    /// Where the server refused.
    #[schema(example = "42701")]
    sqlstate: Option<String>,
    #[schema(example = "column \"body\" of relation \"entry\" already exists")]
    message: String,
    /// The statement that the server refused, as far as it is kept.
    #[schema(example = "alter table entries.entry add column body text")]
    statement: Option<String>,
    /// How often it failed.
    failures: u32,
    #[serde(with = "time::serde::rfc3339")]
    first_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    last_at: OffsetDateTime,
}

impl From<TenantRow> for TenantView {
    fn from(row: TenantRow) -> Self {
        let suspension = match (row.status, row.wall) {
            (TenantStatus::Suspended, Some(wall)) => Some(Suspension {
                wall,
                reason: row.suspended_reason,
                until: row.suspended_until,
            }),
            _ => None,
        };
        Self {
            id: row.id,
            slug: row.slug,
            company: row.company,
            contact_email: row.contact_email,
            status: row.status,
            tier: row.tier,
            overrides: row.overrides,
            region: row.region,
            time_zone: row.time_zone,
            cluster: row.cluster,
            copy: row.copy,
            generation: row.generation,
            schema_versions: row.schema_versions,
            created_at: row.created_at,
            activated_at: row.activated_at,
            updated_at: row.updated_at,
            labels: row.labels,
            suspension,
            hold: row.held_until.map(|until| Hold { until }),
            deleted_at: row.deleted_at,
            kept_name: row.kept_name,
            purge_after: row.purge_after,
            final_backup: row.final_backup,
            purged_at: row.purged_at,
        }
    }
}

impl TryFrom<MigrationFailureRow> for MigrationFailureView {
    type Error = sqlx::Error;

    fn try_from(row: MigrationFailureRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            owner: parsed("migration_failure.owner", &row.owner)?,
            migration: row.migration,
            sqlstate: row.sqlstate,
            message: row.message,
            statement: row.statement,
            failures: number("migration_failure.failures", row.failures)?,
            first_at: row.first_at,
            last_at: row.last_at,
        })
    }
}

impl TenantRow {
    /// What an `If-Match` must name to change it.
    pub(crate) fn version(&self) -> Version {
        // The column is a bigint, so this always fits.
        Version(i64::try_from(self.generation).unwrap_or(i64::MAX))
    }
}
