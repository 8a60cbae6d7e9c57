//! Tenants that are deleted, brought back and purged.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use contract::Code;
use ed25519_dalek::{Signature, VerifyingKey};
use http::Method;
use serde_json::{Value, json};
use world::{Logs, World, WorldOptions, until};

use super::{
    blocked, deleted, done, is_deleted, is_purged, path, post, purged, refuses, remove, tell,
    with_an_entry, with_objects, works,
};
use crate::fleet::canaries::places;
use crate::support::{entry, signup};

#[tokio::test]
async fn a_deleted_tenant_comes_back_with_every_row() {
    let world = World::shared().await;
    let acme = with_an_entry(&world).await;
    let operator = world.operator();
    operator
        .delete(&path(&acme, ""))
        .await
        .expect(409)
        .refused(Code::ConfirmationMissing);
    let preview = operator.delete(&path(&acme, "?dry_run=true")).await;
    assert_eq!(
        preview.expect(200).json()["kept_name"],
        format!("deleted:{}:1", acme.id())
    );
    acme.owner().get("/v1/entries").await.expect(200);
    // Suspended for reading before: so it comes back.
    let body = json!({ "wall": "read_only" });
    post(&operator, &acme, "/suspend", body).await.expect(200);
    remove(&operator, &acme).await.expect(200);
    is_deleted(&world, &acme).await;
    remove(&operator, &acme)
        .await
        .expect(410)
        .refused(Code::TenantDeleted);
    post(&operator, &acme, "/suspend", blocked())
        .await
        .expect(410)
        .refused(Code::TenantDeleted);
    let shown = operator.get(&path(&acme, "")).await.expect(200).json();
    assert_eq!(shown["status"], "deleted");
    assert!(shown["purge_after"].is_string(), "{shown:#}");
    tell(&operator, &acme, "/restore").await.expect(200);
    refuses(&acme, Method::POST, Code::TenantReadOnly).await;
    acme.owner().get("/v1/entries").await.expect(200);
    tell(&operator, &acme, "/restore")
        .await
        .expect(409)
        .refused(Code::Conflict);
    tell(&operator, &acme, "/resume").await.expect(200);
    works(&world, &acme).await;
}

#[tokio::test]
async fn a_dry_run_of_a_purge_lists_what_would_go_and_destroys_nothing() {
    let objects = tempfile::tempdir().unwrap();
    let world = World::with(with_objects(WorldOptions::default(), &objects)).await;
    let acme = with_an_entry(&world).await;
    let operator = world.operator();
    let backup = post(&operator, &acme, "/backups", json!({})).await;
    done(&operator, backup).await;
    let dry = json!({ "dry_run": true });
    post(&operator, &acme, "/purge", dry.clone())
        .await
        .expect(409)
        .refused(Code::Conflict);
    remove(&operator, &acme).await.expect(200);
    let before = world.postgres().names().await;
    let preview: Value = post(&operator, &acme, "/purge", dry.clone())
        .await
        .expect(200)
        .json();
    let database = &preview["databases"][0];
    assert_eq!(database["name"], format!("deleted:{}:1", acme.id()));
    assert_eq!(database["cluster"], "main");
    assert!(
        database["size_bytes"].as_u64() > Some(1_000_000),
        "{preview}"
    );
    assert_eq!(preview["databases"].as_array().map(Vec::len), Some(1));
    assert_eq!(preview["secrets"], 1);
    assert_eq!(preview["objects"]["count"], 1);
    assert!(
        preview["objects"]["size_bytes"].as_u64() > Some(0),
        "{preview}"
    );
    assert!(preview["retained_until"].is_string(), "{preview}");
    let database = format!("database deleted:{}:1", acme.id());
    let after = world.postgres().names().await;
    assert!(before.contains(&database) && after.contains(&database));
    is_deleted(&world, &acme).await;
    let begun = format!("/v1/operations?tenant={}&kind=purge", acme.id());
    let begun: Value = operator.get(&begun).await.expect(200).json();
    assert_eq!(begun["data"], json!([]));
    tell(&operator, &acme, "/restore").await.expect(200);
    works(&world, &acme).await;
}

#[tokio::test]
async fn a_purged_id_is_never_signed_up_again() {
    let world = World::shared().await;
    let acme = with_an_entry(&world).await;
    let operator = world.operator();
    let purge = |body: Value| {
        let (operator, path) = (operator.clone(), path(&acme, "/purge"));
        async move { operator.post(&path, body).await }
    };
    let id = acme.id().as_str();
    purge(json!({ "confirm": id }))
        .await
        .expect(409)
        .refused(Code::Conflict);
    remove(&operator, &acme).await.expect(200);
    let again = signup(acme.slug());
    let refused = world.visitor().post("/v1/signup", &again).await.expect(409);
    refused.refused(Code::SlugTaken);
    for incomplete in [
        json!({}),
        json!({ "confirm": "t_b" }),
        json!({ "confirm": id }),
    ] {
        purge(incomplete)
            .await
            .expect(409)
            .refused(Code::ConfirmationMissing);
    }
    done(&operator, purged(&operator, &acme, "none").await).await;
    is_purged(&world, &acme).await;
    let refused = world.visitor().post("/v1/signup", &again).await.expect(409);
    refused.refused(Code::SlugTaken);
    purge(json!({ "confirm": id, "force": id }))
        .await
        .expect(410)
        .refused(Code::TenantDeleted);
    refuses(&acme, Method::GET, Code::TenantDeleted).await;
}

#[tokio::test]
async fn a_retention_that_is_over_purges_by_itself_in_the_window() {
    let options = WorldOptions::default().platform_setting("purge.window", "00:00-00:00");
    let world = World::with(options).await;
    let acme = deleted(&world).await;
    let over = format!(
        "update registry.tenant set purge_after = now() - interval '1 s' where id = '{}'",
        acme.id()
    );
    world.postgres().run("registry", &over).await;
    until("it is purged", || async {
        let shown: Value = world.operator().get(&path(&acme, "")).await.json();
        shown["purged_at"].is_string()
    })
    .await;
    is_purged(&world, &acme).await;
}

#[tokio::test]
async fn purge_leaves_a_signed_certificate_and_no_canary() {
    let _everything = Logs::everything();
    let objects = tempfile::tempdir().unwrap();
    let world = World::with(with_objects(WorldOptions::default(), &objects)).await;
    let operator = world.operator();
    let (acme, beta) = (with_an_entry(&world).await, with_an_entry(&world).await);
    let canary = format!("canary{:016x}", rand::random::<u64>());
    acme.owner()
        .post("/v1/entries", entry(&canary))
        .await
        .expect(201);
    let tag = operator.get(&path(&acme, "")).await.expect(200);
    operator
        .request(Method::PATCH, &path(&acme, ""))
        .header("if-match", tag.header("etag"))
        .json(json!({ "company": canary, "contact_email": format!("{canary}@acme.example") }))
        .send()
        .await
        .expect(200);
    let backup = post(&operator, &acme, "/backups", json!({})).await;
    done(&operator, backup).await;
    let there = places(&world, objects.path(), &canary).await;
    assert!(
        there.len() >= 2,
        "in its database and in the registry: {there:?}"
    );
    done(&operator, remove(&operator, &acme).await).await;
    done(&operator, purged(&operator, &acme, "none").await).await;
    is_purged(&world, &acme).await;
    let certificate = operator.get(&path(&acme, "/certificate")).await.expect(200);
    let certificate: Value = certificate.json();
    let object = &certificate["body"]["objects"][0];
    assert!(object["sha256"].is_string(), "{certificate:#}");
    let gone = objects.path().join(object["path"].as_str().unwrap());
    assert!(!gone.exists(), "{gone:?}");
    assert!(is_signed(&certificate), "{certificate:#}");
    let left = places(&world, objects.path(), &canary).await;
    assert_eq!(left, Vec::<String>::new());
    // Nor does any file say whose it was, and a neighbour is as before.
    let files = walked(objects.path());
    let of_acme = files
        .iter()
        .filter(|file| file.contains(acme.id().as_str()));
    assert_eq!(of_acme.count(), 0, "{files:?}");
    works(&world, &beta).await;
}

/// The paths of all files beneath a folder.
fn walked(folder: &std::path::Path) -> Vec<String> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            match entry.path().is_dir() {
                true => folders.push(entry.path()),
                false => files.push(entry.path().display().to_string()),
            }
        }
    }
    files
}

/// Whether a certificate's signature is of its body.
fn is_signed(certificate: &Value) -> bool {
    let bytes = |field: &str| {
        let text = certificate[field].as_str().unwrap();
        URL_SAFE_NO_PAD.decode(text).unwrap()
    };
    let key: [u8; 32] = bytes("public_key").try_into().unwrap();
    let key = VerifyingKey::from_bytes(&key).unwrap();
    let signature: [u8; 64] = bytes("signature").try_into().unwrap();
    // A map of serde_json is sorted.
    let body = serde_json::to_string(&certificate["body"]).unwrap();
    let signature = Signature::from_bytes(&signature);
    key.verify_strict(body.as_bytes(), &signature).is_ok()
}

#[tokio::test]
async fn a_certificate_is_proven_by_what_is_published_when_its_key_is_long_forgotten() {
    let world = World::start().await;
    let acme = deleted(&world).await;
    let operator = world.operator();
    let published = async || {
        let keys = world.visitor().get("/v1/certificates/keys").await;
        keys.expect(200).json()["keys"].clone()
    };
    assert_eq!(published().await, json!([]), "none has signed one");
    done(&operator, purged(&operator, &acme, "none").await).await;
    let certificate = operator.get(&path(&acme, "/certificate")).await;
    let certificate: Value = certificate.expect(200).json();
    let key = &certificate["public_key"];
    for _ in 0..2 {
        // As if the new one's time had come and that of the one before were over.
        operator
            .request(Method::POST, "/v1/keys/signing/rotate")
            .send()
            .await
            .expect(200);
        let later = "update registry.signing_key set signs_from = signs_from - interval '1 day',
                         verifies_until = case when verifies_until is not null
                             then now() - interval '1 s' end";
        world.postgres().run("registry", later).await;
    }
    let verify = "select public_key from registry.signing_key
                  where verifies_until is null or verifies_until > now()";
    let verify = world.postgres().texts("registry", verify).await;
    assert!(!verify.contains(&key.as_str().unwrap().to_owned()));
    let expected = json!([{ "kty": "OKP", "crv": "Ed25519", "x": key }]);
    assert_eq!(published().await, expected);
    assert!(is_signed(&certificate), "{certificate:#}");
}
