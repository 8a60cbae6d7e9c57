//! Requests and answers about upkeep: the doctor, what nobody claims, keys, logins for operators.
//!
//! Deliberately types alone. Invariant: the one password here is that of a login which ends by itself;
//! it is answered once and kept nowhere.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::ids::{ClusterName, TenantId};
use crate::operator::fleet::Selection;
use crate::secret::Secret;
use crate::tenant::TlsMode;

/// How bad something is.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It works, and should be otherwise.
    Warn,
    /// It hurts, or will.
    Bad,
}

/// What the doctor says of one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(example = json!({
    "check": "recovery_init_sync_method", "place": "main", "verdict": "warn",
    "found": "fsync, with 120000 files",
    "why": "A start after a crash reads every file first: minutes, with many databases.",
    "mend": "alter system set recovery_init_sync_method = 'syncfs'; select pg_reload_conf();"
}))]
pub struct Diagnosis {
    /// What was looked at.
    pub check: String,
    /// Where: a cluster's name, or `platform`.
    pub place: String,
    /// How bad it is.
    pub verdict: Verdict,
    /// What there is.
    pub found: String,
    /// Why that matters.
    pub why: String,
    /// What mends it: a command of `tenantctl`, or SQL for the administrator of that server. None where
    /// nothing needs mending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

/// What kind of thing nobody claims.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// A database on a cluster.
    Database,
    /// A role on a cluster.
    Role,
    /// A secret of the secret store.
    Secret,
    /// An object of the object store.
    Object,
    /// A replication slot on a cluster, which keeps the server from forgetting what was written.
    Slot,
}

impl FindingKind {
    /// Every kind.
    pub const ALL: [Self; 5] = [
        Self::Database,
        Self::Role,
        Self::Secret,
        Self::Object,
        Self::Slot,
    ];

    /// The word for it in the registry and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Database => "database",
            Self::Role => "role",
            Self::Secret => "secret",
            Self::Object => "object",
            Self::Slot => "slot",
        }
    }
}

/// A word that names no kind of find.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a kind is one of database, role, secret, object, slot")]
pub struct UnknownFindingKind;

impl std::str::FromStr for FindingKind {
    type Err = UnknownFindingKind;

    fn from_str(text: &str) -> Result<Self, UnknownFindingKind> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or(UnknownFindingKind)
    }
}

/// Something of ours that nobody claims.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(example = json!({
    "id": "database/main/old:t_acme:3", "kind": "database", "place": "main", "name": "old:t_acme:3",
    "detail": "no operation and no tenant keeps it", "kept": false,
    "first_seen_at": "2026-01-05T09:30:00Z", "last_seen_at": "2026-01-05T10:30:00Z",
    "removed_after": "2026-01-06T09:30:00Z"
}))]
pub struct FindingView {
    /// Kind, place and name, with slashes between them.
    pub id: String,
    /// What it is.
    pub kind: FindingKind,
    /// The cluster, or the store.
    pub place: String,
    /// Its name there.
    pub name: String,
    /// What is known of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Whether an operator said that it stays.
    pub kept: bool,
    /// When it was first found.
    #[serde(with = "time::serde::rfc3339")]
    pub first_seen_at: OffsetDateTime,
    /// When it was last found.
    #[serde(with = "time::serde::rfc3339")]
    pub last_seen_at: OffsetDateTime,
    /// From when on a sweep removes it; none where nothing does so by itself.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "time::serde::rfc3339::option"
    )]
    pub removed_after: Option<OffsetDateTime>,
}

/// Looks for what nobody claims, now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSweep {
    /// Only says what would be removed.
    #[serde(default)]
    pub dry_run: bool,
}

/// What a sweep found and did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SweepReport {
    /// What nobody claims and is still there.
    pub found: u64,
    /// What was removed, or would be: the ids of the finds.
    pub removed: Vec<String>,
    /// What could not be looked at or removed, in words.
    pub failed: Vec<String>,
}

/// A find that was removed, or would be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(example = json!({
    "id": "database/main/t_lost", "kind": "database", "place": "main", "name": "t_lost",
    "detail": "the registry has no tenant of this name here: it may be the only copy of its data",
    "marker": "tenantry:t_lost:1", "size_bytes": 8_519_680
}))]
pub struct RemovedFinding {
    /// Kind, place and name, with slashes between them.
    pub id: String,
    /// What it is.
    pub kind: FindingKind,
    /// The cluster, or the store.
    pub place: String,
    /// Its name there.
    pub name: String,
    /// What is known of it.
    pub detail: String,
    /// Whose a database says that it is: its comment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub marker: Option<String>,
    /// What a database takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<u64>,
}

/// What to do with a find.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "id": "database/main/old:t_acme:3", "kept": true }))]
pub struct KeepFinding {
    /// The id of the find.
    pub id: String,
    /// Whether it stays, whatever its age.
    pub kept: bool,
}

/// Every key of the platform, without its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct KeysView {
    /// Keys that sign access tokens, newest first.
    pub signing: Vec<SigningKeyView>,
    /// Keys that seal secrets, in the order of the ring; then those that the ring lacks.
    pub sealing: Vec<SealingKeyView>,
}

/// A key that signs access tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SigningKeyView {
    /// Names it in tokens.
    #[schema(example = "key_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f")]
    pub kid: String,
    /// What it is good for now.
    pub state: SigningKeyState,
    /// From when on it signs.
    #[serde(with = "time::serde::rfc3339")]
    pub signs_from: OffsetDateTime,
    /// Until when its tokens are good; none for the newest.
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub verifies_until: Option<OffsetDateTime>,
}

/// What a signing key is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SigningKeyState {
    /// Published, and not signing yet.
    Published,
    /// It signs.
    Signs,
    /// Replaced: what it signed is still good.
    Verifies,
}

/// A key that seals secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SealingKeyView {
    /// Names it in the key ring.
    #[schema(example = "k1")]
    pub id: String,
    /// Where it stands.
    pub state: SealingKeyState,
    /// Secrets in the registry that are sealed with it. A key that opens and has none can be dropped
    /// from the ring of every service.
    pub secrets: u64,
    /// Since when the platform knows it; it may be older.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "time::serde::rfc3339::option"
    )]
    pub known_since: Option<OffsetDateTime>,
}

/// Where a sealing key stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SealingKeyState {
    /// The first of the ring: it seals.
    Seals,
    /// It only opens.
    Opens,
    /// The ring lacks it: nothing opens what it sealed.
    Missing,
}

/// New passwords for the roles of many tenants.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "filter": { "tier": "premium" }, "at_once": 4 }))]
pub struct NewRotation {
    /// Whose; an empty one is all that are active or suspended.
    pub filter: Selection,
    /// Rotations at once: 1 to 16, else 4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 16, default = 4)]
    pub at_once: Option<u32>,
}

/// A login to a tenant's database, for a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "access": "read", "reason": "ticket 4711: missing entries" }))]
pub struct NewPsql {
    /// What it may do.
    #[serde(default)]
    pub access: PsqlAccess,
    /// Why it is needed, for the audit: 1 to 200 characters, no personal data.
    pub reason: String,
    /// How long it is good, in seconds: 60 to 3,600, else 900.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 60, maximum = 3_600, default = 900)]
    pub ttl_seconds: Option<u32>,
}

/// What a person's login may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PsqlAccess {
    /// Read.
    #[default]
    Read,
    /// What the tenant's own role may: read and write rows, and no schema.
    Write,
}

impl PsqlAccess {
    /// The word for it in the registry and on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

/// A word that names no access.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an access is one of read, write")]
pub struct UnknownPsqlAccess;

impl std::str::FromStr for PsqlAccess {
    type Err = UnknownPsqlAccess;

    fn from_str(text: &str) -> Result<Self, UnknownPsqlAccess> {
        [Self::Read, Self::Write]
            .into_iter()
            .find(|access| access.as_str() == text)
            .ok_or(UnknownPsqlAccess)
    }
}

/// How to log in; only in this answer.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PsqlLogin {
    /// The tenant.
    pub tenant: TenantId,
    /// Its cluster.
    pub cluster: ClusterName,
    /// Host name or address of the server.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// How the connection is to be protected.
    pub tls: TlsMode,
    /// The database.
    pub database: String,
    /// The role.
    #[schema(example = "psql:0192f0c1a2b37c4d8e9f0a1b2c3d4e5f")]
    pub role: String,
    /// Its password.
    #[schema(value_type = String, format = Password)]
    #[serde(serialize_with = "exposed")]
    pub password: Secret,
    /// When the login and its sessions end.
    #[serde(with = "time::serde::rfc3339")]
    pub expires_at: OffsetDateTime,
}

/// The one place where a secret is written in the clear: into the answer that hands it out.
fn exposed<S: serde::Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose())
}
