//! Certificates of deletions: what was destroyed, when, signed.
//!
//! Deliberately with the public key beside the signature, because signing keys are forgotten; whose it was is
//! published for as long as there are certificates. Invariant: what is signed is the body as compact JSON with
//! sorted keys, which anybody can make of it again.

use adapters::secret_store::SecretSubject;
use axum::extract::State;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use contract::operator::tenant::{CertificateId, CertificateKeys, CertificateView};
use contract::{Code, TenantId};
use ed25519_dalek::pkcs8::DecodePrivateKey;
use ed25519_dalek::{Signer, SigningKey};
use kit::error::{Problem, Result};
use kit::extract::{Json, Path};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use utoipa_axum::router::OpenApiRouter;

use super::store;
use crate::operators::{Operator, TenantsRead};
use crate::platform::Platform;
use crate::signing_keys;
use crate::stop::Stop;

/// A certificate before it is recorded.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Signed {
    pub(crate) id: CertificateId,
    pub(crate) body: Value,
    pub(crate) signature: String,
    pub(crate) public_key: String,
}

/// Signs what was destroyed, with the time and the certificate's id added to it.
pub(crate) async fn sign(platform: &Platform, body: Value) -> Result<Signed, Stop> {
    let key = {
        let mut registry = platform.registry.acquire().await?;
        let now = OffsetDateTime::now_utc();
        let keys = signing_keys::store::list(&mut registry).await?;
        keys.into_iter()
            .find(|key| key.signs_from <= now)
            .ok_or_else(|| Stop::Fail(Problem::internal("there is no signing key")))?
    };
    let pem = platform
        .seal
        .open(&SecretSubject::SigningKey, &key.private_key)
        .await?;
    let signer = SigningKey::from_pkcs8_pem(pem.expose())
        .map_err(|error| Stop::Fail(Problem::internal(error)))?;
    let id = CertificateId::new();
    let at = stamp(OffsetDateTime::now_utc())?;
    let mut body = body;
    if let Value::Object(fields) = &mut body {
        fields.insert("certificate".to_owned(), id.to_string().into());
        fields.insert("destroyed_at".to_owned(), at.into());
    }
    let signature = signer.sign(canonical(&body).as_bytes());
    Ok(Signed {
        id,
        body,
        signature: URL_SAFE_NO_PAD.encode(signature.to_bytes()),
        public_key: key.public_key,
    })
}

/// A time as a certificate says it.
pub(crate) fn stamp(at: OffsetDateTime) -> Result<String, Stop> {
    let text = at.format(&Rfc3339);
    text.map_err(|error| Stop::Fail(Problem::internal(error)))
}

/// Compact JSON with sorted keys.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let mut sorted: Vec<_> = fields.iter().collect();
            sorted.sort_unstable_by_key(|(key, _)| *key);
            let inner: Vec<String> = sorted
                .into_iter()
                .map(|(key, value)| format!("{}:{}", Value::from(key.as_str()), canonical(value)))
                .collect();
            format!("{{{}}}", inner.join(","))
        }
        Value::Array(values) => {
            let inner: Vec<String> = values.iter().map(canonical).collect();
            format!("[{}]", inner.join(","))
        }
        plain => plain.to_string(),
    }
}

/// Show the certificate of a tenant's deletion.
///
/// There is one once nothing is left of the tenant's data.
#[utoipa::path(
    get,
    path = "/v1/tenants/{id}/certificate",
    operation_id = "tenants.certificate",
    tag = "tenants",
    params(("id" = TenantId, Path, example = "t_acme_corp")),
    responses((status = 200, description = "The certificate.", body = CertificateView))
)]
pub(crate) async fn show(
    _operator: Operator<TenantsRead>,
    State(platform): State<Platform>,
    Path(id): Path<TenantId>,
) -> Result<Json<CertificateView>> {
    let mut connection = platform.registry.acquire().await?;
    let found = store::purge::certificate(&mut connection, &id).await?;
    let none = || Problem::new(Code::NotFound).detail("The tenant's data is not destroyed.");
    Ok(Json(found.ok_or_else(none)?))
}

/// The keys that certificates of deletions were signed with.
///
/// As a JSON Web Key Set (RFC 7517, RFC 8037). A certificate is this platform's where its `public_key` is the
/// `x` of one of them and its signature fits: also long after the key signs nothing any more.
#[utoipa::path(
    get,
    path = "/v1/certificates/keys",
    operation_id = "certificates.keys",
    tag = "tenants",
    responses((status = 200, description = "Every such key.", body = CertificateKeys))
)]
pub(crate) async fn keys(State(platform): State<Platform>) -> Result<Json<CertificateKeys>> {
    let mut connection = platform.public_registry.acquire().await?;
    let keys = store::purge::certificate_keys(&mut connection).await?;
    Ok(Json(CertificateKeys { keys }))
}

pub(crate) fn router() -> OpenApiRouter<Platform> {
    kit::operations!(show, keys)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::canonical;

    #[test]
    fn keys_are_sorted_at_every_depth() {
        let value = json!({ "b": [{ "d": 1, "c": "x\"y" }], "a": null });
        assert_eq!(canonical(&value), r#"{"a":null,"b":[{"c":"x\"y","d":1}]}"#);
    }
}
