//! The tenant's header: one id, in one place, that cannot be smuggled.

use contract::Code;
use http::Method;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use world::{Speaker, World};

#[tokio::test]
async fn a_tenant_header_that_is_not_one_id_is_refused() {
    let world = World::shared().await;
    let acme = world.tenant("header").await;
    let id = acme.id().as_str();
    let headless = acme.owner().without_header("x-tenant-id");
    for speaker in [headless.clone(), headless.over_http2()] {
        refuses_what_is_not_one_id(&speaker, id).await;
    }
}

async fn refuses_what_is_not_one_id(speaker: &Speaker, id: &str) {
    let send = async |value: &[u8]| {
        let request = speaker.request(Method::GET, "/v1/me");
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
    send(id.as_bytes()).await.expect(200);
    let twice = speaker.request(Method::GET, "/v1/me");
    let twice = twice.header("x-tenant-id", id).header("x-tenant-id", id);
    let repeated = twice.send().await.expect(400);
    repeated.refused(Code::TenantHeaderRepeated);
}

#[tokio::test]
async fn space_around_the_id_is_no_part_of_it() {
    // RFC 9110, 5.5, for HTTP/1.1; in HTTP/2 it is malformed.
    let world = World::shared().await;
    let acme = world.tenant("spaced").await;
    let headless = acme.owner().without_header("x-tenant-id");
    let value = format!("  {}\t", acme.id());
    let request = headless.request(Method::GET, "/v1/me");
    let request = request.header_bytes("x-tenant-id", value.as_bytes());
    request.send().await.expect(200);
}

/// Kinds of frames.
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const AWAY: u8 = 7;

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A field as HPACK writes it when it compresses nothing.
fn field(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0];
    for text in [name, value] {
        let mut rest = text.len();
        if rest < 127 {
            bytes.push(u8::try_from(rest).unwrap());
        } else {
            bytes.push(127);
            rest -= 127;
            while rest >= 128 {
                bytes.push(u8::try_from(rest % 128).unwrap() | 128);
                rest /= 128;
            }
            bytes.push(u8::try_from(rest).unwrap());
        }
        bytes.extend(text.as_bytes());
    }
    bytes
}

/// Asks over HTTP/2, byte by byte as given: whether a handler was reached.
async fn reached_over_http2(base: &str, fields: &[(&str, &str)]) -> bool {
    let mut stream = TcpStream::connect(base.strip_prefix("http://").unwrap())
        .await
        .unwrap();
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, &[]));
    let block: Vec<u8> = fields
        .iter()
        .flat_map(|(name, value)| field(name, value))
        .collect();
    bytes.extend(frame(HEADERS, 0b101, 1, &block));
    stream.write_all(&bytes).await.unwrap();
    loop {
        let mut head = [0; 9];
        if stream.read_exact(&mut head).await.is_err() {
            return false;
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        stream.read_exact(&mut payload).await.unwrap();
        match head[3] {
            HEADERS => return true,
            RESET | AWAY => return false,
            _ => {}
        }
    }
}

#[tokio::test]
async fn an_upper_case_twin_over_http2_never_reaches_a_handler() {
    let world = World::shared().await;
    let acme = world.tenant("h2-twin").await;
    let bearer = format!("Bearer {}", acme.owner().token());
    let id = acme.id().as_str();
    let base = acme.owner().base().to_owned();
    let mut fields = vec![
        (":method", "GET"),
        (":scheme", "http"),
        (":path", "/v1/me"),
        (":authority", "x"),
        ("authorization", bearer.as_str()),
        ("x-tenant-id", id),
    ];
    assert!(reached_over_http2(&base, &fields).await, "as it should be");
    for twin in ["X-Tenant-Id", "x-Tenant-id"] {
        fields.push((twin, id));
        assert!(
            !reached_over_http2(&base, &fields).await,
            "{twin} beside it"
        );
        fields.remove(5);
        assert!(!reached_over_http2(&base, &fields).await, "{twin} alone");
        fields.pop();
        fields.push(("x-tenant-id", id));
    }
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
