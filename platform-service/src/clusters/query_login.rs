//! The login with which operators' questions read tenants' databases.
//!
//! Deliberately made by the cluster's keeper and not when a cluster is added, so that clusters of an
//! earlier release get it the same way. Invariant: it is there before a database is made that it may
//! enter.

use adapters::secret_store::{ClusterRole, SecretSubject};
use contract::secret::Secret;
use kit::error::Problem;
use uuid::Uuid;

use super::connections::Server;
use super::postgres::server;
use super::scram::Verifier;
use super::store;
use crate::platform::Platform;
use crate::stop::Stop;

/// Ensures it, once per cluster.
pub(super) async fn ensure(platform: &Platform, cluster: &Server) -> Result<(), Stop> {
    if cluster.has_query_login() {
        return Ok(());
    }
    let password = Secret::random();
    let subject = SecretSubject::Cluster(cluster.name().clone(), ClusterRole::Query);
    let version = Uuid::now_v7().simple().to_string();
    let sealed = platform.seal.put(&subject, &version, &password).await;
    let reference = sealed.map_err(|error| Stop::Fail(Problem::internal(error)))?;
    let verifier = Verifier::of(&password);
    server::ensure_readers(&mut *cluster.acquire().await?, &verifier).await?;
    let mut registry = platform.registry.acquire().await?;
    Ok(store::set_query_credential(&mut registry, cluster.name(), &reference).await?)
}
