//! What the services say to each other and to their callers: ids, the route of a tenant, problem
//! codes and the wire types and clients of the internal API.
//!
//! Deliberately without `sqlx` and `axum`: nothing here opens a database or serves a request.
//! Invariant: a value of a type from this crate is valid; text becomes one only by parsing.

pub mod client;
pub mod credential;
pub mod ids;
pub mod internal;
pub mod labels;
pub mod letters;
pub mod operator;
pub mod problem;
pub mod secret;
pub mod tenant;
pub mod tenant_status;

pub use ids::{ClusterName, OperationId, ReplicaId, SchemaOwner, ServiceName, Slug, TenantId};
pub use problem::{Code, FieldError, ProblemDocument};
pub use secret::{Secret, SecretRef};
pub use tenant::{DatabaseRef, SchemaVersions, TenantRoute, TierGrant};
pub use tenant_status::TenantStatus;
