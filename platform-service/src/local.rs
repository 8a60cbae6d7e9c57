//! What an installation on one machine does to the registry, beside the running service.
//!
//! Deliberately only what no operation does: a place for the registry before there is one, and a server
//! that came up at another port. Invariant: no tenant is changed here.

use contract::ClusterName;
use contract::secret::Secret;
use kit::db::Pool;
use sqlx::PgConnection;

use crate::clusters;
use crate::clusters::postgres;
use crate::clusters::scram::Verifier;

/// Makes the registry's login and a database that it owns, or gives the login this password.
///
/// `admin` is a superuser's connection, or one of a login with CREATEDB and CREATEROLE. The password
/// reaches the server as a SCRAM verifier alone.
///
/// # Errors
/// What the server refuses.
pub async fn ensure_registry(
    admin: &mut PgConnection,
    database: &str,
    login: &str,
    password: &Secret,
) -> Result<(), sqlx::Error> {
    postgres::ensure_registry(admin, database, login, &Verifier::of(password)).await
}

/// Notes that a cluster's server is now reached at another port. For the time when no service runs:
/// routes that are known somewhere keep the old one.
///
/// # Errors
/// What the registry refuses.
pub async fn set_cluster_port(
    registry: &Pool,
    cluster: &ClusterName,
    port: u16,
) -> Result<(), sqlx::Error> {
    let mut connection = registry.acquire().await?;
    clusters::store::set_port(&mut connection, cluster, port).await
}
