//! Extractors that refuse with a problem document: [`Json`], [`Path`], [`Query`].
//!
//! Deliberately thin over axum's own. Invariant: no refusal of axum's reaches a client as text.

mod objects;

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

/// A JSON body, in and out.
///
/// In: `application/json` of bounded size, at most 127 levels deep, an object wherever a struct is
/// meant; each refusal points at the field.
#[derive(Debug, Clone, Copy)]
pub struct Json<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            return Err(Problem::new(Code::ContentTypeUnsupported));
        }
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

/// Parses a JSON text into a `T`, pointing at the field that does not fit.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let read = serde_path_to_error::deserialize(Objects(&mut deserializer));
    let value = read.map_err(|error| {
        let pointer = pointer(error.path());
        let inner = error.into_inner();
        match inner.classify() {
            serde_json::error::Category::Data => {
                Problem::field(pointer, without_position(&inner.to_string()))
            }
            _ => Problem::new(Code::JsonMalformed).detail(inner.to_string()),
        }
    })?;
    deserializer
        .end()
        .map_err(|error| Problem::new(Code::JsonMalformed).detail(error.to_string()))?;
    Ok(value)
}

/// serde_json ends its words with a position, which means little to who sees a pointer.
fn without_position(text: &str) -> String {
    text.rsplit_once(" at line ")
        .map_or(text, |(words, _)| words)
        .to_owned()
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    path.iter()
        .filter_map(|segment| match segment {
            Segment::Seq { index } => Some(format!("/{index}")),
            Segment::Map { key } => Some(format!("/{}", key.replace('~', "~0").replace('/', "~1"))),
            Segment::Enum { .. } | Segment::Unknown => None,
        })
        .collect()
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
