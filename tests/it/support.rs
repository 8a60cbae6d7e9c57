//! What several themes need.

use adapters::secret_store::{KeyRing, SealedStore, SecretStore, SecretSubject};
use contract::TenantId;
use contract::secret::{Secret, SecretRef};
use http::Method;
use serde_json::{Value, json};
use world::{PASSWORD, Speaker, World};

/// A slug that nobody else has.
pub(crate) fn unique(name: &str) -> String {
    format!("{name}-{:08x}", rand::random::<u32>())
}

/// The body of a sign-up.
pub(crate) fn signup(slug: &str) -> Value {
    json!({
        "company": format!("{slug} Incorporated"),
        "slug": slug,
        "email": format!("owner@{slug}.example"),
        "password": PASSWORD,
    })
}

/// The body of an entry.
pub(crate) fn entry(title: &str) -> Value {
    json!({ "title": title, "body": { "note": title } })
}

/// The platform's own store of secrets, opened with the world's keys.
pub(crate) fn seal(world: &World) -> SecretStore {
    SecretStore::Sealed(SealedStore::new(KeyRing::parse(world.key_ring()).unwrap()))
}

/// The password of a tenant's role, as the services get it.
pub(crate) async fn role_password(world: &World, tenant: &TenantId) -> Secret {
    let sql = format!("select credentials[1] from registry.tenant where id = '{tenant}'");
    let reference = world.postgres().texts("registry", &sql).await.remove(0);
    seal(world)
        .open(
            &SecretSubject::Tenant(tenant.clone()),
            &SecretRef(reference),
        )
        .await
        .unwrap()
}

/// An operation as a document describes it.
#[derive(Debug, Clone)]
pub(crate) struct Described {
    pub(crate) id: String,
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) access: Value,
}

/// Every operation of a document.
pub(crate) fn operations(document: &Value) -> Vec<Described> {
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let Ok(method) = method.to_ascii_uppercase().parse::<Method>() else {
                continue;
            };
            if !operation.is_object() || operation.get("responses").is_none() {
                continue;
            }
            found.push(Described {
                id: operation["operationId"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned(),
                method,
                path: path.clone(),
                access: operation["x-access"].clone(),
            });
        }
    }
    found
}

pub(crate) async fn document(speaker: &Speaker) -> Value {
    speaker.get("/openapi.json").await.expect(200).json()
}
