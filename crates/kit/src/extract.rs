//! Extractors that refuse with a problem document: [`Json`], [`Path`], [`Query`].
//!
//! Deliberately thin over axum's own. Invariant: no refusal of axum's reaches a client as text.

mod objects;
mod part;

use axum::RequestExt as _;
use axum::body::{Bytes, HttpBody as _};
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::response::{IntoResponse, Response};
use contract::Code;
use http::{StatusCode, header, request};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Problem;
use objects::Objects;

pub use part::PartRefused;

/// PostgreSQL keeps no text with one.
pub(crate) const NO_NUL: &str = "text must not contain NUL characters";

/// Levels of arrays and objects in a body.
const MAX_DEPTH: usize = 127;

/// A JSON body, in and out.
///
/// In: `application/json` of bounded size, not compressed, at most 127 levels deep, an object wherever a
/// struct is meant, no text with a NUL character; each refusal points at the field.
#[derive(Debug, Clone, Copy)]
pub struct Json<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            return Err(Problem::new(Code::ContentTypeUnsupported));
        }
        uncoded(request.headers())?;
        let bytes = Bytes::from_request(within_limit(request)?, state)
            .await
            .map_err(|rejection| {
                if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
                    Problem::new(Code::BodyTooLarge)
                } else {
                    Problem::new(Code::JsonMalformed)
                        .detail("The body broke off.")
                        .caused_by(rejection)
                }
            })?;
        parse(&bytes).map(Self)
    }
}

/// Nobody waits for a body that is announced to be too large.
fn within_limit(request: Request) -> Result<Request, Problem> {
    let announced = request.body().size_hint().lower();
    let request = request.with_limited_body();
    match request.body().size_hint().upper() {
        Some(most) if announced > most => Err(Problem::new(Code::BodyTooLarge)),
        _ => Ok(request),
    }
}

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

fn is_json(headers: &http::HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .is_some_and(|media| {
            let media = media.trim();
            media.eq_ignore_ascii_case("application/json")
        })
}

/// Refuses a body that is compressed: nothing here unpacks one.
///
/// # Errors
/// `content-type-unsupported` where `Content-Encoding` says anything but `identity`.
pub fn uncoded(headers: &http::HeaderMap) -> Result<(), Problem> {
    let codings = headers.get_all(header::CONTENT_ENCODING);
    let plain = codings.iter().all(|value| {
        let mut codings = value.as_bytes().split(|&byte| byte == b',');
        codings.all(|coding| {
            let coding = coding.trim_ascii();
            coding.is_empty() || coding.eq_ignore_ascii_case(b"identity")
        })
    });
    match plain {
        true => Ok(()),
        false => Err(Problem::new(Code::ContentTypeUnsupported)
            .detail("Send the body as it is, without Content-Encoding.")),
    }
}

/// Parses a JSON text into a `T`, pointing at the field that does not fit.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // serde_json's own limit does not reach into what is kept as raw text.
    if depth(bytes) > MAX_DEPTH {
        let detail = format!("The body is nested deeper than {MAX_DEPTH} levels.");
        return Err(Problem::new(Code::JsonMalformed).detail(detail));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let read = serde_path_to_error::deserialize(Objects(&mut deserializer));
    let value = read.map_err(|error| {
        let pointer = pointer(error.path());
        let inner = error.into_inner();
        match inner.classify() {
            serde_json::error::Category::Data => refused(pointer, &inner.to_string()),
            _ => Problem::new(Code::JsonMalformed).detail(inner.to_string()),
        }
    })?;
    deserializer
        .end()
        .map_err(|error| Problem::new(Code::JsonMalformed).detail(error.to_string()))?;
    Ok(value)
}

/// How deep the brackets of a JSON text go.
fn depth(bytes: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut rest = bytes.iter();
    while let Some(byte) = rest.next() {
        match byte {
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => skip_string(&mut rest),
            _ => {}
        }
    }
    deepest
}

/// Skips the rest of a string.
fn skip_string(rest: &mut std::slice::Iter<'_, u8>) {
    while let Some(byte) = rest.next() {
        match byte {
            b'"' => return,
            b'\\' => drop(rest.next()),
            _ => {}
        }
    }
}

/// A field, or a part of it, that does not fit, in serde's words.
fn refused(mut pointer: String, words: &str) -> Problem {
    let words = match PartRefused::split(words) {
        None => words,
        Some((part, rule)) => {
            pointer.push_str(part);
            rule
        }
    };
    Problem::field(pointer, without_position(words))
}

/// serde_json ends its words with a position, which means little to who sees a pointer.
fn without_position(text: &str) -> String {
    text.rsplit_once(" at line ")
        .map_or(text, |(words, _)| words)
        .to_owned()
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    let mut pointer = String::new();
    for segment in path.iter() {
        match segment {
            Segment::Seq { index } => push_member(&mut pointer, &index.to_string()),
            Segment::Map { key } => push_member(&mut pointer, key),
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    pointer
}

/// Leads a JSON pointer into a member (RFC 6901).
pub(crate) fn push_member(pointer: &mut String, name: &str) {
    pointer.push('/');
    pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
}

/// Parameters of the path.
#[derive(Debug, Clone, Copy)]
pub struct Path<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut request::Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Self(value)),
            Err(PathRejection::FailedToDeserializePathParams(error)) => {
                Err(Problem::new(Code::IdMalformed).detail(error.body_text()))
            }
            Err(rejection) => Err(Problem::internal(rejection)),
        }
    }
}

/// Parameters of the query string.
#[derive(Debug, Clone, Copy)]
pub struct Query<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut request::Parts, state: &S) -> Result<Self, Problem> {
        axum::extract::Query::from_request_parts(parts, state)
            .await
            .map(|axum::extract::Query(value)| Self(value))
            .map_err(|rejection: QueryRejection| {
                Problem::new(Code::QueryInvalid).detail(rejection.body_text())
            })
    }
}

#[cfg(test)]
mod tests;
