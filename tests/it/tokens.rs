//! Access tokens that are forged, damaged, too late or sent in the wrong way.

use std::collections::BTreeSet;
use std::time::Instant;

use adapters::secret_store::SecretSubject;
use app_service::{App, Module, auth, entries};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use contract::Code;
use contract::secret::SecretRef;
use hmac::{Hmac, KeyInit, Mac};
use http::Method;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use kit::openapi::ACCESS_EXTENSION;
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use world::{Answer, World, WorldOptions};

use crate::documents::started;

use crate::support::seal;

/// What makes a token: everything can be wrong.
pub(crate) struct Forge {
    key: EncodingKey,
    kid: String,
    public: String,
    right: Value,
}

impl Forge {
    pub(crate) async fn new(world: &World, tenant: &world::TenantHandle) -> Self {
        let mut registry = world.registry().await;
        let (kid, public, private): (String, String, String) = sqlx::query_as(
            "select kid, public_key, private_key from registry.signing_key
             where signs_from <= now() order by signs_from desc limit 1",
        )
        .fetch_one(&mut registry)
        .await
        .unwrap();
        let private = seal(world)
            .open(&SecretSubject::SigningKey, &SecretRef(private))
            .await
            .unwrap();
        let payload = tenant.owner().token().split('.').nth(1).unwrap().to_owned();
        let right = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
        Self {
            key: EncodingKey::from_ed_pem(private.expose().as_bytes()).unwrap(),
            kid,
            public,
            right,
        }
    }

    fn header(&self) -> Header {
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some("at+jwt".to_owned());
        header.kid = Some(self.kid.clone());
        header
    }

    fn signed(&self, claims: &Value) -> String {
        jsonwebtoken::encode(&self.header(), claims, &self.key).unwrap()
    }

    fn signed_with(&self, header: &Header) -> String {
        jsonwebtoken::encode(header, &self.right, &self.key).unwrap()
    }

    fn claim(&self, name: &str, value: Value) -> String {
        let mut claims = self.right.clone();
        claims[name] = value;
        self.signed(&claims)
    }

    /// The right claims but for their times, which are over since a minute.
    pub(crate) fn expired(&self) -> String {
        let over = time::OffsetDateTime::now_utc().unix_timestamp() - 61;
        self.claim("exp", json!(over))
    }

    fn without(&self, name: &str) -> String {
        let mut claims = self.right.clone();
        claims.as_object_mut().unwrap().remove(name);
        self.signed(&claims)
    }

    /// Any header, the right claims, any signature.
    fn raw(&self, header: &Value, sign: impl Fn(&str) -> Vec<u8>) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(header), part(&self.right));
        let signature = URL_SAFE_NO_PAD.encode(sign(&signed));
        format!("{signed}.{signature}")
    }
}

/// A token with one letter of its signature replaced.
fn damaged(token: &str) -> String {
    let at = token.rfind('.').unwrap() + 10;
    let other = if &token[at..=at] == "A" { "B" } else { "A" };
    format!("{}{other}{}", &token[..at], &token[at + 1..])
}

fn hmac_of(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(key).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

#[tokio::test]
async fn forged_and_damaged_tokens_are_refused() {
    let world = World::shared().await;
    let acme = world.tenant("tokens").await;
    let forge = Forge::new(&world, &acme).await;
    let ask = async |token: &str| acme.anonymous().bearer(token).get("/v1/me").await;
    ask(&forge.signed(&forge.right)).await.expect(200);

    let now = time::OffsetDateTime::now_utc().unix_timestamp();
    let public = URL_SAFE_NO_PAD.decode(&forge.public).unwrap();
    let typ = "at+jwt";
    let unsigned = |alg: &str| {
        forge.raw(
            &json!({ "alg": alg, "typ": typ, "kid": forge.kid }),
            |_| vec![],
        )
    };
    let symmetric = |key: Vec<u8>| {
        let header = json!({ "alg": "HS256", "typ": typ, "kid": forge.kid });
        forge.raw(&header, move |text| hmac_of(&key, text))
    };
    let header = |change: &dyn Fn(&mut Header)| {
        let mut header = forge.header();
        change(&mut header);
        forge.signed_with(&header)
    };
    let kid = |kid: &str| header(&|h: &mut Header| h.kid = Some(kid.to_owned()));
    let good = forge.signed(&forge.right);
    let other = EncodingKey::from_ed_der(&other_key());
    let mut vectors: Vec<(&str, String)> = vec![
        ("none", unsigned("none")),
        ("None", unsigned("None")),
        ("EdDSA without a signature", unsigned("EdDSA")),
        ("HMAC with the public key", symmetric(public.clone())),
        (
            "HMAC with its text",
            symmetric(forge.public.clone().into_bytes()),
        ),
        ("HMAC with nothing", symmetric(b"secret".to_vec())),
        ("an RSA algorithm", unsigned("RS256")),
        ("kid of nobody", kid("nobody")),
        ("kid empty", kid("")),
        ("kid path", kid("../../../../dev/null")),
        ("kid SQL", kid("' or 1=1 --")),
        ("kid URL", kid("https://evil.example/jwks.json")),
        ("kid long", kid(&"k".repeat(2000))),
        ("no kid", header(&|h| h.kid = None)),
        ("typ JWT", header(&|h| h.typ = Some("JWT".to_owned()))),
        ("no typ", header(&|h| h.typ = None)),
        (
            "an ID token's typ",
            header(&|h| h.typ = Some("id+jwt".to_owned())),
        ),
        (
            "signed by another key",
            jsonwebtoken::encode(&forge.header(), &forge.right, &other).unwrap(),
        ),
        (
            "another issuer",
            forge.claim("iss", json!("https://evil.example")),
        ),
        (
            "issuer with a slash",
            forge.claim(
                "iss",
                json!(format!("{}/", forge.right["iss"].as_str().unwrap())),
            ),
        ),
        ("another audience", forge.claim("aud", json!("another"))),
        (
            "audience list of others",
            forge.claim("aud", json!(["a", "b"])),
        ),
        ("no issuer", forge.without("iss")),
        ("no audience", forge.without("aud")),
        ("no subject", forge.without("sub")),
        ("no tenant", forge.without("tenant")),
        ("no exp", forge.without("exp")),
        ("no nbf", forge.without("nbf")),
        ("no permissions", forge.without("permissions")),
        ("tenant list", forge.claim("tenant", json!([acme.id()]))),
        ("tenant null", forge.claim("tenant", Value::Null)),
        ("tenant no id", forge.claim("tenant", json!("*"))),
        ("exp text", forge.claim("exp", json!("9999999999"))),
        ("exp negative", forge.claim("exp", json!(-1))),
        ("exp float text", forge.claim("exp", json!("1e12"))),
        ("nbf text", forge.claim("nbf", json!("0"))),
        ("nbf in a minute", forge.claim("nbf", json!(now + 61))),
        ("exp a minute ago", forge.expired()),
        ("permissions text", forge.claim("permissions", json!("*"))),
        ("damaged signature", damaged(&good)),
        ("claims cut", good.split_once('.').unwrap().0.to_owned()),
        ("four parts", format!("{good}.x")),
        ("empty parts", "..".to_owned()),
        ("no base64", "a.b.c!".to_owned()),
        ("long", "a".repeat(8 * 1024)),
    ];
    for key in ["jku", "x5u"] {
        let header =
            json!({ "alg": "EdDSA", "typ": typ, "kid": "theirs", key: "http://127.0.0.1:1/k" });
        vectors.push(("a key's address", forge.raw(&header, |_| vec![0; 64])));
    }
    let jwk = json!({ "alg": "EdDSA", "typ": typ, "jwk": { "kty": "OKP", "crv": "Ed25519", "x": forge.public } });
    vectors.push(("a key in the token", forge.raw(&jwk, |_| vec![0; 64])));
    assert!(vectors.len() >= 40);
    let mut said = BTreeSet::new();
    for (name, token) in vectors {
        let answer = ask(&token).await;
        assert_eq!(answer.status(), 401, "{name}: {answer}");
        assert_eq!(answer.header("www-authenticate"), "Bearer", "{name}");
        let problem = answer.problem();
        assert!(
            matches!(problem.code, Code::TokenInvalid | Code::TokenExpired),
            "{name}: {answer}"
        );
        assert_eq!(
            problem.code == Code::TokenExpired,
            name.starts_with("exp a min"),
            "{name}"
        );
        said.insert(problem.detail);
    }
    assert!(
        said.len() <= 3,
        "refusals tell apart nothing but age and size: {said:?}"
    );
    // Within the leeway of clocks.
    ask(&forge.claim("nbf", json!(now + 15))).await.expect(200);
    // A claim that no signature covers.
    let [head, _, signature] = <[&str; 3]>::try_from(good.split('.').collect::<Vec<_>>()).unwrap();
    let mut claims = forge.right.clone();
    claims["permissions"] = json!(["*"]);
    let claims = URL_SAFE_NO_PAD.encode(claims.to_string());
    ask(&format!("{head}.{claims}.{signature}"))
        .await
        .expect(401);
}

/// PKCS #8 of an Ed25519 key of nobody.
fn other_key() -> Vec<u8> {
    let mut der = vec![
        0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04,
        0x20,
    ];
    der.extend(rand::random::<[u8; 32]>());
    der
}

#[tokio::test]
async fn tokens_are_taken_from_one_authorization_header_alone() {
    let world = World::shared().await;
    let acme = world.tenant("bearer").await;
    let token = acme.owner().token().to_owned();
    let nobody = acme.anonymous();
    let with = async |values: &[String]| -> Answer {
        let mut request = nobody.request(Method::GET, "/v1/me");
        for value in values {
            request = request.header("authorization", value);
        }
        request.send().await
    };
    let bearer = format!("Bearer {token}");
    with(std::slice::from_ref(&bearer)).await.expect(200);
    with(&[format!("bearer {token}")]).await.expect(200);
    with(&[bearer.clone(), bearer.clone()])
        .await
        .expect(401)
        .refused(Code::TokenInvalid);
    for wrong in [
        "",
        "Bearer",
        "Bearer ",
        "Basic YTpi",
        &token,
        &format!("Token {token}"),
    ] {
        with(&[wrong.to_owned()])
            .await
            .expect(401)
            .refused(Code::TokenMissing);
    }
    let query = format!("/v1/me?access_token={token}&token={token}");
    nobody
        .get(&query)
        .await
        .expect(401)
        .refused(Code::TokenMissing);
    let cookie = nobody.header("cookie", &format!("access_token={token}"));
    cookie
        .get("/v1/me")
        .await
        .expect(401)
        .refused(Code::TokenMissing);
}

/// A module whose operations ask for so many permissions.
fn asking_for(permissions: usize) -> Module {
    let paths = (0..permissions).map(|n| {
        let access = json!({ "door": "in-tenant", "permission": format!("many:act_{n:04}") });
        let operation = json!({ "responses": {}, ACCESS_EXTENSION: access });
        (format!("/v1/many/{n}"), json!({ "get": operation }))
    });
    let paths: serde_json::Map<_, _> = paths.collect();
    let document = json!({
        "openapi": "3.1.0", "info": { "title": "Many", "version": "1" }, "paths": paths,
    });
    let document = serde_json::from_value(document).unwrap();
    Module::new("many", vec![]).routes(OpenApiRouter::with_openapi(document))
}

fn with_permissions(permissions: usize) -> App {
    let app = App::new().module(auth::module()).module(entries::module());
    app.module(asking_for(permissions))
}

#[tokio::test]
async fn an_owner_of_many_permissions_is_let_in_and_one_of_too_many_keeps_a_service_from_starting()
{
    let world = World::with(WorldOptions::default().app(|| with_permissions(500))).await;
    let owner = world.tenant("mighty").await.owner();
    assert!(owner.token().len() > 8 * 1024, "{}", owner.token().len());
    for speaker in [owner.clone(), owner.over_http2()] {
        let me = speaker.get("/v1/me").await.expect(200).json();
        assert!(me["permissions"].as_array().unwrap().len() > 500);
    }
    let refused = started(with_permissions(900)).await.unwrap_err();
    for words in [
        "no more than 16384 are taken",
        "auth has 2 permissions, entries has 2 permissions, many has 900 permissions",
    ] {
        assert!(refused.contains(words), "{refused}");
    }
}

#[tokio::test]
async fn a_thousand_unknown_keys_do_not_ask_the_platform_a_thousand_times() {
    let world = World::start().await;
    let acme = world.tenant("unknown-keys").await;
    let forge = Forge::new(&world, &acme).await;
    let extension = "create extension pg_stat_statements";
    world.postgres().run("registry", extension).await;
    // What the platform asks its registry for each who asks for the keys.
    let asked = async || {
        let sql = "select coalesce(sum(calls), 0)::bigint from pg_stat_statements
             join pg_roles on pg_roles.oid = userid
             where rolname = 'platform' and query like '%from registry.signing_key%'
                 and query like '%private_key%'";
        world.postgres().number("registry", sql).await
    };
    let (began, before) = (Instant::now(), asked().await);
    let mut header = forge.header();
    for n in 0..1000 {
        header.kid = Some(format!("nobody-{n}"));
        let token = forge.signed_with(&header);
        acme.anonymous()
            .bearer(&token)
            .get("/v1/me")
            .await
            .expect(401);
    }
    let times = asked().await - before;
    // Every half minute for keys that nobody knows, and every minute in any case.
    let half_minutes = 1 + i64::try_from(began.elapsed().as_secs() / 30).unwrap();
    assert!(
        (1..=2 * half_minutes).contains(&times),
        "the platform was asked for keys {times} times"
    );
}
