//! Requests and answers about backups, restores, exports, imports, clones and files of tenants.
//!
//! Deliberately types alone. Invariant: nothing here carries a password in the clear.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::operation::OperationView;
use crate::ids::{OperationId, TenantId};
use crate::tenant::SchemaVersions;

crate::prefixed_id!(
    /// A backup of a tenant.
    BackupId,
    "bak",
    "the id of a backup"
);

macro_rules! words {
    ($(#[$doc:meta])* $name:ident, $what:literal { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+ }) => {
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
            type Err = UnknownBackupWord;

            fn from_str(text: &str) -> Result<Self, UnknownBackupWord> {
                match text {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(UnknownBackupWord($what)),
                }
            }
        }
    };
}

/// A word that names nothing here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("names no {0}")]
pub struct UnknownBackupWord(&'static str);

words! {
    /// Why a backup was made.
    BackupKind, "kind of a backup" {
        /// Somebody asked for it.
        Manual = "manual",
        /// The schedule of the tenant's tier.
        Scheduled = "scheduled",
        /// The last one of a tenant that was purged, an archive like an export: see `/v1/exports`.
        Final = "final",
        /// An archive to take along: see `/v1/exports`.
        Export = "export",
    }
}

words! {
    /// Where a backup stands.
    BackupState, "state of a backup" {
        /// It is being made.
        Writing = "writing",
        /// It can be restored.
        Ready = "ready",
        /// A look at it found that it is damaged, or its removal was cancelled while its object could not
        /// be seen; trying it says which.
        Corrupt = "corrupt",
        /// It is being removed; if an operation could not, it is tried again by itself.
        Deleting = "deleting",
    }
}

words! {
    /// Which key a backup is encrypted with.
    #[derive(Default)]
    BackupEncryption, "encryption of a backup" {
        /// None: whoever reads the store reads it.
        #[default]
        None = "none",
        /// One of the tenant's own, which a purge destroys.
        Tenant = "tenant",
    }
}

/// A backup that is to be made now.
#[derive(Debug, Clone, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "encryption": "tenant" }))]
pub struct NewBackup {
    /// Which key it is encrypted with.
    #[serde(default)]
    pub encryption: BackupEncryption,
}

/// A backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(example = json!({
    "id": "bak_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f", "tenant": "t_acme", "kind": "manual",
    "state": "ready", "encryption": "none", "size_bytes": 18_231,
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "tables": 14, "rows": 1_204, "schema_versions": {"auth": 2, "entries": 2},
    "server_version": 170_002, "copy": 1, "created_at": "2026-01-05T09:30:00Z",
    "finished_at": "2026-01-05T09:30:01Z", "verified_at": null, "expires_at": null
}))]
pub struct BackupView {
    /// Its id.
    pub id: BackupId,
    /// Whose it is.
    pub tenant: TenantId,
    /// Why it was made.
    pub kind: BackupKind,
    /// Where it stands.
    pub state: BackupState,
    /// Which key it is encrypted with.
    pub encryption: BackupEncryption,
    /// Its length, once it is made.
    pub size_bytes: Option<u64>,
    /// SHA-256 of it as it is stored, in hexadecimal digits.
    pub sha256: Option<String>,
    /// Tables that it holds.
    pub tables: u64,
    /// Rows of all of them.
    pub rows: u64,
    /// The schemas' versions in it.
    pub schema_versions: SchemaVersions,
    /// Of the server that it was made on, as `server_version_num` says.
    pub server_version: i32,
    /// Which of the tenant's databases it is of.
    pub copy: u32,
    /// When it was asked for.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// When it was complete.
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub finished_at: Option<OffsetDateTime>,
    /// When it was last restored to see that it can be.
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub verified_at: Option<OffsetDateTime>,
    /// When it is removed; `null` keeps it until somebody removes it.
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub expires_at: Option<OffsetDateTime>,
}

/// How often a tier's tenants are backed up, and how long backups by this schedule are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "every_minutes": 1440, "keep": 7, "keep_days": 35, "encryption": "tenant"
}))]
pub struct BackupSchedule {
    /// Minutes between two, 5 to 525600; `null` makes none.
    #[schema(minimum = 5, maximum = 525_600)]
    pub every_minutes: Option<u32>,
    /// The newest so many of a tenant stay, 1 to 1000.
    #[schema(minimum = 1, maximum = 1000)]
    pub keep: u32,
    /// None stays longer than so many days, 1 to 3650.
    #[schema(minimum = 1, maximum = 3650)]
    pub keep_days: u32,
    /// Which key they are encrypted with.
    #[serde(default)]
    pub encryption: BackupEncryption,
}

/// A tenant's data is to be that of a backup again.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "from": "bak_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f", "confirm": "t_acme" }))]
pub struct NewRestore {
    /// Which backup of the tenant, or `previous`: the database that the last restore replaced.
    #[schema(value_type = String, example = "previous")]
    pub from: RestoreFrom,
    /// The tenant's id once more: what was written since then is no longer seen.
    #[serde(default)]
    pub confirm: Option<String>,
    /// Hours for which the replaced database is kept, 0 to 2160; 72 where it is left out.
    #[serde(default)]
    pub keep_old_hours: Option<u32>,
    /// Answers what would happen, and does nothing.
    #[serde(default)]
    pub dry_run: bool,
}

/// What a request to restore a tenant from a backup is answered with.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(untagged)]
pub enum Restored {
    /// What would happen, for a dry run.
    Preview(Box<RestorePreview>),
    /// The operation that does it.
    Operation(Box<OperationView>),
}

/// What a request to delete a backup is answered with.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(untagged)]
pub enum BackupDeleted {
    /// What would go, for a dry run.
    Preview(Box<BackupView>),
    /// The operation that does it.
    Operation(Box<OperationView>),
}

/// What a restore would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(example = json!({
    "tenant": "t_acme", "from": "previous", "backup": null, "lost_since": "2026-01-05T09:30:00Z",
    "keep_old_hours": 72
}))]
pub struct RestorePreview {
    /// Whose data would be replaced.
    pub tenant: TenantId,
    /// By what.
    #[schema(value_type = String)]
    pub from: RestoreFrom,
    /// The backup, where it is one: when it was made, and how much it holds.
    pub backup: Option<BackupView>,
    /// What was written after that would no longer be seen: when the backup was begun, or when the database
    /// was replaced.
    #[serde(with = "time::serde::rfc3339")]
    pub lost_since: OffsetDateTime,
    /// Hours for which the replaced database would be kept.
    pub keep_old_hours: u32,
}

/// What a tenant is restored from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum RestoreFrom {
    /// A backup.
    Backup(BackupId),
    /// The database that the last restore replaced.
    Previous,
}

impl TryFrom<String> for RestoreFrom {
    type Error = crate::ids::InvalidPrefixedId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.as_str() {
            "previous" => Ok(Self::Previous),
            id => id.parse().map(Self::Backup),
        }
    }
}

impl From<RestoreFrom> for String {
    fn from(from: RestoreFrom) -> Self {
        match from {
            RestoreFrom::Backup(id) => id.to_string(),
            RestoreFrom::Previous => "previous".to_owned(),
        }
    }
}

/// A copy of a tenant that is to be made.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "slug": "acme-yesterday", "backup": "bak_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f",
    "anonymise_sql": "update auth.account set email = 'user-' || id || '@example.com';"
}))]
pub struct NewClone {
    /// What people will type for the copy.
    pub slug: String,
    /// The copy's name; left out for that of the original.
    #[serde(default)]
    pub company: Option<String>,
    /// The address that the platform writes to; left out for that of the original.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// A backup of the original, whose rows the copy gets; left out for those of today.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<BackupId>,
    /// Statements that run in the copy before it is served, in one transaction; in the schemas of a backup's
    /// time, where it is one's.
    #[serde(default)]
    pub anonymise_sql: Option<String>,
    /// Labels that its cluster must have; left out for those of the original.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
}

/// An uploaded archive is to become a tenant.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "archive": "acme-2026-01-05.tar", "slug": "acme", "tier": "standard" }))]
pub struct NewImport {
    /// The name that it was uploaded under.
    #[schema(pattern = "^[a-z0-9_-][a-z0-9._-]{0,99}$")]
    pub archive: String,
    /// What people will type for the tenant; left out for what the archive says.
    #[serde(default)]
    pub slug: Option<String>,
    /// The tenant's name; left out for what the archive says.
    #[serde(default)]
    pub company: Option<String>,
    /// A name of `GET /v1/tiers`; left out for what the archive says.
    #[serde(default)]
    pub tier: Option<String>,
    /// Where the data must stay; left out for what the archive says.
    #[serde(default)]
    pub region: Option<String>,
    /// Labels that its cluster must have; left out for what the archive says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
}

/// An uploaded archive.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct UploadView {
    /// Its name.
    pub archive: String,
    /// Its length.
    pub size_bytes: u64,
    /// SHA-256 of it, in hexadecimal digits.
    pub sha256: String,
}

words! {
    /// Where a row of a file of tenants stands.
    BulkRowState, "state of a row" {
        /// It waits for its turn.
        Pending = "pending",
        /// Its tenant is being made.
        Running = "running",
        /// Its tenant is served.
        Done = "done",
        /// Nothing of it is left.
        Failed = "failed",
    }
}

/// A row of a file of tenants.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct BulkRowView {
    /// Its place in the file, from 1.
    pub number: u32,
    /// Where it stands.
    pub state: BulkRowState,
    /// The tenant, once it is known.
    pub tenant: Option<TenantId>,
    /// The operation that makes it, once it is begun.
    pub operation: Option<OperationId>,
    /// Why it failed.
    pub failure: Option<super::operation::Failure>,
}
