//! Requests and answers about one tenant's life: suspension, deletion, purge, transfer.
//!
//! Deliberately types alone; resume, restore and rotate have no body. Invariant: nothing here carries a
//! password in the clear, but for that of an owner who is new to the tenant.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;

use crate::ids::{ClusterName, TenantId};
use crate::secret::Secret;
use crate::tenant::SuspensionWall;

crate::prefixed_id!(
    /// A certificate of a deletion.
    CertificateId,
    "crt",
    "the id of a certificate"
);

/// Holds a tenant back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "wall": "read_only", "reason": "The invoice of May is open.", "until": "2027-01-31T00:00:00Z",
}))]
pub struct SuspendRequest {
    /// What its people may still do.
    pub wall: SuspensionWall,
    /// Why, as its people are told: 1 to 500 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it goes on by itself; in the future.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "time::serde::rfc3339::option"
    )]
    pub until: Option<OffsetDateTime>,
}

/// What a deletion would do, for a dry run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DeletePreview {
    /// The tenant.
    pub tenant: TenantId,
    /// What its database and role will be called.
    #[schema(example = "deleted:t_acme:1")]
    pub kept_name: String,
    /// Days for which it can be restored.
    #[schema(example = 30)]
    pub retention_days: u32,
}

/// Destroys what is left of a deleted tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "confirm": "t_acme", "force": "t_acme" }))]
pub struct PurgeRequest {
    /// The tenant's id once more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm: Option<String>,
    /// The tenant's id a second time, where its retention is not over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub force: Option<String>,
    /// Whether a last backup is kept for a time.
    #[serde(default)]
    pub final_backup: FinalBackup,
    /// Answers with a `PurgePreview` of what would be destroyed, and changes nothing; needs neither
    /// `confirm` nor `force`.
    #[serde(default)]
    pub dry_run: bool,
}

/// What a purge would destroy, for a dry run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PurgePreview {
    /// The tenant.
    pub tenant: TenantId,
    /// Until when its retention lasts: before that `force` is needed.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "time::serde::rfc3339::option"
    )]
    pub retained_until: Option<OffsetDateTime>,
    /// Its databases, each with the role of its name.
    pub databases: Vec<DoomedDatabase>,
    /// Passwords in the secret store.
    pub secrets: u64,
    /// Backups and archives in the object store.
    pub objects: DoomedObjects,
}

/// A database that a purge drops, with the role of its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DoomedDatabase {
    /// Where it is.
    pub cluster: ClusterName,
    /// Its name, and its role's.
    #[schema(example = "deleted:t_acme:1")]
    pub name: String,
    /// What it takes; none where its server does not answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
}

/// Objects that a purge removes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct DoomedObjects {
    /// How many.
    pub count: u64,
    /// What they take together.
    pub size_bytes: u64,
}

/// Whether a last backup is kept of a tenant that is purged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FinalBackup {
    /// None.
    #[default]
    None,
    /// One, as an archive like an export's: `GET /v1/exports/{id}/archive` fetches it, and a new tenant
    /// can be made of it. It is removed after the days for which the tier keeps backups when it is made.
    Keep,
}

/// Gives a tenant another owner.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "to": "grace@acme.example", "others": "replace" }))]
pub struct TransferRequest {
    /// The new owner's e-mail address, which becomes the tenant's contact.
    pub to: String,
    /// What becomes of those who are owners now.
    #[serde(default)]
    pub others: OtherOwners,
    /// A first password, for somebody who has no account in the tenant yet.
    #[serde(default, skip_serializing)]
    #[schema(value_type = Option<String>, format = Password)]
    pub password: Option<Secret>,
}

/// What becomes of those who were owners before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OtherOwners {
    /// They stay owners.
    #[default]
    Keep,
    /// They are owners no more; their accounts and other roles stay.
    Replace,
}

/// What was destroyed of a tenant: the proof for those who asked for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct CertificateView {
    /// Its id.
    pub id: CertificateId,
    /// Whose data it was.
    pub tenant: TenantId,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub issued_at: OffsetDateTime,
    /// What: databases, those of them that somebody had dropped before, secrets, objects with sizes and
    /// checksums; and the last backup that was kept, if one was, with its end. The signature is over its
    /// UTF-8 text as compact JSON with sorted keys.
    pub body: Value,
    /// Ed25519, base64url without padding.
    pub signature: String,
    /// The raw public key, base64url without padding.
    pub public_key: String,
}
