//! Which content coding an answer may have, settled before a handler runs.
//!
//! Deliberately never a refusal: a client that accepts neither gzip nor the plain body gets the plain
//! body (RFC 9110, 12.5.3 leaves that open), because a 406 after the handler would hide what it did.
//! Invariant: inside, a request has the one `Accept-Encoding: gzip`, or none.

#[cfg(test)]
mod tests;

use axum::extract::Request;
use http::{HeaderMap, HeaderValue, header};

/// Replaces what a client accepts by what it gets.
pub(super) fn settle(mut request: Request) -> Request {
    let headers = request.headers_mut();
    if headers.contains_key(header::ACCEPT_ENCODING) {
        if prefers_gzip(headers) {
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        } else {
            headers.remove(header::ACCEPT_ENCODING);
        }
    }
    request
}

/// Whether gzip is acceptable, and no less than the plain body where that is spoken of.
fn prefers_gzip(headers: &HeaderMap) -> bool {
    let (mut gzip, mut plain, mut others) = (None, None, None);
    for (coding, weight) in weights(headers) {
        let slot = match coding.to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => &mut gzip,
            "identity" => &mut plain,
            "*" => &mut others,
            _ => continue,
        };
        slot.get_or_insert(weight);
    }
    let gzip = gzip.or(others).unwrap_or(0.0);
    gzip > 0.0 && gzip >= plain.or(others).unwrap_or(0.0)
}

/// Every coding with its weight; what is malformed counts as not said.
fn weights(headers: &HeaderMap) -> impl Iterator<Item = (&str, f32)> {
    let values = headers.get_all(header::ACCEPT_ENCODING).into_iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|element| {
            let Some((coding, parameter)) = element.split_once(';') else {
                return Some((element.trim(), 1.0));
            };
            let (name, weight) = parameter.split_once('=')?;
            let weight: f32 = weight.trim().parse().ok()?;
            let valid = name.trim().eq_ignore_ascii_case("q") && (0.0..=1.0).contains(&weight);
            valid.then_some((coding.trim(), weight))
        })
}
