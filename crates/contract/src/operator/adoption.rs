//! Requests and answers about databases that become tenants.
//!
//! Deliberately types alone. Invariant: nothing here carries a password in the clear, but for that of the
//! first owner.

use serde::{Deserialize, Serialize};

use super::operation::OperationView;
use crate::ids::{ClusterName, TenantId};
use crate::problem::Code;
use crate::secret::Secret;
use crate::tenant::SchemaVersions;

/// A database that is there is to become a tenant.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "cluster": "main", "database": "legacy_acme", "company": "Acme Corp", "slug": "acme-corp",
    "email": "ada@acme.example", "password": "correct horse battery staple", "tier": "standard",
    "baseline": {"auth": 2, "entries": 1}, "dry_run": true
}))]
pub struct NewAdoption {
    /// The cluster that has the database.
    pub cluster: ClusterName,
    /// The database, as its server names it. It gets the tenant's name.
    #[schema(min_length = 1, max_length = 63)]
    pub database: String,
    /// The customer's name: 1 to 200 characters.
    pub company: String,
    /// What people will type for it. Derived from the company where it is left out.
    #[serde(default)]
    pub slug: Option<String>,
    /// The address that the platform writes to; with a password, the owner's too.
    pub email: String,
    /// Makes the address an owner who can log in. May be left out where the database has people already.
    #[serde(default, skip_serializing)]
    #[schema(value_type = Option<String>, format = Password)]
    pub password: Option<Secret>,
    /// A name of `GET /v1/tiers`.
    #[serde(default)]
    pub tier: Option<String>,
    /// Where the data must stay; refused where the cluster stands elsewhere.
    #[serde(default)]
    pub region: Option<String>,
    /// IANA name.
    #[serde(default)]
    pub time_zone: Option<String>,
    /// Schemas that are there without a history of migrations, and which version each has. It is held
    /// against what the migrations make before anything is done. Where a history is there after all, as
    /// after a try that was undone, it counts and not an older baseline.
    #[serde(default)]
    #[schema(value_type = std::collections::BTreeMap<String, i32>)]
    pub baseline: SchemaVersions,
    /// Answers what was found and what would be done, and does nothing.
    #[serde(default)]
    pub dry_run: bool,
}

/// What a request to adopt a database is answered with.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(untagged)]
pub enum Adopted {
    /// What would happen, for a dry run.
    Preview(AdoptionPreview),
    /// The operation that does it.
    Operation(Box<OperationView>),
}

/// What was found of a database, and what its adoption would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(example = json!({
    "tenant": "t_acme_corp", "cluster": "main", "database": "legacy_acme", "size_bytes": 8_123_456,
    "adoptable": true,
    "checks": [{"check": "sessions", "outcome": "warning", "detail": "legacy psql would be ended."}],
    "actions": ["rename legacy_acme to t_acme_corp", "auth: note version 2 as applied"]
}))]
pub struct AdoptionPreview {
    /// What the tenant would be.
    pub tenant: TenantId,
    /// Where the database is.
    pub cluster: ClusterName,
    /// Its name now.
    pub database: String,
    /// Bytes that it takes; `null` where the platform may not look yet.
    pub size_bytes: Option<u64>,
    /// Whether every check passed.
    pub adoptable: bool,
    /// What was looked at.
    pub checks: Vec<AdoptionCheck>,
    /// What would be done, in order; empty where it cannot be adopted.
    pub actions: Vec<String>,
}

/// Something that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct AdoptionCheck {
    /// What.
    #[schema(example = "rights")]
    pub check: String,
    /// How it is.
    pub outcome: CheckOutcome,
    /// In words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// What an adoption is refused with, where it would be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
    /// What the administrator of the server has to run first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub statements: Vec<String>,
}

/// How something is that was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckOutcome {
    /// As it must be.
    Passed,
    /// It does not stand in the way, but should be known.
    Warning,
    /// The database cannot be adopted like this.
    Failed,
}
