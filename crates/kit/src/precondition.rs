//! Versions as entity tags, and the preconditions of changes (`If-Match`).
//!
//! Deliberately strict: one strong tag of ours, no lists, no `*`, so that a change always says what
//! it was made from. Invariant: the tag of version `n` is `"n"`.

#[cfg(test)]
mod tests;

use axum::extract::FromRequestParts;
use contract::Code;
use http::{HeaderMap, HeaderValue, header, request};
use serde::{Deserialize, Serialize};
use utoipa::openapi::Required;
use utoipa::openapi::path::Operation;

use crate::error::Problem;
use crate::openapi::{self, Describe, Header};

/// How often a thing was changed, counted from 1.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(transparent)]
#[schema(value_type = i64, minimum = 1, example = 1)]
pub struct Version(pub i64);

impl Version {
    /// The value of an `ETag` header.
    pub fn etag(self) -> HeaderValue {
        // Digits and quotes always fit a header.
        HeaderValue::from_str(&format!("\"{}\"", self.0))
            .unwrap_or(HeaderValue::from_static("\"\""))
    }

    /// Reads the one tag of an `If-Match` header.
    fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('"')?.strip_suffix('"')?;
        let plain = (1..=18).contains(&digits.len())
            && digits.bytes().all(|b| b.is_ascii_digit())
            && !digits.starts_with('0');
        plain.then(|| digits.parse().ok().map(Self)).flatten()
    }
}

/// The version that a change was made from; a request without one is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IfMatch(pub Version);

/// The version that a change was made from, where the caller cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaybeIfMatch(pub Option<Version>);

fn read(headers: &HeaderMap) -> Result<Option<Version>, Problem> {
    let mut values = headers.get_all(header::IF_MATCH).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let refused = || {
        Problem::new(Code::HeaderInvalid).and_field(
            "If-Match",
            "one strong entity tag from an ETag header, such as \"3\"",
        )
    };
    if values.next().is_some() {
        return Err(refused());
    }
    value
        .to_str()
        .ok()
        .and_then(|text| Version::parse(text.trim()))
        .map(Some)
        .ok_or_else(refused)
}

impl<S: Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut request::Parts, _state: &S) -> Result<Self, Problem> {
        read(&parts.headers)?.map(Self).ok_or_else(|| {
            Problem::new(Code::IfMatchMissing)
                .detail("Send the ETag of what you read in an If-Match header.")
        })
    }
}

impl<S: Sync> FromRequestParts<S> for MaybeIfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut request::Parts, _state: &S) -> Result<Self, Problem> {
        read(&parts.headers).map(Self)
    }
}

impl Describe for IfMatch {
    fn describe(operation: &mut Operation) {
        describe(operation, Required::True, "The ETag of what was read.");
    }
}

impl Describe for MaybeIfMatch {
    fn describe(operation: &mut Operation) {
        describe(
            operation,
            Required::False,
            "Only if this is the ETag still.",
        );
    }
}

fn describe(operation: &mut Operation, required: Required, description: &str) {
    let header = Header {
        name: "If-Match",
        required,
        description,
        pattern: "^\"[1-9][0-9]{0,17}\"$",
        example: "\"1\"",
    };
    openapi::header(operation, header);
}
