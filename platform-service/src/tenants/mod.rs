//! Tenants as the registry knows them.
//!
//! Deliberately without the work on their databases, which operations do. Invariants: a status
//! changes only by [`contract::TenantStatus::after`], and every change of anything in a route raises
//! the generation and enters the change feed in the same transaction.

pub(crate) mod access;
pub(crate) mod answer;
pub(crate) mod bulk;
pub(crate) mod certificate;
pub(crate) mod due;
pub(crate) mod idempotency;
pub(crate) mod intake;
pub(crate) mod internal;
pub(crate) mod labelled;
pub(crate) mod life;
pub(crate) mod named;
pub(crate) mod operator;
pub(crate) mod overrides;
pub(crate) mod place;
mod proposal;
pub(crate) mod purge;
pub(crate) mod rules;
pub(crate) mod signup;
pub(crate) mod slug;
pub(crate) mod store;
pub(crate) mod view;
pub(crate) mod wall;

use std::collections::BTreeMap;

use contract::operator::tenant::FinalBackup;
use contract::tenant::SuspensionWall;
use contract::{ClusterName, SchemaVersions, Slug, TenantId, TenantStatus};
use time::OffsetDateTime;

use overrides::Overrides;

/// A tenant that is to be made: everything that is chosen before its first step.
#[derive(Debug, Clone)]
pub(crate) struct NewTenant {
    /// Given by the first slug, for ever.
    pub(crate) id: TenantId,
    pub(crate) slug: Slug,
    pub(crate) company: String,
    pub(crate) contact_email: String,
    pub(crate) tier: String,
    pub(crate) region: String,
    /// IANA name.
    pub(crate) time_zone: String,
    /// Labels that its cluster must have.
    pub(crate) labels: BTreeMap<String, String>,
}

/// A tenant as it is stored.
#[derive(Debug, Clone)]
pub(crate) struct TenantRow {
    pub(crate) id: TenantId,
    pub(crate) slug: Slug,
    pub(crate) company: String,
    pub(crate) contact_email: String,
    pub(crate) status: TenantStatus,
    pub(crate) tier: String,
    pub(crate) overrides: Overrides,
    pub(crate) region: String,
    pub(crate) time_zone: String,
    /// None until it is placed.
    pub(crate) cluster: Option<ClusterName>,
    /// Counts the databases that it has had.
    pub(crate) copy: u32,
    pub(crate) generation: u64,
    /// As last reported.
    pub(crate) schema_versions: SchemaVersions,
    pub(crate) created_at: OffsetDateTime,
    pub(crate) activated_at: Option<OffsetDateTime>,
    pub(crate) updated_at: OffsetDateTime,
    /// What a suspended tenant may still do; a deleted one keeps it for its return.
    pub(crate) wall: Option<SuspensionWall>,
    pub(crate) suspended_reason: Option<String>,
    pub(crate) suspended_until: Option<OffsetDateTime>,
    /// Requests wait until then.
    pub(crate) held_until: Option<OffsetDateTime>,
    pub(crate) deleted_at: Option<OffsetDateTime>,
    pub(crate) purge_after: Option<OffsetDateTime>,
    pub(crate) purged_at: Option<OffsetDateTime>,
    /// What the database and role of a deleted tenant are called.
    pub(crate) kept_name: Option<String>,
    /// Labels that its cluster must have.
    pub(crate) labels: BTreeMap<String, String>,
    /// What its purge keeps, as was asked for at its deletion.
    pub(crate) final_backup: FinalBackup,
}
