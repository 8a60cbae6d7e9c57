//! The key of a tenant's own that encrypts its objects, sealed in the registry.
//!
//! Deliberately made with the first object that needs it. Invariant: a tenant has one key as long as
//! it has objects; without its row nobody can read them any more.

use adapters::object_store::DataKey;
use adapters::secret_store::SecretSubject;
use contract::TenantId;
use contract::secret::SecretRef;
use kit::error::Problem;

use super::store;
use crate::platform::Platform;
use crate::stop::Stop;

/// A sealed key needs no version; this one is only there because other stores do.
const VERSION: &str = "data";

/// The tenant's key, made where it has none.
pub(super) async fn ensure(platform: &Platform, tenant: &TenantId) -> Result<DataKey, Stop> {
    if let Some(key) = open(platform, tenant).await? {
        return Ok(key);
    }
    let subject = SecretSubject::DataKey(tenant.clone());
    let secret = DataKey::random().to_secret();
    let sealed = platform.seal.put(&subject, VERSION, &secret).await;
    let sealed = sealed.map_err(|error| Stop::Fail(Problem::internal(error)))?;
    // Somebody may have been faster; then theirs counts.
    store::insert_key(&mut *platform.registry.acquire().await?, tenant, &sealed).await?;
    let missing = || Stop::Fail(Problem::internal("the tenant's data key has no row"));
    open(platform, tenant).await?.ok_or_else(missing)
}

/// Whether the tenant has a key.
pub(crate) async fn is_there(platform: &Platform, tenant: &TenantId) -> Result<bool, Stop> {
    let found = store::key(&mut *platform.registry.acquire().await?, tenant).await?;
    Ok(found.is_some())
}

/// The tenant's key, where it has one.
pub(super) async fn open(platform: &Platform, tenant: &TenantId) -> Result<Option<DataKey>, Stop> {
    let found: Option<SecretRef> =
        store::key(&mut *platform.registry.acquire().await?, tenant).await?;
    let Some(sealed) = found else {
        return Ok(None);
    };
    let subject = SecretSubject::DataKey(tenant.clone());
    let opened = platform.seal.open(&subject, &sealed).await;
    let opened = opened.map_err(|error| Stop::Fail(Problem::internal(error)))?;
    let key = DataKey::parse(&opened);
    key.map(Some)
        .map_err(|error| Stop::Fail(Problem::internal(error)))
}
