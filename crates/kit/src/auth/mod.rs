//! Who asks: bearer tokens of people ([`access`]) and credentials of services ([`service`]).
//!
//! Deliberately says nothing about what somebody may do in a tenant; that is the services' matter.
//! Invariant: algorithms are pinned by us, never taken from a token's header.

pub mod access;
pub mod service;

use contract::Code;
use http::{HeaderMap, header};

use crate::error::Problem;

/// A longer token is refused before it is looked at. Half of what a head may have: the rest is for other
/// fields.
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// The bearer token of a request.
///
/// # Errors
/// `missing` where there is none; `token-invalid` where there are two, or one that is too long.
pub fn bearer(headers: &HeaderMap, missing: Code) -> Result<&str, Problem> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return Err(Problem::new(missing).detail("Send `Authorization: Bearer <token>`."));
    };
    if values.next().is_some() {
        return Err(Problem::new(Code::TokenInvalid).detail("Send one Authorization header."));
    }
    let token = value
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim());
    match token {
        Some(token) if !token.is_empty() && token.len() <= MAX_TOKEN_BYTES => Ok(token),
        Some(token) if !token.is_empty() => {
            Err(Problem::new(Code::TokenInvalid).detail("The token is too long."))
        }
        _ => Err(Problem::new(missing).detail("Send `Authorization: Bearer <token>`.")),
    }
}
