//! The layers that every listener wears, and the endpoints that every service has.
//!
//! Deliberately the same for both services. Invariant: every answer, also of an unknown path or
//! method, is a problem document or what the OpenAPI document says.

mod coding;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware;
use axum::response::IntoResponse;
use axum::routing::get;
use contract::Code;
use http::{HeaderName, HeaderValue, Method, header};
use serde::Deserialize;
use tower::util::MapRequestLayer;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{NotForContentType, Predicate as _, SizeAbove};
use tower_http::cors::CorsLayer;
use utoipa::openapi::OpenApi;

use crate::address::TrustedProxies;
use crate::docs::{self, OperationIds};
use crate::error::Problem;
use crate::observe::{Observed, REQUEST_ID, bound, observe};

/// Answers below this are sent as they are.
const COMPRESS_ABOVE_BYTES: u64 = 1024;

/// How a listener treats requests.
#[derive(Debug, Clone)]
pub struct Layers {
    /// Its name in metrics and access lines.
    pub listener: &'static str,
    /// The longest that a request may take.
    pub deadline: Option<Duration>,
    /// The largest body, in bytes.
    pub body_bytes: usize,
    /// Who may call from a browser.
    pub cors: CorsSettings,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: TrustedProxies,
}

impl Layers {
    /// Of a listener for services alone. What it is asked bounds itself, so it has no deadline.
    pub fn internal(body_bytes: usize) -> Self {
        Self {
            listener: "internal",
            deadline: None,
            body_bytes,
            cors: CorsSettings::default(),
            trusted_proxies: TrustedProxies::default(),
        }
    }
}

/// Who may call from a browser.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorsSettings {
    /// Origins, e.g. `https://app.example.com`; none means no browser of another origin.
    pub allowed_origins: Vec<String>,
}

/// Why a listener cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum Undressed {
    /// By what the settings say.
    #[error(transparent)]
    Origin(#[from] InvalidOrigin),
    /// Its API's document cannot be written.
    #[error("the API's document cannot be written")]
    Document(#[from] serde_json::Error),
}

/// An origin in the settings that cannot stand in a header.
#[derive(Debug, thiserror::Error)]
#[error("cors.allowed_origins: {0:?} is not an origin like https://app.example.com")]
pub struct InvalidOrigin(String);

impl CorsSettings {
    fn layer(&self) -> Result<Option<CorsLayer>, InvalidOrigin> {
        if self.allowed_origins.is_empty() {
            return Ok(None);
        }
        let origins = self
            .allowed_origins
            .iter()
            .map(|origin| {
                let valid = origin.starts_with("http://") || origin.starts_with("https://");
                HeaderValue::from_str(origin)
                    .ok()
                    .filter(|_| valid && !origin.ends_with('/'))
                    .ok_or_else(|| InvalidOrigin(origin.clone()))
            })
            .collect::<Result<Vec<_>, _>>()?;
        const MAX_AGE: Duration = Duration::from_secs(600);
        let headers = [
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            header::IF_MATCH,
            HeaderName::from_static("x-tenant-id"),
            HeaderName::from_static("idempotency-key"),
            REQUEST_ID,
        ];
        let methods = [
            Method::GET,
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
        ];
        Ok(Some(
            CorsLayer::new()
                .allow_origin(origins)
                .allow_methods(methods)
                .allow_headers(headers)
                .expose_headers([
                    header::ETAG,
                    header::LOCATION,
                    header::RETRY_AFTER,
                    REQUEST_ID,
                ])
                .max_age(MAX_AGE),
        ))
    }
}

/// Dresses a router: documentation, fallbacks, limits, CORS, observation, compression.
///
/// # Errors
/// Names an origin of the settings that is none; the document cannot be written.
pub fn dress(router: Router, document: &OpenApi, layers: &Layers) -> Result<Router, Undressed> {
    let observed = Observed {
        listener: layers.listener,
        deadline: layers.deadline,
        operations: Arc::new(OperationIds::of(document)),
    };
    let proxies = layers.trusted_proxies.clone();
    let mut router = router
        .merge(docs::router(document)?)
        .fallback(async |request: Request| unknown_path(request.uri().path()))
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(layers.body_bytes))
        .layer(axum::Extension(proxies))
        .layer(middleware::from_fn_with_state(observed.clone(), bound));
    // Outside of what ends a request, so that a browser may read that answer too; inside of what observes,
    // so that a browser that asks first has its line.
    if let Some(cors) = layers.cors.layer()? {
        router = router.layer(cors);
    }
    Ok(router
        .layer(middleware::from_fn_with_state(observed, observe))
        // Outside of what renders problems: they are compressed like any answer.
        .layer(CompressionLayer::new().compress_when(
            // An event is to leave when it happens.
            SizeAbove::new(COMPRESS_ABOVE_BYTES).and(NotForContentType::SSE),
        ))
        .layer(MapRequestLayer::new(coding::settle)))
}

pub(crate) fn unknown_path(path: &str) -> Problem {
    let path: String = path.chars().take(200).collect();
    Problem::new(Code::RouteNotFound).detail(format!(
        "{path} is not a path of this API; /docs lists them."
    ))
}

async fn wrong_method(request: Request) -> Problem {
    Problem::new(Code::MethodNotAllowed).detail(format!("{} is not known here.", request.method()))
}

/// `/livez`: the process answers.
pub fn liveness() -> Router {
    Router::new().route("/livez", get(async || "ok"))
}

/// `/metrics` in Prometheus' text format; for the internal listener only.
pub fn metrics() -> Router {
    metrics_after(|| {})
}

/// The same, once `measure` has set the gauges that are measured when they are asked for.
pub fn metrics_after(measure: impl Fn() + Clone + Send + Sync + 'static) -> Router {
    Router::new().route(
        "/metrics",
        get(async move || {
            measure();
            let content_type = HeaderValue::from_static("text/plain; version=0.0.4");
            (
                [(header::CONTENT_TYPE, content_type)],
                crate::telemetry::render_metrics(),
            )
                .into_response()
        }),
    )
}
