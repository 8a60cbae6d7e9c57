//! Rules of client addresses: who is believed, and what is limited.

use axum::extract::Request;

use super::*;

const PEER: &str = "10.0.0.1";

fn client(trusted: &[&str], peer: &str, forwarded: &[&str]) -> String {
    let proxies = TrustedProxies::new(trusted.iter().map(|net| net.parse().unwrap()));
    let mut headers = HeaderMap::new();
    for line in forwarded {
        headers.append(X_FORWARDED_FOR, line.parse().unwrap());
    }
    proxies.client(peer.parse().unwrap(), &headers).to_string()
}

#[test]
fn forged_header_of_an_untrusted_peer_has_no_effect() {
    assert_eq!(client(&[], PEER, &["1.2.3.4"]), PEER);
    assert_eq!(client(&["192.168.0.0/16"], PEER, &["1.2.3.4"]), PEER);
}

#[test]
fn right_most_untrusted_hop_is_the_client() {
    let trusted = ["10.0.0.0/8"];
    assert_eq!(client(&trusted, PEER, &["1.2.3.4"]), "1.2.3.4");
    assert_eq!(
        client(&trusted, PEER, &["6.6.6.6, 1.2.3.4, 10.9.9.9"]),
        "1.2.3.4"
    );
    assert_eq!(
        client(&trusted, PEER, &["6.6.6.6", "1.2.3.4", "10.9.9.9"]),
        "1.2.3.4"
    );
    assert_eq!(
        client(&trusted, "::ffff:10.0.0.1", &["1.2.3.4:999"]),
        "1.2.3.4"
    );
    assert_eq!(client(&trusted, PEER, &["[2001:db8::1]:80"]), "2001:db8::1");
    assert_eq!(client(&trusted, PEER, &["[2001:db8::1]"]), "2001:db8::1");
}

#[test]
fn unreadable_hop_ends_what_is_believed() {
    let trusted = ["10.0.0.0/8"];
    assert_eq!(client(&trusted, PEER, &["1.2.3.4, nonsense"]), PEER);
    assert_eq!(
        client(&trusted, PEER, &["1.2.3.4, nonsense, 10.0.0.7"]),
        "10.0.0.7"
    );
    assert_eq!(client(&trusted, PEER, &[]), PEER);
}

#[test]
fn hops_are_bounded() {
    let hops = vec!["10.1.1.1"; 1_000].join(",");
    assert_eq!(
        client(&["10.0.0.0/8"], PEER, &[&format!("1.2.3.4,{hops}")]),
        "10.1.1.1"
    );
}

#[test]
fn neighbours_of_one_v6_network_share_a_limit() {
    let key = |text: &str| limit_key(text.parse().unwrap()).to_string();
    assert_eq!(key("2001:db8:1:2::1"), key("2001:db8:1:2:ffff::9"));
    assert_ne!(key("2001:db8:1:2::1"), key("2001:db8:1:3::1"));
    assert_eq!(key("1.2.3.4"), "1.2.3.4/32");
    assert_eq!(key("::ffff:1.2.3.4"), "1.2.3.4/32");
}

#[tokio::test]
async fn extractor_reads_peer_and_proxies() {
    let request = || Request::builder().header(X_FORWARDED_FOR, "1.2.3.4");
    let peer = ConnectInfo(SocketAddr::from(([10, 0, 0, 1], 5)));
    let seen = async |request: Request| {
        let (mut parts, _) = request.into_parts();
        let address = ClientAddress::from_request_parts(&mut parts, &()).await;
        address.unwrap().0.to_string()
    };
    let trusting = TrustedProxies::new(["10.0.0.0/8".parse().unwrap()]);
    let bare = request().body(axum::body::Body::empty()).unwrap();
    assert_eq!(seen(bare).await, "0.0.0.0");
    let direct = request()
        .extension(peer)
        .body(axum::body::Body::empty())
        .unwrap();
    assert_eq!(seen(direct).await, PEER);
    let behind = request().extension(peer).extension(trusting);
    assert_eq!(
        seen(behind.body(axum::body::Body::empty()).unwrap()).await,
        "1.2.3.4"
    );
}
