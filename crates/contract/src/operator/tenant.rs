//! Requests and answers about one tenant's life: suspension, deletion, purge, transfer.
//!
//! Deliberately types alone; resume, restore and rotate have no body. Invariant: nothing here carries a
//! password in the clear, but for that of an owner who is new to the tenant.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;

use super::operation::OperationView;
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

/// What a request to delete a tenant is answered with.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(untagged)]
pub enum Deleted {
    /// What would happen, for a dry run.
    Preview(DeletePreview),
    /// The operation that does it.
    Operation(Box<OperationView>),
}

/// What a deletion would do, for a dry run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(example = json!({
    "tenant": "t_acme", "kept_name": "deleted:t_acme:1", "retention_days": 30, "final_backup": "none",
}))]
pub struct DeletePreview {
    /// The tenant.
    pub tenant: TenantId,
    /// What its database and role will be called.
    pub kept_name: String,
    /// Days for which it can be restored.
    pub retention_days: u32,
    /// What is kept when those are over and its data is destroyed.
    pub final_backup: FinalBackup,
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
    /// Whether a last backup is kept for a time; left out for what was asked at its deletion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub final_backup: Option<FinalBackup>,
    /// Answers with a `PurgePreview` of what would be destroyed, and changes nothing; needs neither
    /// `confirm` nor `force`.
    #[serde(default)]
    pub dry_run: bool,
}

/// What a request to destroy a tenant's data is answered with.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(untagged)]
pub enum Purged {
    /// What would go, for a dry run.
    Preview(PurgePreview),
    /// The operation that does it.
    Operation(Box<OperationView>),
}

/// What a purge would destroy, for a dry run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(example = json!({
    "tenant": "t_acme", "retained_until": "2027-01-31T00:00:00Z", "secrets": 1,
    "databases": [{ "cluster": "main", "name": "deleted:t_acme:1", "size_bytes": 10_485_760 }],
    "objects": { "count": 2, "size_bytes": 81_920 }, "final_backup": "keep",
}))]
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
    /// What is kept: as the request says, or as was asked at its deletion.
    pub final_backup: FinalBackup,
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

/// A word that says nothing of last backups.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a last backup is one of none, keep")]
pub struct UnknownFinalBackup;

impl FinalBackup {
    /// The word for it in the registry and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Keep => "keep",
        }
    }

    /// Whether nothing is kept.
    pub fn is_none(&self) -> bool {
        *self == Self::None
    }
}

impl std::str::FromStr for FinalBackup {
    type Err = UnknownFinalBackup;

    fn from_str(text: &str) -> Result<Self, UnknownFinalBackup> {
        [Self::None, Self::Keep]
            .into_iter()
            .find(|known| known.as_str() == text)
            .ok_or(UnknownFinalBackup)
    }
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
    /// The raw public key, base64url without padding: the `x` of one of `GET /v1/certificates/keys`.
    pub public_key: String,
}

/// The keys that certificates of deletions were signed with, as a JSON Web Key Set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct CertificateKeys {
    /// Each public key, in no order that means anything.
    pub keys: Vec<CertificateKey>,
}

/// The public key of an Ed25519 pair, as a JSON Web Key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(example = json!({ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo" }))]
pub struct CertificateKey {
    /// Its type: `OKP`.
    pub kty: String,
    /// Its curve: `Ed25519`.
    pub crv: String,
    /// The raw key, base64url without padding.
    pub x: String,
}
