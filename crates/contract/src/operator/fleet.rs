//! Requests and answers about many tenants at once: which ones, and questions to all of them.
//!
//! Deliberately types alone. Invariant: a selection without a condition is every tenant that is active or suspended.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ids::{ClusterName, OperationId, TenantId};
use crate::problem::Code;
use crate::tenant_status::TenantStatus;

/// Which tenants; every condition that is named holds for each of them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "tier": "premium", "region": "eu-central-1" }))]
pub struct Selection {
    /// These alone; empty names none in particular.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<TenantId>,
    /// Of this tier.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<String>,
    /// On this cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterName>,
    /// In this region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// In this state of their life; left out for those that are active or suspended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<TenantStatus>,
    /// What id, slug, company or contact address contain, whatever the case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// With all of these labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// By the age of their schemas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<SchemaAge>,
}

impl Selection {
    /// Whether it asks for tenants alone that have a database of their own: active or suspended.
    pub const fn is_of_living(&self) -> bool {
        matches!(
            self.status,
            None | Some(TenantStatus::Active | TenantStatus::Suspended)
        )
    }
}

/// How the schemas of a tenant compare with the newest that services have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SchemaAge {
    /// At least one of them is older, or missing.
    Behind,
    /// Each is the newest, or newer.
    Newest,
}

impl SchemaAge {
    /// The word for it on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Behind => "behind",
            Self::Newest => "newest",
        }
    }
}

/// One statement that reads, for many tenants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "sql": "select count(*) as entries from entries.entry",
    "filter": { "tier": "premium" }
}))]
pub struct NewQuery {
    /// A `select`, `with`, `values` or `table`: 1 to 65,536 bytes, one statement.
    #[schema(min_length = 1, max_length = 65_536)]
    pub sql: String,
    /// The tenants that are asked; left out for all that are active or suspended.
    #[serde(default)]
    pub filter: Selection,
    /// How the answer is written.
    #[serde(default)]
    pub format: QueryFormat,
    /// Tenants that are asked at once: 1 to 16, else 8.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 16, default = 8)]
    pub at_once: Option<u32>,
    /// How long one tenant may take, in milliseconds: 100 to 300,000, else 10,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 100, maximum = 300_000, default = 10_000)]
    pub timeout_ms: Option<u32>,
    /// Rows of one tenant that are answered: 1 to 100,000, else 1,000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 100_000, default = 1_000)]
    pub row_limit: Option<u32>,
}

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum QueryFormat {
    /// One JSON object per line: [`QueryLine`].
    #[default]
    Ndjson,
    /// Comma-separated values: the column `tenant`, then those of the statement. What is missing is
    /// said in lines at the end that start with `#`. A text that starts with `=`, `+`, `-`, `@`, a tab
    /// or a carriage return has an apostrophe before it, so that no spreadsheet takes it for a formula;
    /// numbers are as they are.
    Csv,
}

/// A line of an answer in NDJSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(untagged)]
pub enum QueryLine {
    /// A row of a tenant.
    Row {
        /// Whose.
        tenant: TenantId,
        /// Its columns.
        row: Value,
    },
    /// Rows of a tenant that are missing: those before it in the answer are all that there is.
    Failed {
        /// Whose.
        tenant: TenantId,
        /// Why.
        error: QueryError,
    },
    /// The last line; an answer without it broke off.
    End {
        /// What became of it.
        end: QueryEnd,
    },
}

/// Why rows of a tenant are missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct QueryError {
    /// The stable code.
    pub code: Code,
    /// What the server called it, where it was the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sqlstate: Option<String>,
    /// In words.
    pub detail: String,
}

/// How a question to many tenants ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct QueryEnd {
    /// Tenants that were selected.
    pub tenants: u64,
    /// Rows in the answer.
    pub rows: u64,
    /// Tenants of which rows are missing.
    pub failed: u64,
    /// Whether every tenant answered with all its rows.
    pub complete: bool,
    /// Where it is recorded.
    pub operation: OperationId,
}
