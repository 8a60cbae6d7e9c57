//! Wire types of the internal API: what the two services tell each other.
//!
//! Deliberately without transport; see [`crate::client`]. Invariant: nothing here carries a
//! password in the clear.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::ids::{ClusterName, ReplicaId, SchemaOwner, ServiceName, TenantId};
use crate::operator::tenant::OtherOwners;
use crate::secret::SecretRef;
use crate::tenant::{DatabaseRef, Hold, SchemaVersions, TenantRoute};

/// The schema of one owner, as a service declares it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct OwnedSchema {
    /// The owner.
    pub owner: SchemaOwner,
    /// The version that this code brings.
    pub newest: i32,
    /// The oldest version that this code serves.
    pub minimum: i32,
}

/// A replica says that it lives, what it owns and what it holds.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(example = json!({
    "replica": "rep_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f", "service": "app-service",
    "internal_url": "http://10.0.0.5:8091",
    "owns": [{"owner": "entries", "newest": 2, "minimum": 1}],
    "shares": {"main": 20}, "epoch": "0192f0c1-a2b3-7c4d-8e9f-0a1b2c3d4e5f", "seen_change": 42,
    "phase": "serving",
}))]
pub struct Heartbeat {
    /// This process.
    pub replica: ReplicaId,
    /// The program.
    pub service: ServiceName,
    /// Base URL of its internal listener.
    pub internal_url: String,
    /// Schemas that it owns.
    pub owns: Vec<OwnedSchema>,
    /// Connections per cluster that it now keeps to; a smaller share counts once it is said here.
    pub shares: BTreeMap<ClusterName, u32>,
    /// The registry epoch that its knowledge is of, if it has any.
    pub epoch: Option<Uuid>,
    /// The newest change that it has acted on.
    pub seen_change: u64,
    /// Whether it goes on or is going away.
    pub phase: ReplicaPhase,
}

/// Whether a replica goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReplicaPhase {
    /// It serves.
    Serving,
    /// It has stopped and holds no connection; its share is free.
    Gone,
}

/// What a replica may do until its next heartbeat.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct HeartbeatAnswer {
    /// The registry's epoch.
    pub epoch: Uuid,
    /// Connections per cluster that it may hold.
    pub shares: BTreeMap<ClusterName, u32>,
    /// Milliseconds until the next heartbeat is due.
    pub interval_ms: u64,
    /// For how long the shares count without a next one.
    #[serde(default)]
    pub lease: ShareLease,
}

/// For how long a share counts after the last sign of life of its replica: a heartbeat, counted from
/// when it was sent, or an open session on the share's cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ShareLease {
    /// Milliseconds for which the whole share counts.
    pub whole_ms: u64,
    /// Milliseconds for which one connection of it counts; then none does.
    pub last_ms: u64,
}

impl ShareLease {
    /// So long for the whole share, and so long for the last connection of it.
    pub fn new(whole: Duration, last: Duration) -> Self {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            whole_ms: millis(whole),
            last_ms: millis(last),
        }
    }

    /// For how long the whole share counts.
    pub fn whole(self) -> Duration {
        Duration::from_millis(self.whole_ms)
    }

    /// For how long one connection counts.
    pub fn last(self) -> Duration {
        Duration::from_millis(self.last_ms)
    }

    /// What is left of a share so long after the last sign of life.
    pub fn left(self, share: usize, silence: Duration) -> usize {
        if silence < self.whole() {
            share
        } else if silence < self.last() {
            share.min(1)
        } else {
            0
        }
    }
}

/// Of a platform that says none.
impl Default for ShareLease {
    fn default() -> Self {
        Self::new(Duration::from_secs(10), Duration::from_secs(300))
    }
}

/// Changes of tenants after a cursor.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Changes {
    /// What changed, oldest first; empty when the wait ended without news.
    News {
        /// The registry's epoch.
        epoch: Uuid,
        /// The cursor to ask after next.
        cursor: u64,
        /// The changes.
        changes: Vec<Change>,
    },
    /// The cursor is too old or of another epoch: forget everything and go on from here.
    Reset {
        /// The registry's epoch.
        epoch: Uuid,
        /// The cursor to ask after next.
        cursor: u64,
    },
}

/// A tenant changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Change {
    /// The change's number; numbers become visible in order.
    pub number: u64,
    /// Who changed.
    pub tenant: TenantId,
    /// The tenant's generation after the change.
    pub generation: u64,
    /// Its requests wait, as of now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
}

/// How the migration of one owner's schema ended.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(example = json!({
    "tenant": "t_acme", "copy": 1, "owner": "entries", "outcome": {"result": "migrated", "version": 2},
}))]
pub struct MigrationReport {
    /// Whose database.
    pub tenant: TenantId,
    /// Which copy of its database: nothing is noted of one that another has replaced. Left out by
    /// earlier releases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy: Option<u32>,
    /// Whose schema.
    pub owner: SchemaOwner,
    /// What became of it.
    pub outcome: MigrationOutcome,
}

/// What became of a migration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "result", rename_all = "snake_case")]
pub enum MigrationOutcome {
    /// The schema is now at this version.
    Migrated {
        /// The version.
        version: i32,
    },
    /// It stopped; the schema is unchanged since the last version that succeeded.
    Failed {
        /// The migration that failed, e.g. `V3__add_body`.
        migration: String,
        /// SQLSTATE where the server refused.
        sqlstate: Option<String>,
        /// The cause, in words.
        message: String,
        /// The statement that the server refused, on one line: its first 300 characters.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        statement: Option<String>,
    },
}

/// Asks a service to bring its schemas in a database to their newest version.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(example = json!({
    "database": {
        "cluster": {
            "name": "main", "host": "10.0.0.7", "port": 5432, "tls": "verify-full",
            "schema_credential": "sealed:v1:k1:...",
        },
        "name": "t_acme", "copy": 1,
    },
}))]
pub struct MigrateRequest {
    /// The database: a tenant's, a ready copy's or a template's.
    pub database: DatabaseRef,
    /// The versions that the database is believed to have: saves looking for those that are newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known: Option<SchemaVersions>,
    /// Schemas that are there without a history and have these versions: what makes them up to there is
    /// noted as applied and not run.
    #[serde(default, skip_serializing_if = "SchemaVersions::is_empty")]
    pub baseline: SchemaVersions,
    /// The schemas of these owners alone, and no further than these versions; left out for all, and for
    /// the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<SchemaVersions>,
    /// Databases that are brought to the newest versions after this one, one after the other, for as long
    /// as the call is young and nothing goes wrong. A service may leave out as many as it likes, or all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more: Vec<KnownDatabase>,
}

/// A database whose schemas have been made before.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct KnownDatabase {
    /// The database.
    pub database: DatabaseRef,
    /// The versions that it is believed to have: saves looking for those that are newest.
    pub known: SchemaVersions,
}

/// What came of the databases that a service was asked to bring up.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct MigrateAnswer {
    /// Of the request's `database`.
    #[serde(flatten)]
    pub first: Migrated,
    /// Of the first of `more`, in their order. The others are as they were, or could not be worked with:
    /// that is told when they are asked for by themselves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more: Vec<Migrated>,
}

/// The versions after a migration.
#[derive(Debug, Clone, Default, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Migrated {
    /// Versions of the schemas that the answering service owns; without the one that failed and those
    /// that were not tried after it.
    pub schema_versions: SchemaVersions,
    /// The migration that failed, where one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<FailedMigration>,
}

/// A migration that failed; the schema is unchanged since the last version that succeeded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(example = json!({
    "owner": "entries", "migration": "V3__add_body", "sqlstate": "23514",
    "message": "check constraint \"entry_body_check\" of relation \"entry\" is violated by some row",
    "statement": "alter table entries.entry add constraint entry_body_check check (body <> '')",
}))]
pub struct FailedMigration {
    /// Whose schema.
    pub owner: SchemaOwner,
    /// The migration, e.g. `V3__add_body`.
    pub migration: String,
    /// SQLSTATE where the server refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sqlstate: Option<String>,
    /// The cause, in words.
    pub message: String,
    /// The statement that the server refused, on one line: its first 300 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statement: Option<String>,
}

/// Asks a service to run its modules' provisioning in a new tenant's database.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ProvisionRequest {
    /// The tenant, not yet active.
    pub route: TenantRoute,
    /// Its first user.
    pub owner: NewOwner,
}

/// The first user of a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(example = json!({
    "user": "0192f0c1-a2b3-7c4d-8e9f-0a1b2c3d4e5f", "email": "ada@acme.example",
    "password_hash": "$argon2id$v=19$m=19456,t=2,p=1$...",
}))]
pub struct NewOwner {
    /// Chosen before the first try, so that a second try makes the same user.
    pub user: Uuid,
    /// E-mail address, as typed.
    pub email: String,
    /// The password's PHC string; never the password.
    pub password_hash: String,
}

/// Asks a service to make somebody the owner of a tenant, or to take that back.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct OwnershipRequest {
    /// The tenant.
    pub route: TenantRoute,
    /// Names the change in the tenant's audit; a request that comes again has no second effect.
    pub change: Uuid,
    /// What is to be done.
    pub act: OwnershipAct,
}

/// What is to be done to a tenant's owners.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "act", rename_all = "snake_case")]
#[schema(example = json!({"act": "take_back"}))]
pub enum OwnershipAct {
    /// Say whether somebody who has an account can be made an owner, and change nothing: `not-found`
    /// where nobody has the address, `conflict` where the account is disabled.
    Look {
        /// E-mail address, whatever its case.
        email: String,
    },
    /// Make somebody an owner.
    Give {
        /// E-mail address, whatever its case.
        email: String,
        /// For somebody who has no account yet: its id and the password's PHC string.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        account: Option<NewOwner>,
        /// What becomes of those who are owners now.
        others: OtherOwners,
    },
    /// Take back what the change of this id did.
    TakeBack,
}

/// The keys that sign and verify access tokens.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SigningKeys {
    /// All keys that verify; the newest one whose time has come signs.
    pub keys: Vec<SigningKey>,
}

/// One signing key (Ed25519).
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SigningKey {
    /// Names it in tokens.
    pub kid: String,
    /// The raw public key, base64url without padding (the `x` of its JWK).
    pub public_key: String,
    /// The private key (PKCS #8, PEM), sealed for the subject `signing-key`.
    pub private_key: SecretRef,
    /// From when it signs.
    #[serde(with = "time::serde::rfc3339")]
    pub signs_from: OffsetDateTime,
    /// Until when it verifies, where its end is known.
    #[serde(with = "time::serde::rfc3339::option")]
    pub verifies_until: Option<OffsetDateTime>,
}
