//! Tokens that are issued, and everything that only looks like one, against the real verifier.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey};
use kit::auth::access::{TokenRefused, TokenVerifier};
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::{Grant, Issuer, RefreshDigest, new_refresh_token};
use crate::auth::keys::{Key, signing_at};
use crate::auth::{SessionId, UserId};

const ISSUER: &str = "https://tenantry.test";
const AUDIENCE: &str = "tenantry";
const KID: &str = "k1";
/// RFC 8410, section 10.3: a key of an example, known to everybody.
const PRIVATE: &str = "MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC";
const PUBLIC: &str = "Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE";
/// RFC 8032, section 7.1, test 1, as PKCS #8.
const OTHER_PRIVATE: &str = "MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMRE5HzthTbFPQ9mStNSGQ6Z";

fn private(base64: &str) -> EncodingKey {
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{base64}\n-----END PRIVATE KEY-----\n");
    EncodingKey::from_ed_pem(pem.as_bytes()).unwrap()
}

fn key(kid: &str, signs_from: OffsetDateTime) -> Key {
    Key {
        kid: kid.to_owned(),
        public: PUBLIC.to_owned(),
        private: private(PRIVATE),
        signs_from,
        verifies_until: None,
    }
}

fn verifier() -> TokenVerifier {
    let verifier = TokenVerifier::new(ISSUER.to_owned(), AUDIENCE.to_owned());
    verifier
        .replace_keys([(KID.to_owned(), PUBLIC.to_owned())])
        .unwrap();
    verifier
}

fn issuer() -> Issuer {
    Issuer {
        issuer: ISSUER.to_owned(),
        audience: AUDIENCE.to_owned(),
        lifetime: std::time::Duration::from_secs(900),
    }
}

fn issue() -> String {
    let grant = Grant {
        user: UserId::from_uuid(Uuid::nil()),
        tenant: &"t_acme".parse().unwrap(),
        session: SessionId::from_uuid(Uuid::nil()),
        permissions: ["entries:read".to_owned()].into(),
    };
    issuer()
        .issue(&[key(KID, OffsetDateTime::UNIX_EPOCH)], grant)
        .unwrap()
}

fn header() -> Value {
    json!({"alg": "EdDSA", "typ": "at+jwt", "kid": KID})
}

fn claims() -> Value {
    let now = OffsetDateTime::now_utc().unix_timestamp();
    json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": "usr_1", "tenant": "t_acme", "sid": "ses_1",
        "permissions": ["entries:read"], "iat": now, "nbf": now, "exp": now + 900, "jti": "1",
    })
}

/// `object` with one field set, or removed where the value is null.
fn with(mut object: Value, field: &str, value: Value) -> Value {
    match value {
        Value::Null => drop(object.as_object_mut().unwrap().remove(field)),
        value => object[field] = value,
    }
    object
}

/// A token of any texts, signed by `key`; what an attacker or a broken issuer could send.
fn signed(header: &str, claims: &str, key: &EncodingKey, algorithm: Algorithm) -> String {
    let message = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header),
        URL_SAFE_NO_PAD.encode(claims)
    );
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), key, algorithm).unwrap();
    format!("{message}.{signature}")
}

fn ours(header: &Value, claims: &Value) -> String {
    signed(
        &header.to_string(),
        &claims.to_string(),
        &private(PRIVATE),
        Algorithm::EdDSA,
    )
}

fn refused(name: &str, token: &str) -> TokenRefused {
    match verifier().verify(token) {
        Err(refused) => refused,
        Ok(principal) => panic!("{name} was accepted as {principal:?}"),
    }
}

#[test]
fn an_issued_token_verifies() {
    let verifier = verifier();
    for _ in 0..2 {
        let token = issue();
        let principal = verifier.verify(&token).unwrap();
        assert_eq!(principal.tenant.as_str(), "t_acme");
        assert_eq!(&*principal.user, "usr_00000000000000000000000000000000");
        assert_eq!(&*principal.session, "ses_00000000000000000000000000000000");
        assert!(principal.permissions.contains("entries:read"));
        // Once more, now from memory.
        assert!(verifier.verify(&token).is_ok());
    }
}

#[test]
fn no_token_is_longer_than_is_foreseen() {
    for count in [0, 1, 100] {
        let permissions: BTreeSet<String> = (0..count).map(|n| format!("notes:act_{n}")).collect();
        let foreseen = issuer().longest(&permissions).unwrap();
        let grant = Grant {
            user: UserId::from_uuid(Uuid::max()),
            // The longest id there is.
            tenant: &format!("t_a{}", "b".repeat(39)).parse().unwrap(),
            session: SessionId::from_uuid(Uuid::max()),
            permissions,
        };
        let kid = format!("key_{}", Uuid::max().simple());
        let keys = [key(&kid, OffsetDateTime::UNIX_EPOCH)];
        let length = issuer().issue(&keys, grant).unwrap().len();
        assert!(
            (length..length + 200).contains(&foreseen),
            "{length}, {foreseen}"
        );
    }
}

#[test]
fn the_unchanged_vector_is_good() {
    assert!(verifier().verify(&ours(&header(), &claims())).is_ok());
}

#[test]
fn other_algorithms_are_refused() {
    let claims = claims().to_string();
    let public_der = URL_SAFE_NO_PAD.decode(PUBLIC).unwrap();
    for algorithm in ["none", "None", "NONE", ""] {
        let header = with(header(), "alg", json!(algorithm)).to_string();
        let message = format!(
            "{}.{}",
            URL_SAFE_NO_PAD.encode(&header),
            URL_SAFE_NO_PAD.encode(&claims)
        );
        refused(algorithm, &format!("{message}."));
        let signature = issue().rsplit_once('.').unwrap().1.to_owned();
        refused(algorithm, &format!("{message}.{signature}"));
    }
    for secret in [PUBLIC.as_bytes(), &public_der, b"", b"secret"] {
        for (name, algorithm) in [
            ("HS256", Algorithm::HS256),
            ("HS384", Algorithm::HS384),
            ("HS512", Algorithm::HS512),
        ] {
            let header = with(header(), "alg", json!(name)).to_string();
            refused(
                name,
                &signed(
                    &header,
                    &claims,
                    &EncodingKey::from_secret(secret),
                    algorithm,
                ),
            );
        }
    }
    for name in ["RS256", "ES256", "PS256", "EdDSA ", "eddsa"] {
        refused(
            name,
            &ours(&with(header(), "alg", json!(name)), &self::claims()),
        );
    }
}

#[test]
fn keys_come_from_the_set_alone() {
    let kids = [
        json!(""),
        json!("../../dev/null"),
        json!("/etc/passwd"),
        json!("' or 1=1 --"),
        json!("k1\0"),
        json!("K1"),
        json!("k2"),
        json!("https://evil.example/key"),
        Value::Null,
    ];
    for kid in kids {
        let refusal = refused("kid", &ours(&with(header(), "kid", kid.clone()), &claims()));
        assert!(
            matches!(refusal, TokenRefused::UnknownKey),
            "{kid}: {refusal:?}"
        );
    }
    for kid in [json!(1), json!(["k1"]), json!({"k": 1})] {
        refused("kid", &ours(&with(header(), "kid", kid), &claims()));
    }
    let theirs = private(OTHER_PRIVATE);
    let plain = header().to_string();
    refused(
        "another key",
        &signed(&plain, &claims().to_string(), &theirs, Algorithm::EdDSA),
    );
    let jwk =
        json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"});
    for (field, value) in [
        ("jwk", jwk),
        ("jku", json!("https://evil.example/jwks.json")),
        ("x5u", json!("https://evil.example/key.pem")),
    ] {
        let header = with(header(), field, value).to_string();
        refused(
            field,
            &signed(&header, &claims().to_string(), &theirs, Algorithm::EdDSA),
        );
    }
}

#[test]
fn other_types_of_token_are_refused() {
    for typ in [
        json!("JWT"),
        json!("id_token+jwt"),
        json!("logout+jwt"),
        json!(""),
        json!(1),
        Value::Null,
    ] {
        refused("typ", &ours(&with(header(), "typ", typ), &claims()));
    }
}

#[test]
fn every_claim_is_needed() {
    for claim in [
        "iss",
        "aud",
        "sub",
        "tenant",
        "sid",
        "permissions",
        "iat",
        "nbf",
        "exp",
        "jti",
    ] {
        refused(claim, &ours(&header(), &with(claims(), claim, Value::Null)));
    }
}

#[test]
fn claims_of_other_values_are_refused() {
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let vectors = [
        ("iss", json!("https://evil.example")),
        ("iss", json!(format!("{ISSUER}/"))),
        ("iss", json!("")),
        ("aud", json!("another")),
        ("aud", json!("")),
        ("aud", json!([])),
        ("exp", json!("9999999999")),
        ("exp", json!(true)),
        ("exp", json!(-1)),
        ("exp", json!(0)),
        ("nbf", json!("0")),
        ("nbf", json!(now + 61)),
        ("tenant", json!(["t_acme", "t_other"])),
        ("tenant", json!("acme")),
        ("tenant", json!("t_acme; drop table x")),
        ("tenant", json!("T_ACME")),
        ("tenant", json!("")),
        ("tenant", json!(1)),
        ("sub", json!(["usr_1"])),
        ("permissions", json!("entries:read")),
        ("permissions", json!([1])),
    ];
    for (claim, value) in vectors {
        let name = format!("{claim} = {value}");
        refused(&name, &ours(&header(), &with(claims(), claim, value)));
    }
}

#[test]
fn time_is_kept_with_half_a_minute_of_grace() {
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let expired = refused(
        "exp",
        &ours(&header(), &with(claims(), "exp", json!(now - 61))),
    );
    assert!(matches!(expired, TokenRefused::Expired));
    assert!(
        verifier()
            .verify(&ours(&header(), &with(claims(), "exp", json!(now - 10))))
            .is_ok()
    );
    assert!(
        verifier()
            .verify(&ours(&header(), &with(claims(), "nbf", json!(now + 10))))
            .is_ok()
    );
}

#[test]
fn damage_is_refused() {
    let token = issue();
    let (message, signature) = token.rsplit_once('.').unwrap();
    let (head, payload) = message.split_once('.').unwrap();
    let other_payload =
        URL_SAFE_NO_PAD.encode(with(claims(), "tenant", json!("t_other")).to_string());
    let vectors = [
        ("empty", String::new()),
        ("dots", "..".to_owned()),
        ("no signature", format!("{message}.")),
        ("two parts", message.to_owned()),
        ("four parts", format!("{token}.{signature}")),
        ("cut", token[..token.len() - 2].to_owned()),
        ("padded", format!("{token}=")),
        (
            "other payload",
            format!("{head}.{other_payload}.{signature}"),
        ),
        (
            "payload cut",
            format!("{head}.{}.{signature}", &payload[1..]),
        ),
        ("swapped", format!("{payload}.{head}.{signature}")),
        ("not base64", format!("{head}.{payload}.!!!!")),
        (
            "not JSON",
            signed("{", "{", &private(PRIVATE), Algorithm::EdDSA),
        ),
        ("8 KB of nothing", "a".repeat(8192)),
        (
            "8 KB with dots",
            format!(
                "{}.{}.{}",
                "a".repeat(2700),
                "b".repeat(2700),
                "c".repeat(2700)
            ),
        ),
        ("NUL", format!("{token}\0")),
        (
            "encrypted",
            format!("{head}.{payload}.{signature}.{payload}.{signature}"),
        ),
    ];
    for (name, token) in vectors {
        refused(name, &token);
    }
    let doubled = claims()
        .to_string()
        .replacen('{', "{\"tenant\":\"t_other\",", 1);
    refused(
        "a claim twice",
        &signed(
            &header().to_string(),
            &doubled,
            &private(PRIVATE),
            Algorithm::EdDSA,
        ),
    );
}

#[test]
fn a_key_signs_when_its_time_has_come() {
    let now = OffsetDateTime::now_utc();
    let hour = Duration::hours(1);
    let ended = Key {
        verifies_until: Some(now - hour),
        ..key("ended", now - hour)
    };
    let keys = [
        key("old", now - 3 * hour),
        key("new", now - 2 * hour),
        key("next", now + hour),
        ended,
    ];
    let kid = |at| signing_at(&keys, at).map(|key| key.kid.as_str());
    assert_eq!(kid(now), Some("new"));
    assert_eq!(kid(now + 2 * hour), Some("next"));
    assert_eq!(kid(now - 4 * hour), None);
}

#[test]
fn refresh_tokens_are_unlike_and_known_by_their_digest() {
    let (one, digest) = new_refresh_token();
    let (other, _) = new_refresh_token();
    assert_ne!(one, other);
    assert!(one.starts_with("rt_") && one.len() == 46);
    assert_eq!(RefreshDigest::of(&one), digest);
    assert_ne!(RefreshDigest::of(&other), digest);
}
