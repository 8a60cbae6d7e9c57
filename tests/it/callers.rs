//! Operators and services: every operation of theirs, tried by everybody else.
//!
//! Deliberately generated from the documents, like the matrix of tenants in `isolation`.

use std::collections::BTreeSet;

use contract::credential::{ServiceClaims, ServiceIdentity, ServiceSigner};
use contract::{Code, Secret};
use http::Method;
use serde_json::json;
use world::{Speaker, World, WorldOptions};

use crate::support::{document, operations};

#[tokio::test]
async fn every_operators_operation_needs_a_key_with_its_scope() {
    let objects = tempfile::tempdir().unwrap();
    let folder = objects.path().to_str().unwrap();
    // Of its own: some of what the operator says is done.
    let options = WorldOptions::default().platform_setting("objects.folder", folder);
    let world = World::with(options).await;
    let acme = world.tenant("operators").await;
    let document = document(&world.visitor()).await;
    let id = "op_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f";
    let scopeless = {
        let body = json!({ "name": "reader of nothing", "scopes": ["operations:read"] });
        let key = world
            .operator()
            .post("/v1/operator-keys", body)
            .await
            .expect(201)
            .json();
        world.visitor().bearer(key["key"].as_str().unwrap())
    };
    let mut tried = 0;
    let mut open = BTreeSet::new();
    for operation in operations(&document) {
        if operation.access["door"] != "operator" {
            open.insert(format!("{} {}", operation.method, operation.path));
            continue;
        }
        tried += 1;
        let path = operation.path.replace("{id}", id).replace("{name}", "main");
        let try_as = async |speaker: Speaker| {
            let request = speaker.request(operation.method.clone(), &path);
            if operation.method == Method::GET || operation.method == Method::DELETE {
                request.send().await
            } else {
                request.json(json!({})).send().await
            }
        };
        let forged = "opk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
        for speaker in [
            world.visitor(),
            world.visitor().bearer("nonsense"),
            world.visitor().bearer(forged),
            acme.owner().at(&world.platform_url()),
            world.service().at(&world.platform_url()),
        ] {
            try_as(speaker)
                .await
                .expect(401)
                .refused(Code::OperatorKeyInvalid);
        }
        let answer = try_as(scopeless.clone()).await;
        if operation.access["scope"] != "operations:read" {
            answer.expect(403).refused(Code::PermissionMissing);
        }
        let answer = try_as(world.operator()).await;
        assert!(
            !matches!(answer.status(), 401 | 403 | 500..),
            "{}: {answer}",
            operation.id
        );
    }
    assert!(tried >= 8, "the document has the operations: {tried}");
    let known = [
        "GET /v1/certificates/keys",
        "GET /v1/operations/{id}",
        "GET /v1/tiers",
        "POST /v1/signup",
    ];
    assert_eq!(
        open,
        known.map(str::to_owned).into(),
        "a new open door needs its tests"
    );
}

#[tokio::test]
async fn a_revoked_operator_key_is_refused_at_once() {
    let world = World::shared().await;
    let body = json!({ "name": "for a while", "scopes": ["tenants:read"] });
    let made = world
        .operator()
        .post("/v1/operator-keys", body)
        .await
        .expect(201)
        .json();
    let temp = world.visitor().bearer(made["key"].as_str().unwrap());
    temp.get("/v1/tenants").await.expect(200);
    let path = format!("/v1/operator-keys/{}", made["id"].as_str().unwrap());
    world.operator().delete(&path).await.expect(204);
    temp.get("/v1/tenants")
        .await
        .expect(401)
        .refused(Code::OperatorKeyInvalid);
}

#[tokio::test]
async fn a_key_does_not_revoke_itself() {
    let world = World::shared().await;
    let body = json!({ "name": "by itself", "scopes": ["keys:write"] });
    let made = world.operator().post("/v1/operator-keys", body).await;
    let made = made.expect(201).json();
    let itself = world.visitor().bearer(made["key"].as_str().unwrap());
    let path = format!("/v1/operator-keys/{}", made["id"].as_str().unwrap());
    itself
        .delete(&path)
        .await
        .expect(409)
        .refused(Code::Conflict);
    world.operator().delete(&path).await.expect(204);
}

#[tokio::test]
async fn every_internal_operation_needs_the_right_service() {
    let world = World::shared().await;
    let acme = world.tenant("internal").await;
    for (right, wrong) in [
        (
            world.service(),
            world.platform().at(&world.platform_internal_url()),
        ),
        (
            world.platform(),
            world.service().at(&world.app_internal_url(0)),
        ),
    ] {
        let document = document(&right).await;
        let operations = operations(&document);
        assert!(!operations.is_empty());
        for operation in operations {
            assert_eq!(operation.access["door"], "service", "{}", operation.id);
            let path = operation.path.replace("{id}", acme.id().as_str());
            let path = path.replace("{tenant}", acme.id().as_str());
            let try_as = async |speaker: &Speaker| {
                let request = speaker.request(operation.method.clone(), &path);
                match operation.method {
                    Method::GET => request.send().await,
                    _ => request.json(json!({})).send().await,
                }
            };
            for speaker in [
                right.clone().without_credential(),
                right.clone().bearer("nonsense"),
                right.clone().bearer(acme.owner().token()),
                right.clone().bearer(world.operator().token()),
                wrong.clone(),
            ] {
                let answer = try_as(&speaker).await;
                answer.expect(401).refused(Code::ServiceCredentialInvalid);
            }
        }
    }
    let info = format!("/internal/tenants/{}/db-info", acme.id());
    world.service().get(&info).await.expect(200);
    // Nothing internal is reached over the public listeners.
    for base in [world.app_url(0), world.platform_url()] {
        for path in [
            info.as_str(),
            "/internal/migrate",
            "/internal/heartbeat",
            "/metrics",
        ] {
            let answer = world.service().at(&base).get(path).await;
            assert_eq!(answer.status(), 404, "{base}{path}: {answer}");
        }
    }
}

#[tokio::test]
async fn a_service_credential_is_good_once_for_one_request_and_for_a_minute() {
    use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
    let world = World::shared().await;
    let acme = world.tenant("once").await;
    let info = format!("/internal/tenants/{}/db-info", acme.id());
    let url = format!("{}{info}", world.platform_internal_url());
    let key = EncodingKey::from_secret(world.service_key().as_bytes());
    let now = time::OffsetDateTime::now_utc().unix_timestamp();
    let claims = |issued: i64, lifetime: i64| ServiceClaims {
        iss: ServiceIdentity::AppService,
        aud: ServiceIdentity::PlatformService,
        iat: issued,
        exp: issued + lifetime,
        jti: uuid::Uuid::now_v7(),
        htm: "GET".to_owned(),
        htu: url.clone(),
    };
    let signed =
        |claims: &ServiceClaims, algorithm| encode(&Header::new(algorithm), claims, &key).unwrap();
    let ask = async |token: &str| world.service().bearer(token).get(&info).await;
    let once = signed(&claims(now, 60), Algorithm::HS256);
    ask(&once).await.expect(200);
    ask(&once)
        .await
        .expect(401)
        .refused(Code::ServiceCredentialInvalid);
    let mut misdirected = claims(now, 60);
    misdirected.aud = ServiceIdentity::AppService;
    let mut impostor = claims(now, 60);
    impostor.iss = ServiceIdentity::PlatformService;
    let mut of_another_method = claims(now, 60);
    of_another_method.htm = "POST".to_owned();
    let mut of_another_tenant = claims(now, 60);
    of_another_tenant.htu = url.replace(acme.id().as_str(), "t_another");
    for token in [
        signed(&claims(now - 120, 60), Algorithm::HS256),
        signed(&claims(now, 3600), Algorithm::HS256),
        signed(&claims(now, 60), Algorithm::HS512),
        signed(&misdirected, Algorithm::HS256),
        signed(&impostor, Algorithm::HS256),
        signed(&of_another_method, Algorithm::HS256),
        signed(&of_another_tenant, Algorithm::HS256),
    ] {
        ask(&token)
            .await
            .expect(401)
            .refused(Code::ServiceCredentialInvalid);
    }
}

#[tokio::test]
async fn a_credential_for_one_replica_of_app_service_is_refused_by_another() {
    let world = World::shared().await;
    let signer = ServiceSigner::new(
        &Secret::new(world.platform_key().to_owned()),
        ServiceIdentity::PlatformService,
        ServiceIdentity::AppService,
    );
    let path = "/internal/migrate";
    let own = format!("{}{path}", world.app_internal_url(0));
    let others = format!("http://127.0.0.1:9{path}");
    // Nothing of the body fits: it is looked at after the credential.
    for (url, status) in [(own, 422), (others, 401)] {
        let token = signer.token(&Method::POST, &url).unwrap();
        let answer = world.platform().bearer(&token).post(path, json!({})).await;
        answer.expect(status);
    }
}
