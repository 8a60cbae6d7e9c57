//! A cluster whose server shows a certificate of an authority that only its operators know.
//!
//! Deliberately with platform-service as a process: what it trusts is named in its environment. Invariant: a
//! certificate of somebody else, or for another name, lets nobody log in.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::json;
use world::{Postgres, until};

use super::addresses::{change, refused, tenant_on};
use crate::fleet::backups::{Keeping, back_up};

const PROGRAM: &str = env!("CARGO_BIN_EXE_world-platform");

/// Lets a server speak TLS with a certificate for `localhost`; gives the certificate of its authority.
async fn certified(server: &Postgres) -> String {
    let mut authority = CertificateParams::new([]).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // By default it would have the name of what it signs.
    let name = &mut authority.distinguished_name;
    name.push(DnType::CommonName, "An authority of our own");
    let authority_key = KeyPair::generate().unwrap();
    let root = authority.self_signed(&authority_key).unwrap().pem();
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let certificate = certificate.signed_by(&key, &issuer).unwrap();
    for (name, text) in [("crt", certificate.pem()), ("key", key.serialize_pem())] {
        let written = format!(
            "copy (select unnest(string_to_array('{}', '|'))) to program 'umask 077; cat > server.{name}'",
            text.trim().replace('\n', "|")
        );
        server.run("postgres", &written).await;
    }
    server.run("postgres", "alter system set ssl = on").await;
    server.run("postgres", "select pg_reload_conf()").await;
    root
}

#[tokio::test]
async fn a_servers_certificate_is_verified_with_the_authorities_that_operators_name() {
    let keeping = Keeping::start(crate::fleet::harness::roomy()).await;
    let world = &keeping.world;
    let second = world.second_cluster().await;
    let tenant = tenant_on(world, second).await;
    let root = keeping.folder.path().join("root.pem");
    std::fs::write(&root, certified(second.postgres()).await).unwrap();
    let verified = json!({ "tls": "verify-full", "host": "localhost" });
    until("the server speaks TLS", || async {
        let answer = change(world, "second", json!({ "tls": "require" })).await;
        answer.status() == 200
    })
    .await;

    let words = refused(change(world, "second", verified.clone()).await, "/tls");
    assert!(words.contains("UnknownIssuer"), "{words}");
    let operator = world.operator();
    world.kill_platform();
    let trusts = [("PGSSLROOTCERT", root.to_str().unwrap())];
    let process = world.platform_process_with(PROGRAM, &trusts).await;
    world.direct_to(&process);
    let operator = operator.at(&process.url());
    let asked = async |body| operator.patch("/v1/clusters/second", body).await;
    let another = json!({ "tls": "verify-full", "host": "127.0.0.1" });
    let words = refused(asked(another).await, "/tls");
    assert!(words.contains("not valid for"), "{words}");
    let shown = asked(verified).await.expect(200).json();
    assert_eq!(shown["tls"], "verify-full", "{shown:#}");
    // So do the programs that it starts.
    back_up(&operator, &tenant, "none").await;
    assert_eq!(keeping.objects().len(), 1);
}
