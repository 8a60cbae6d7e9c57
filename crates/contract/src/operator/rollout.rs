//! Requests and answers about roll-outs and drift.
//!
//! Deliberately types alone. Invariant: nothing here carries a password in the clear.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::fleet::Selection;
use super::operation::OperationView;
use crate::ids::{ClusterName, OperationId, TenantId};
use crate::internal::FailedMigration;
use crate::tenant::SchemaVersions;

/// Tenants per cluster at once, where nothing is said.
pub const DEFAULT_CONCURRENCY: u16 = 4;
/// Share of failures past which a roll-out halts, where nothing is said.
pub const DEFAULT_HALT_SHARE: f64 = 0.05;

/// Asks for a roll-out: every selected tenant gets the newest schema of every service that lives now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "title": "Release 42", "waves": [{"tenants": ["t_canary"]}, {"tier": "free"}, {"percent": 25}],
    "concurrency": 8, "halt_share": 0.02,
}))]
pub struct RolloutRequest {
    /// What people call it: up to 100 characters.
    #[serde(default)]
    pub title: String,
    /// Which tenants; left out for all.
    #[serde(default)]
    pub filter: Selection,
    /// One after the other, up to 20; a tenant is in the first wave that names it, and in a last one of
    /// its own kind where none does.
    #[serde(default)]
    pub waves: Vec<Wave>,
    /// Tenants that are migrated at once per cluster: 1 to 64. Up to 16 with quick migrations take such a place
    /// together, one after the other.
    #[serde(default = "default_concurrency")]
    #[schema(minimum = 1, maximum = 64, default = 4)]
    pub concurrency: u16,
    /// Halts when more than this share of the tenants that were tried has failed; 0 halts at the first.
    /// Of one or two failures before 50 were tried, the share is counted as of 50, or of all where there
    /// are fewer. Any failure in a wave of named tenants halts as well. 0 to 1.
    #[serde(default = "default_halt_share")]
    #[schema(minimum = 0, maximum = 1, default = 0.05)]
    pub halt_share: f64,
}

const fn default_concurrency() -> u16 {
    DEFAULT_CONCURRENCY
}

const fn default_halt_share() -> f64 {
    DEFAULT_HALT_SHARE
}

impl Default for RolloutRequest {
    fn default() -> Self {
        Self {
            title: String::new(),
            filter: Selection::default(),
            waves: Vec::new(),
            concurrency: DEFAULT_CONCURRENCY,
            halt_share: DEFAULT_HALT_SHARE,
        }
    }
}

/// Who is in a wave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Wave {
    /// These: canaries. When one of them fails, the roll-out halts.
    Tenants(Vec<TenantId>),
    /// Those of a tier.
    Tier(String),
    /// Those on a cluster.
    Cluster(ClusterName),
    /// This share of all, 1 to 100; always the same tenants, and 20 has those of 10.
    Percent(u8),
}

/// What a request for a roll-out is answered with.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(untagged)]
pub enum RolloutBegun {
    /// What would happen, for a dry run.
    Preview(RolloutPreview),
    /// The operation that does it.
    Operation(Box<OperationView>),
}

/// What a roll-out would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(example = json!({
    "target": {"auth": 4, "entries": 3}, "skipped": 1,
    "waves": [
        {"wave": 0, "rule": {"tenants": ["t_canary"]}, "tenants": ["t_canary"]},
        {"wave": 1, "tenants": ["t_acme", "t_beta"]},
    ],
}))]
pub struct RolloutPreview {
    /// Schema versions that it would bring.
    pub target: SchemaVersions,
    /// One after the other; the last one has all others.
    pub waves: Vec<WavePreview>,
    /// Selected tenants that have the newest schema already.
    pub skipped: u64,
}

/// Who would be in a wave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct WavePreview {
    /// Its number, from 0.
    pub wave: u32,
    /// As asked for; none of the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<Wave>,
    /// Those that it would migrate.
    pub tenants: Vec<TenantId>,
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $error:ident, $what:literal { $($(#[$variant_doc:meta])* $variant:ident = $word:literal;)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)+
        }

        impl $name {
            /// Every one.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The word for it in the registry and on the wire.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl std::str::FromStr for $name {
            type Err = $error;

            fn from_str(text: &str) -> Result<Self, $error> {
                Self::ALL.iter().copied().find(|word| word.as_str() == text).ok_or($error)
            }
        }

        /// A word that names none.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
        #[error($what)]
        pub struct $error;
    };
}

words! {
    /// Where a roll-out stands.
    RolloutState, UnknownRolloutState, "names no state of a roll-out" {
        /// Tenants are being migrated.
        Running = "running";
        /// An operator paused it.
        Paused = "paused";
        /// It stopped itself: too many migrations failed.
        Halted = "halted";
        /// Every tenant was tried; some may have failed.
        Done = "done";
        /// An operator ended it.
        Aborted = "aborted";
    }
}

impl RolloutState {
    /// Whether nothing more happens by itself.
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Aborted)
    }
}

words! {
    /// Where a tenant stands in a roll-out.
    TenantProgress, UnknownTenantProgress, "names no state of a tenant in a roll-out" {
        /// Its turn has not come.
        Pending = "pending";
        /// It is being migrated.
        Running = "running";
        /// It has the newest schema.
        Done = "done";
        /// A migration failed.
        Failed = "failed";
        /// It had the newest schema before, or is not served any more.
        Skipped = "skipped";
    }
}

/// How many tenants stand where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RolloutTally {
    /// Their turn has not come.
    pub pending: u64,
    /// They are being migrated.
    pub running: u64,
    /// They have the newest schema.
    pub done: u64,
    /// A migration failed.
    pub failed: u64,
    /// Nothing was to be done.
    pub skipped: u64,
}

impl RolloutTally {
    /// All of them.
    pub const fn total(&self) -> u64 {
        self.pending + self.running + self.done + self.failed + self.skipped
    }

    /// Those with which it is over.
    pub const fn ended(&self) -> u64 {
        self.done + self.failed + self.skipped
    }
}

/// A roll-out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RolloutView {
    /// Its id: that of the operation that began it.
    #[schema(value_type = String, example = "op_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f")]
    pub id: OperationId,
    /// What people call it.
    pub title: String,
    /// Where it stands.
    pub state: RolloutState,
    /// The operation that runs it, or ran it last.
    #[schema(value_type = String, example = "op_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f")]
    pub operation: OperationId,
    /// The versions that it brings, by owner.
    pub target: SchemaVersions,
    /// Which tenants.
    pub filter: Selection,
    /// The waves that were asked for; one more has all others.
    pub waves: Vec<Wave>,
    /// The wave that it is at, from 0.
    pub current_wave: u32,
    /// Tenants that are migrated at once per cluster.
    pub concurrency: u16,
    /// Past which share of failures it halts.
    pub halt_share: f64,
    /// Why it halted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub halted_reason: Option<String>,
    /// Who asked for it.
    pub created_by: String,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// When it was over.
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub finished_at: Option<OffsetDateTime>,
    /// How many tenants stand where.
    pub tally: RolloutTally,
}

/// A tenant in a roll-out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RolloutTenantView {
    /// The tenant.
    pub tenant: TenantId,
    /// Its wave, from 0.
    pub wave: u32,
    /// Its cluster.
    pub cluster: ClusterName,
    /// Where it stands.
    pub state: TenantProgress,
    /// Why it failed, or what its last try met.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<TenantFailure>,
    /// How often it was tried in vain.
    pub attempts: u32,
    /// When it was tried last.
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub started_at: Option<OffsetDateTime>,
    /// When it was over with it.
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub finished_at: Option<OffsetDateTime>,
}

/// Why a tenant is not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(untagged)]
pub enum TenantFailure {
    /// A migration failed.
    Migration(FailedMigration),
    /// Its database could not be worked with.
    Other {
        /// Why, in words.
        message: String,
    },
}

/// Asks for a dry run: the newest schema on a copy of a tenant's database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "tenant": "t_acme" }))]
pub struct RolloutTrialRequest {
    /// Whose database is copied; it is not touched.
    pub tenant: TenantId,
}

/// What came of a dry run: the result of its operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RolloutTrial {
    /// The tenant's versions.
    pub before: SchemaVersions,
    /// The versions of the copy after it.
    pub after: SchemaVersions,
    /// The migration that failed, where one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<FailedMigration>,
    /// How long the migrations took.
    pub milliseconds: u64,
}

/// Asks how tenants' schemas differ from what the migrations of their versions make.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "filter": { "tier": "premium" }, "repair": "grants" }))]
pub struct DriftRequest {
    /// Which tenants; left out for all.
    #[serde(default)]
    pub filter: Selection,
    /// What is mended on the way.
    #[serde(default)]
    pub repair: DriftRepair,
}

/// What is mended of what differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DriftRepair {
    /// Nothing: it is reported.
    #[default]
    None,
    /// Rights on schemas, tables, columns, sequences and functions.
    Grants,
    /// Rights, and objects: those that are missing are made, those that hold no data are replaced or
    /// taken away. Tables and columns that are extra or different are never touched.
    Objects,
}

/// What differs: the result of its operation.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DriftReport {
    /// Tenants that were compared.
    pub compared: u64,
    /// Tenants of these that differ.
    pub differing: u64,
    /// Tenants whose database, or whose whole cluster, could not be looked at.
    pub unreachable: Vec<TenantId>,
    /// Tenants that nothing could be held against, and why. One that is merely behind is compared with
    /// what the migrations of its own versions make.
    #[serde(default)]
    #[schema(required = true)]
    pub not_compared: Vec<NotCompared>,
    /// What differs, up to 1000 of it.
    pub findings: Vec<DriftFinding>,
    /// How much more differs than is listed.
    pub unlisted: u64,
}

/// A tenant whose schemas were not compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct NotCompared {
    /// The tenant.
    pub tenant: TenantId,
    /// Why.
    pub reason: Incomparable,
}

/// Why nothing can be held against a tenant's schemas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Incomparable {
    /// A schema of it is newer than the newest that a living service brings.
    Ahead,
    /// It has a schema that no living service owns.
    Unowned,
    /// The living services did not make schemas of exactly its versions: a replica of another release
    /// answered, or a migration is no longer there.
    NotMade,
    /// Its cluster has tenants of too many combinations of versions; those of most tenants come first.
    TooManyVersions,
    /// It was migrated meanwhile: ask again.
    Changed,
}

/// Something that differs in a tenant's schemas.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DriftFinding {
    /// The tenant.
    pub tenant: TenantId,
    /// What it is, e.g. `index entries.entry_title_index`.
    pub object: String,
    /// How it differs.
    pub difference: Difference,
    /// What the migrations make.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// What is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
    /// What became of it.
    pub repair: Repair,
    /// Of what failed to be mended: what the server said, or that it differs all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The statement that mends it, where one does; for `tn_schema` in the tenant's database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

/// How something differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Difference {
    /// It is not there.
    Missing,
    /// The migrations make nothing like it.
    Extra,
    /// It is not what the migrations make.
    Different,
}

/// What became of something that differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Repair {
    /// It was not asked for.
    Left,
    /// It is mended.
    Mended,
    /// It was tried, and it still differs.
    Failed,
}
