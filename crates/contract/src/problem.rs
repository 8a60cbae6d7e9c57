//! The closed list of problem codes and the document that carries one (RFC 9457).
//!
//! Deliberately without internal causes: those stay in the service that met them. Invariant: a
//! code's text and status never change once released; clients branch on them.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $status:literal, $code:tt, $title:literal;)+) => {
        // The code is a token: as a captured `literal`, utoipa would not see the text of `rename`.
        /// What went wrong, as a client can branch on it.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
        pub enum Code {
            $($(#[$doc])* #[serde(rename = $code)] $variant,)+
        }

        impl Code {
            /// Every code, for documentation and tests.
            pub const ALL: &[Code] = &[$(Code::$variant),+];

            /// The HTTP status that goes with it.
            pub const fn status(self) -> u16 {
                match self { $(Code::$variant => $status,)+ }
            }

            /// The stable text, e.g. `slug-taken`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Code::$variant => $code,)+ }
            }

            /// One short sentence that is the same for every occurrence.
            pub const fn title(self) -> &'static str {
                match self { $(Code::$variant => $title,)+ }
            }
        }
    };
}

codes! {
    /// No `X-Tenant-Id` header.
    TenantHeaderMissing = 400, "tenant-header-missing", "The X-Tenant-Id header is missing";
    /// More than one `X-Tenant-Id` header.
    TenantHeaderRepeated = 400, "tenant-header-repeated", "The X-Tenant-Id header is sent more than once";
    /// An `X-Tenant-Id` header that is no tenant id.
    TenantHeaderMalformed = 400, "tenant-header-malformed", "The X-Tenant-Id header is not a tenant id";
    /// A body that is not JSON, or nested too deep.
    JsonMalformed = 400, "json-malformed", "The body is not valid JSON";
    /// A query string that does not fit.
    QueryInvalid = 400, "query-invalid", "The query string is not valid";
    /// A path that names a thing by something that is no id of its kind.
    IdMalformed = 400, "id-malformed", "The id in the path is not an id of this kind";
    /// A header that does not fit.
    HeaderInvalid = 400, "header-invalid", "A header is not valid";
    /// No bearer token.
    TokenMissing = 401, "token-missing", "A bearer token is needed";
    /// A token that is not ours, not for us, or damaged.
    TokenInvalid = 401, "token-invalid", "The token is not valid";
    /// A token whose time is over.
    TokenExpired = 401, "token-expired", "The token has expired";
    /// Unknown tenant, unknown user or wrong password: deliberately one answer.
    CredentialsWrong = 401, "credentials-wrong", "Tenant, e-mail or password is wrong";
    /// A refresh token that is unknown, spent or revoked.
    RefreshTokenInvalid = 401, "refresh-token-invalid", "The refresh token is not valid";
    /// A service credential that is missing or refused.
    ServiceCredentialInvalid = 401, "service-credential-invalid", "The service credential is not valid";
    /// An operator key that is missing, unknown or revoked.
    OperatorKeyInvalid = 401, "operator-key-invalid", "The operator key is not valid";
    /// The token belongs to another tenant than the header names.
    TenantMismatch = 403, "tenant-mismatch", "The token is not for this tenant";
    /// The caller lacks the permission that the operation asks for.
    PermissionMissing = 403, "permission-missing", "The permission for this is missing";
    /// The tenant's tier lacks the feature.
    FeatureNotInTier = 403, "feature-not-in-tier", "The tier does not include this";
    /// An operator holds the tenant back.
    TenantSuspended = 403, "tenant-suspended", "The tenant is suspended";
    /// An operator lets the tenant read, and nothing else.
    TenantReadOnly = 403, "tenant-read-only", "The tenant may only read at the moment";
    /// Sign-up is not open here.
    SignupClosed = 403, "signup-closed", "Sign-up is closed";
    /// No such thing here.
    NotFound = 404, "not-found", "There is no such thing";
    /// No such path.
    RouteNotFound = 404, "route-not-found", "There is no such path";
    /// The path does not know this method.
    MethodNotAllowed = 405, "method-not-allowed", "The path does not allow this method";
    /// The slug (or the id that it gives) belongs to somebody.
    SlugTaken = 409, "slug-taken", "The slug is taken";
    /// The slug is kept back for the platform.
    SlugReserved = 409, "slug-reserved", "The slug is reserved";
    /// It exists already, or its state does not allow this.
    Conflict = 409, "conflict", "The current state does not allow this";
    /// The first request with this idempotency key is still being taken in.
    IdempotencyKeyInProgress = 409, "idempotency-key-in-progress", "A request with this Idempotency-Key is in progress";
    /// The first request with this idempotency key made it, and showed its secret once.
    SecretShown = 409, "secret-shown", "Its secret was shown once and is not shown again";
    /// Another service claims the schema owner.
    OwnerClaimed = 409, "owner-claimed", "Another service owns this schema";
    /// The operation was cancelled.
    OperationCancelled = 409, "operation-cancelled", "The operation was cancelled";
    /// The operation is over, or past the point where it can be cancelled.
    NotCancellable = 409, "not-cancellable", "The operation cannot be cancelled any more";
    /// Data never goes to an older server.
    DowngradeRefused = 409, "downgrade-refused", "The target server is older than the source";
    /// No fitting pg_dump, pg_restore or psql.
    ToolsMissing = 409, "tools-missing", "The PostgreSQL tools for this are missing";
    /// What destroys needs the tenant's id typed once more.
    ConfirmationMissing = 409, "confirmation-missing", "This destroys data and needs a confirmation";
    /// Data stays in its region.
    RegionLeft = 409, "region-left", "This would leave the tenant's region";
    /// No capacity is left there.
    ClusterFull = 409, "cluster-full", "The cluster has no room for this";
    /// The tenant is off-boarded.
    TenantDeleted = 410, "tenant-deleted", "The tenant is deleted";
    /// The thing has changed since it was read.
    VersionStale = 412, "version-stale", "The thing has changed since it was read";
    /// The body is over the limit.
    BodyTooLarge = 413, "body-too-large", "The body is too large";
    /// The body is not sent as JSON, or is sent compressed.
    ContentTypeUnsupported = 415, "content-type-unsupported", "The body must be application/json";
    /// Fields of the body break their rules; `errors` says which.
    ValidationFailed = 422, "validation-failed", "Some fields are not valid";
    /// The idempotency key came with another body before.
    IdempotencyKeyReused = 422, "idempotency-key-reused", "The Idempotency-Key was used for another request";
    /// An archive or backup is damaged.
    ArchiveCorrupt = 422, "archive-corrupt", "The archive is damaged";
    /// `If-Match` is needed to change this.
    IfMatchMissing = 428, "if-match-missing", "The If-Match header is missing";
    /// Too many requests.
    RateLimited = 429, "rate-limited", "Too many requests";
    /// A limit of the tenant's tier is reached.
    LimitReached = 403, "limit-reached", "A limit of the tier is reached";
    /// Our fault.
    Internal = 500, "internal", "Something went wrong on our side";
    /// The tenant is being made.
    TenantProvisioning = 503, "tenant-provisioning", "The tenant is being made";
    /// The tenant's database cannot be reached or is not the right one.
    TenantUnavailable = 503, "tenant-unavailable", "The tenant's database is not available";
    /// Another replica is migrating the tenant's database.
    TenantMigrating = 503, "tenant-migrating", "The tenant's database is being migrated";
    /// The tenant's database is being replaced or moved, longer than requests wait.
    TenantHeld = 503, "tenant-held", "The tenant's database is being moved";
    /// The tenant needs a migration, and the roll-out that brings it has halted.
    RolloutHalted = 503, "rollout-halted", "The roll-out of a needed migration has halted";
    /// The object store does not take or give what is asked.
    ObjectStoreUnavailable = 503, "object-store-unavailable", "The object store is not available";
    /// The tenant's database could not be migrated.
    MigrationFailed = 503, "migration-failed", "The tenant's database could not be migrated";
    /// The platform service cannot be reached.
    PlatformUnavailable = 503, "platform-unavailable", "The platform service is not available";
    /// A database did not answer as it should; trying again helps.
    DatabaseUnavailable = 503, "database-unavailable", "The database is not available";
    /// A database server has no disk or no memory left.
    DatabaseExhausted = 503, "database-exhausted", "The database server has run out of disk space or memory";
    /// Queues are full.
    Overloaded = 503, "overloaded", "There is more work than can be done now";
    /// Not done in time.
    Timeout = 503, "timeout", "It took too long";
    /// Not ready to serve.
    NotReady = 503, "not-ready", "Not ready to serve";
}

impl Code {
    /// Whether the same request may succeed later.
    pub const fn is_retryable(self) -> bool {
        matches!(self.status(), 429 | 503) || matches!(self, Self::IdempotencyKeyInProgress)
    }

    /// The URN that identifies the kind of problem.
    pub fn type_uri(self) -> String {
        format!("urn:tenantry:problem:{}", self.as_str())
    }
}

/// A field that breaks its rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct FieldError {
    /// JSON pointer into the body (RFC 6901), or the name of a header or query parameter.
    #[schema(example = "/slug")]
    pub pointer: Cow<'static, str>,
    /// The rule, in words.
    pub detail: Cow<'static, str>,
}

/// A problem as it is sent: `application/problem+json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ProblemDocument {
    /// URN of the kind of problem.
    #[serde(rename = "type")]
    pub type_uri: String,
    /// One sentence that is the same for every occurrence.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// The stable code.
    pub code: Code,
    /// What happened this time, and what to do about it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub detail: Option<String>,
    /// Names this request in our logs.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub request_id: Option<String>,
    /// Whether the same request may succeed later.
    pub retryable: bool,
    /// The fields that break their rules.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub errors: Vec<FieldError>,
    /// A value that would be accepted, where one can be offered.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub proposal: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_distinct_and_kebab_case() {
        let mut seen = std::collections::BTreeSet::new();
        for code in Code::ALL {
            let text = code.as_str();
            assert!(seen.insert(text), "{text} twice");
            assert!(
                text.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'),
                "{text}"
            );
            assert!((400..=599).contains(&code.status()));
            assert_eq!(serde_json::to_value(code).ok(), Some(text.into()));
        }
    }
}
