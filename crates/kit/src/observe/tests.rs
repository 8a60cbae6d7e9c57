//! What every answer of a dressed router has, whatever happened inside.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::{AppendHeaders, IntoResponse};
use axum::routing::{get, post};
use contract::{Code, ProblemDocument};
use http::{Request, Response, StatusCode, header};
use hyper::body::{Body as HttpBody, Bytes, Frame, SizeHint};
use tower::ServiceExt;
use utoipa::openapi::OpenApi;

use crate::error::Problem;
use crate::extract::Json;
use crate::http::{CorsSettings, Layers, dress};

async fn slow() {
    std::future::pending::<()>().await;
}

async fn panics() {
    panic!("a secret detail");
}

async fn refuses() -> Problem {
    Problem::new(Code::SlugTaken).detail("acme is taken.")
}

/// A refusal to which a layer inside adds two values of one header.
async fn varies() -> impl IntoResponse {
    let values = [(header::VARY, "accept-language"), (header::VARY, "origin")];
    (AppendHeaders(values), Problem::new(Code::SlugTaken))
}

async fn echo(Json(value): Json<serde_json::Value>) -> Json<serde_json::Value> {
    Json(value)
}

fn router() -> Router {
    let routes = Router::new()
        .route("/slow", get(slow))
        .route("/panics", get(panics))
        .route("/refuses", get(refuses))
        .route("/varies", get(varies))
        .route("/echo", post(echo));
    let layers = Layers {
        listener: "test",
        deadline: Some(Duration::from_millis(20)),
        body_bytes: 256,
        cors: CorsSettings {
            allowed_origins: vec!["https://app.example.com".to_owned()],
        },
        trusted_proxies: crate::address::TrustedProxies::default(),
    };
    dress(routes, &OpenApi::default(), &layers).unwrap()
}

async fn ask(request: Request<Body>) -> Response<Body> {
    router().oneshot(request).await.unwrap()
}

async fn problem(response: Response<Body>) -> ProblemDocument {
    assert_eq!(
        response.headers()["content-type"],
        "application/problem+json"
    );
    let id = response.headers()["x-request-id"]
        .to_str()
        .unwrap()
        .to_owned();
    let bytes = axum::body::to_bytes(response.into_body(), 4096)
        .await
        .unwrap();
    let document: ProblemDocument = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(document.request_id, Some(id));
    document
}

fn request(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).unwrap()
}

#[tokio::test]
async fn every_failure_is_a_problem_that_names_its_request() {
    for (path, code) in [
        ("/slow", Code::Timeout),
        ("/panics", Code::Internal),
        ("/refuses", Code::SlugTaken),
        ("/nowhere", Code::RouteNotFound),
        ("/echo", Code::MethodNotAllowed),
    ] {
        let response = ask(request(path)).await;
        assert_eq!(response.status().as_u16(), code.status(), "{path}");
        assert_eq!(response.headers()["cache-control"], "no-store");
        assert_eq!(response.headers()["x-content-type-options"], "nosniff");
        let retry = response.headers().contains_key("retry-after");
        assert_eq!(retry, code.is_retryable(), "{path}");
        let document = problem(response).await;
        assert_eq!(document.code, code);
        assert!(!document.detail.unwrap_or_default().contains("secret"));
    }
}

#[tokio::test]
async fn a_harmless_request_id_is_kept_and_another_replaced() {
    for (sent, kept) in [
        ("abc-123", true),
        ("a b", false),
        ("x\u{7f}", false),
        (&*"a".repeat(65), false),
    ] {
        let Ok(value) = http::HeaderValue::from_bytes(sent.as_bytes()) else {
            continue;
        };
        let mut request = request("/refuses");
        request.headers_mut().insert("x-request-id", value);
        let response = ask(request).await;
        assert_eq!(
            response.headers()["x-request-id"].as_bytes() == sent.as_bytes(),
            kept,
            "{sent:?}"
        );
    }
}

#[tokio::test]
async fn bodies_are_limited() {
    let large = format!("\"{}\"", "x".repeat(300));
    for (body, content_type, code) in [
        (large.as_str(), "application/json", Code::BodyTooLarge),
        ("{}", "text/plain", Code::ContentTypeUnsupported),
        ("{", "application/json", Code::JsonMalformed),
    ] {
        let request = Request::post("/echo")
            .header("content-type", content_type)
            .body(Body::from(body.to_owned()))
            .unwrap();
        assert_eq!(problem(ask(request).await).await.code, code);
    }
}

#[tokio::test]
async fn a_body_that_is_announced_too_large_is_not_waited_for() {
    let never = Body::from_stream(futures::stream::pending::<Result<Bytes, Infallible>>());
    let sized = Body::new(Announced {
        bytes: 257,
        inner: never,
    });
    // It would come to nothing until the deadline.
    let request = Request::post("/echo").header("content-type", "application/json");
    let answer = ask(request.body(sized).unwrap()).await;
    assert_eq!(problem(answer).await.code, Code::BodyTooLarge);
    // One that says nothing of its size is read as far as it may be.
    let piece = || Ok::<_, Infallible>(Bytes::from_static(&[b' '; 64]));
    let endless = Body::from_stream(futures::stream::repeat_with(piece));
    let request = Request::post("/echo").header("content-type", "application/json");
    let answer = ask(request.body(endless).unwrap()).await;
    assert_eq!(problem(answer).await.code, Code::BodyTooLarge);
}

/// A body that says how long it will be.
struct Announced {
    bytes: u64,
    inner: Body,
}

impl HttpBody for Announced {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.inner).poll_frame(context)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes)
    }
}

#[tokio::test]
async fn browsers_of_other_origins_are_let_in_by_name() {
    for (origin, allowed) in [
        ("https://app.example.com", true),
        ("https://evil.example", false),
    ] {
        for (path, status) in [
            ("/refuses", StatusCode::CONFLICT),
            ("/slow", StatusCode::SERVICE_UNAVAILABLE),
            ("/panics", StatusCode::INTERNAL_SERVER_ERROR),
        ] {
            let mut request = request(path);
            let value = http::HeaderValue::from_static(origin);
            request.headers_mut().insert("origin", value);
            let response = ask(request).await;
            assert_eq!(response.status(), status);
            let header = response
                .headers()
                .contains_key("access-control-allow-origin");
            assert_eq!(header, allowed, "{origin}, {path}");
        }
    }
}

#[tokio::test]
async fn a_browser_that_asks_first_is_answered_like_everybody() {
    let asked = Request::options("/echo")
        .header("origin", "https://app.example.com")
        .header("access-control-request-method", "POST");
    let response = ask(asked.body(Body::empty()).unwrap()).await;
    assert_eq!(response.status(), StatusCode::OK);
    let headers = response.headers();
    assert_eq!(
        headers["access-control-allow-origin"],
        "https://app.example.com"
    );
    // So it has its access line.
    assert!(headers.contains_key("x-request-id"));
}

#[tokio::test]
async fn every_value_that_another_layer_gave_a_problem_survives() {
    let response = ask(request("/varies")).await;
    let values = response.headers().get_all(header::VARY).iter();
    let said: Vec<&str> = values.map(|value| value.to_str().unwrap()).collect();
    for value in ["accept-language", "origin", "authorization, x-tenant-id"] {
        assert!(said.contains(&value), "{value} of {said:?}");
    }
    assert_eq!(problem(response).await.code, Code::SlugTaken);
}
