//! What clients accept, and what they get.

use axum::body::Body;
use http::header::ACCEPT_ENCODING;

use super::settle;

#[test]
fn a_client_gets_gzip_or_the_plain_body_and_never_a_refusal() {
    for (accepted, gzip) in [
        (&["gzip"][..], true),
        (&["GZIP"], true),
        (&["deflate, gzip;q=0.5, br"], true),
        (&["br", "gzip"], true),
        (&["*"], true),
        (&["identity;q=0, *"], true),
        (&["gzip;q=0.3, identity;q=0.3"], true),
        (&[""], false),
        (&["br"], false),
        (&["identity"], false),
        (&["gzip;q=0"], false),
        (&["gzip;q=0, *"], false),
        (&["gzip;q=0.2, identity;q=0.3"], false),
        (&["identity;q=0"], false),
        (&["*;q=0"], false),
        (&["gzip;q=0, identity;q=0"], false),
        (&["gzip;q=2"], false),
        (&["gzip;q=NaN"], false),
        (&["gzip;level=9"], false),
        (&[",;=,;q=,"], false),
    ] {
        let mut request = http::Request::new(Body::empty());
        for value in accepted {
            let value = value.parse().unwrap();
            request.headers_mut().append(ACCEPT_ENCODING, value);
        }
        let settled = settle(request);
        let values: Vec<_> = settled.headers().get_all(ACCEPT_ENCODING).iter().collect();
        let expected: &[&str] = if gzip { &["gzip"] } else { &[] };
        assert_eq!(values, expected, "{accepted:?}");
    }
}
