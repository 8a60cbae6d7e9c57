//! The tenant's header: one id, in one place, that cannot be smuggled.

use contract::Code;
use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use world::World;

#[tokio::test]
async fn a_tenant_header_that_is_not_one_id_is_refused() {
    let world = World::shared().await;
    let acme = world.tenant("header").await;
    let id = acme.id().as_str();
    let headless = acme.owner().without_header("x-tenant-id");
    let send = async |value: &[u8]| {
        let request = headless.request(Method::GET, "/v1/me");
        request.header_bytes("x-tenant-id", value).send().await
    };
    let long = format!("t_{}", "a".repeat(200));
    let huge = format!("t_{}", "a".repeat(8 * 1024));
    let list = format!("{id},{id}");
    let spaced_list = format!("{id}, t_other");
    let upper = id.to_uppercase();
    let cyrillic = id.replace('a', "а");
    let quoted = format!("\"{id}\"");
    let vectors: [&[u8]; 24] = [
        b"",
        b"acme",
        b"t_",
        b"t_a",
        b"t_1acme",
        b"t_ac me",
        b"t_ac\tme",
        b"t_acme;",
        b"t_acme'--",
        b"t_acme'; drop database t_acme; --",
        b"t_acme/../t_beta",
        b"../t_acme",
        b"t_acme%00",
        b"t_acme%2c",
        b"t_ac\xff\xfeme",
        b"stock:1",
        b"tpl:1",
        b"postgres",
        long.as_bytes(),
        huge.as_bytes(),
        list.as_bytes(),
        spaced_list.as_bytes(),
        upper.as_bytes(),
        quoted.as_bytes(),
    ];
    for value in vectors.into_iter().chain([cyrillic.as_bytes()]) {
        let answer = send(value).await;
        let problem = answer
            .clone()
            .expect(400)
            .refused(Code::TenantHeaderMalformed);
        let shown = String::from_utf8_lossy(value);
        assert!(
            problem.detail.is_some_and(|words| words.contains(id)),
            "{shown}: what it needs"
        );
        assert!(
            value.len() < 5 || !answer.text().contains(&*shown),
            "{shown} is not repeated"
        );
    }
    // Space around a value is no part of it (RFC 9110).
    send(format!("  {id}\t").as_bytes()).await.expect(200);
}

#[tokio::test]
async fn a_tenant_named_anywhere_else_is_not_named() {
    let world = World::shared().await;
    let acme = world.tenant("twin").await;
    let headless = acme.owner().without_header("x-tenant-id");
    let id = acme.id().as_str();
    for (name, value) in [
        ("x_tenant_id", id.to_owned()),
        ("tenant-id", id.to_owned()),
        ("x-tenant", id.to_owned()),
        ("cookie", format!("x-tenant-id={id}")),
        ("x-original-url", format!("/?x-tenant-id={id}")),
    ] {
        let request = headless.request(Method::GET, "/v1/me").header(name, &value);
        request
            .send()
            .await
            .expect(400)
            .refused(Code::TenantHeaderMissing);
    }
    let query = format!("/v1/me?x-tenant-id={id}&tenant={id}");
    headless
        .get(&query)
        .await
        .expect(400)
        .refused(Code::TenantHeaderMissing);
    // Beside the right one they change nothing.
    let beta = world.tenant("other-twin").await;
    let noisy = acme.owner().header("x_tenant_id", beta.id().as_str());
    let me = noisy.get("/v1/me").await.expect(200).json();
    assert_eq!(me["tenant"]["id"], id);
    // Any case of the name is the same header, so two are two.
    let raw = format!(
        "GET /v1/me HTTP/1.1\r\nhost: x\r\nX-Tenant-Id: {id}\r\nx-TENANT-id: {id}\r\n\
         authorization: Bearer {}\r\nconnection: close\r\n\r\n",
        acme.owner().token()
    );
    let answer = raw_exchange(acme.owner().base(), raw.as_bytes()).await;
    assert!(answer.contains("tenant-header-repeated"), "{answer}");
}

#[tokio::test]
async fn bytes_that_no_header_may_have_never_reach_a_handler() {
    let world = World::shared().await;
    let acme = world.tenant("raw").await;
    let token = acme.owner().token().to_owned();
    for value in ["t_ac\0me", "t_ac\rme", "t_acme\r\n x", "t_ac\nme"] {
        let raw = format!(
            "GET /v1/me HTTP/1.1\r\nhost: x\r\nx-tenant-id: {value}\r\n\
             authorization: Bearer {token}\r\nconnection: close\r\n\r\n"
        );
        let answer = raw_exchange(acme.owner().base(), raw.as_bytes()).await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 400"),
            "{value:?}: {answer}"
        );
    }
}

async fn raw_exchange(base: &str, request: &[u8]) -> String {
    let address = base.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    // A reset after the answer is as good an end as any.
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}
