//! Operations as operators see them: state, step, failure, progress, log.
//!
//! Deliberately with kinds and steps as text: the platform's lists grow, and a reader shows what it
//! does not know. Invariant: a plan is never part of it.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;

use crate::ids::{ClusterName, OperationId, TenantId};
use crate::problem::Code;

/// The kinds of operations that there are in this release, for who asks for some of them.
pub const KINDS: [&str; 27] = [
    "create",
    "move",
    "drain",
    "suspend",
    "resume",
    "delete",
    "undelete",
    "purge",
    "transfer",
    "rotate",
    "bulk_create",
    "clone",
    "export",
    "import",
    "adopt",
    "backup",
    "verify_backup",
    "restore_backup",
    "forget_backup",
    "rollout",
    "rollout_trial",
    "drift",
    "rotate_fleet",
    "reseal",
    "change",
    "query",
    "rotate_signing_key",
];

/// Where an operation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OperationState {
    /// Its steps are being done.
    Running,
    /// A step failed; what was done is being undone.
    Unwinding,
    /// It succeeded.
    Done,
    /// It failed or was cancelled, and nothing of it is left; only what the removal of a backup could not
    /// remove is marked in its state.
    Undone,
    /// It can go neither on nor back by itself: somebody has to look.
    Stuck,
}

/// A word that names no state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a state is one of running, unwinding, done, undone, stuck")]
pub struct UnknownState;

impl OperationState {
    /// Every state.
    pub const ALL: [Self; 5] = [
        Self::Running,
        Self::Unwinding,
        Self::Done,
        Self::Undone,
        Self::Stuck,
    ];

    /// The word for it in the registry and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Unwinding => "unwinding",
            Self::Done => "done",
            Self::Undone => "undone",
            Self::Stuck => "stuck",
        }
    }

    /// Whether nothing more happens to it by itself.
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Undone | Self::Stuck)
    }
}

impl std::str::FromStr for OperationState {
    type Err = UnknownState;

    fn from_str(text: &str) -> Result<Self, UnknownState> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or(UnknownState)
    }
}

/// Why an operation failed, or what it waits for, as it is stored and shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Failure {
    /// The stable code.
    pub code: Code,
    /// What happened, in words: for operators all that is known, for others what the code means.
    pub detail: String,
}

impl Failure {
    /// What people may read who are no operators: nothing of clusters, services and their words.
    #[must_use]
    pub fn for_everybody(self) -> Self {
        Self {
            code: self.code,
            detail: self.code.title().to_owned(),
        }
    }
}

/// How far an operation is that counts what it does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(example = json!({ "done": 12, "total": 50, "unit": "tenants" }))]
pub struct Progress {
    /// Of `total`.
    pub done: u64,
    /// In all.
    pub total: u64,
    /// What is counted, e.g. `tenants` or `bytes`.
    pub unit: String,
    /// What is being done, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// An operation, as it is listed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct OperationSummary {
    /// Its id.
    pub id: OperationId,
    /// What it does.
    #[schema(example = "create")]
    pub kind: String,
    /// The tenant that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<TenantId>,
    /// The cluster that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterName>,
    /// The operation that it is a part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<OperationId>,
    /// Where it stands.
    pub state: OperationState,
    /// The step that is being done or undone, or the last one of an operation that is over.
    #[schema(example = "provision")]
    pub step: String,
    /// Why it failed, or what it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// How far it is, where it counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// When it was asked for.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// When it was over.
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub finished_at: Option<OffsetDateTime>,
}

/// An operation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct OperationView {
    /// As it is listed.
    #[serde(flatten)]
    pub summary: OperationSummary,
    /// What is kept of it: ids, sizes, checksums.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
    /// What happened so far, oldest first.
    pub log: Vec<LogLine>,
}

impl OperationView {
    /// What people may read who are no operators.
    #[must_use]
    pub fn for_everybody(mut self) -> Self {
        self.summary.failure = self.summary.failure.map(Failure::for_everybody);
        self.summary.progress = None;
        self.result = None;
        for line in &mut self.log {
            line.detail = None;
        }
        self
    }
}

/// Something that happened to a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LogLine {
    /// The step.
    #[schema(example = "provision")]
    pub step: String,
    /// `started`, `done`, `postponed`, `failed`, `undo_started`, `undone` or `undo_failed`.
    #[schema(example = "done")]
    pub event: String,
    /// What happened, in words; for operators alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
}
