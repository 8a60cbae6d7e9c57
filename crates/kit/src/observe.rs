//! The layers around everything that answers a request. [`observe`]: its id, its span, the headers that every
//! answer has, metrics, and one access line. [`bound`]: its deadline, and what is answered when a handler panics.
//!
//! Deliberately two functions and not a tower of layers: they run on every request, and their parts
//! share their data. Two, because what stands between them (CORS) has to see what the inner one answers.
//! Invariant: an error is logged here, once, and nowhere below.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use contract::{Code, TenantId};
use futures::FutureExt;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use tracing::{Instrument, info_span};
use uuid::Uuid;

use crate::error::{Answered, Problem, chain};

/// Names a request, in both directions.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const MAX_REQUEST_ID_BYTES: usize = 64;

/// What the layer needs to know.
#[derive(Debug, Clone)]
pub struct Observed {
    /// Name of the listener in metrics: `public` or `internal`.
    pub listener: &'static str,
    /// The longest that a request may take; `None` for listeners whose requests bound themselves.
    pub deadline: Option<Duration>,
    /// Operation ids by method and path.
    pub operations: Arc<crate::docs::OperationIds>,
}

/// What a request learns about itself on its way; the access line shows it.
#[derive(Debug, Default)]
pub struct Notes {
    tenant: OnceLock<(TenantId, Arc<str>)>,
    user: OnceLock<String>,
    lookup: AtomicU8,
    database_micros: AtomicU64,
}

/// Whether a tenant was known when its request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup {
    /// Known.
    Hit,
    /// Asked for.
    Miss,
}

impl Notes {
    /// Remembers whose request this is.
    pub fn tenant(&self, tenant: TenantId, tier: Arc<str>) {
        let _ = self.tenant.set((tenant, tier));
    }

    /// Remembers who asks.
    pub fn user(&self, user: String) {
        let _ = self.user.set(user);
    }

    /// Remembers whether the tenant was known.
    pub fn lookup(&self, lookup: Lookup) {
        let value = match lookup {
            Lookup::Hit => 1,
            Lookup::Miss => 2,
        };
        self.lookup.store(value, Ordering::Relaxed);
    }

    /// Adds time that a database connection was held.
    fn database_time(&self, spent: Duration) {
        let micros = u64::try_from(spent.as_micros()).unwrap_or(u64::MAX);
        self.database_micros.fetch_add(micros, Ordering::Relaxed);
    }

    fn lookup_word(&self) -> &'static str {
        match self.lookup.load(Ordering::Relaxed) {
            1 => "hit",
            2 => "miss",
            _ => "none",
        }
    }
}

tokio::task_local! {
    /// Those of the request that this task answers.
    static NOTES: Arc<Notes>;
}

/// Time that a database connection is held: counts until it is dropped, however that comes about.
#[derive(Debug)]
pub struct DatabaseTime {
    since: Instant,
    notes: Option<Arc<Notes>>,
}

impl DatabaseTime {
    /// From now on, for the request that this task answers; outside of a request's own task for none.
    pub fn start() -> Self {
        Self {
            since: Instant::now(),
            notes: NOTES.try_with(Arc::clone).ok(),
        }
    }

    /// From now on, for a request.
    pub fn of(notes: Arc<Notes>) -> Self {
        Self {
            since: Instant::now(),
            notes: Some(notes),
        }
    }
}

impl Drop for DatabaseTime {
    fn drop(&mut self) {
        if let Some(notes) = &self.notes {
            notes.database_time(self.since.elapsed());
        }
    }
}

/// Wraps a whole router, what [`bound`] wraps included; see the module.
pub async fn observe(
    State(observed): State<Observed>,
    mut request: Request,
    next: Next,
) -> Response {
    let request_id = request_id(request.headers());
    let notes = Arc::new(Notes::default());
    request.extensions_mut().insert(Arc::clone(&notes));
    let mut line = AccessLine {
        started: Instant::now(),
        listener: observed.listener,
        method: request.method().clone(),
        route: request.extensions().get::<MatchedPath>().cloned(),
        operations: Arc::clone(&observed.operations),
        notes,
        request_id,
        answered: None,
    };
    let span = info_span!(
        "request",
        request.id = %line.request_id,
        tenant.id = tracing::field::Empty,
    );
    let answer = NOTES.scope(Arc::clone(&line.notes), next.run(request));
    let mut response = answer.instrument(span).await;
    let problem = response.extensions_mut().remove::<Answered>();
    if let Some(Answered(problem)) = &problem {
        let headers = std::mem::take(response.headers_mut());
        response = problem.render(Some(&line.request_id));
        keep_foreign_headers(&mut response, headers);
    }
    add_headers(response.headers_mut(), &line.request_id);
    line.answered = Some((
        response.status().as_u16(),
        problem.map(|answered| answered.0),
    ));
    response
}

/// Ends a request at its deadline, and its panic; see the module.
pub async fn bound(State(observed): State<Observed>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or("", MatchedPath::as_str);
    let deadline = match observed.operations.is_unhurried(request.method(), route) {
        true => None,
        false => observed.deadline,
    };
    let answer = AssertUnwindSafe(next.run(request)).catch_unwind();
    let outcome = match deadline {
        Some(deadline) => tokio::time::timeout(deadline, answer).await.ok(),
        None => Some(answer.await),
    };
    match outcome {
        Some(Ok(response)) => response,
        Some(Err(panic)) => Problem::internal(panic_words(panic.as_ref())).into_response(),
        None => Problem::new(Code::Timeout).into_response(),
    }
}

/// A problem is rendered again with its request id; what other layers added must survive, each value
/// of it.
fn keep_foreign_headers(response: &mut Response, mut headers: HeaderMap) {
    headers.remove(header::CONTENT_LENGTH);
    for name in response.headers().keys() {
        headers.remove(name);
    }
    response.headers_mut().extend(headers);
}

fn panic_words(panic: &(dyn std::any::Any + Send)) -> String {
    let words = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned());
    format!(
        "panic: {}",
        words.unwrap_or_else(|| "no message".to_owned())
    )
}

/// The caller's id where it is harmless in a log, else a new one.
fn request_id(headers: &HeaderMap) -> String {
    headers
        .get(&REQUEST_ID)
        .and_then(|value| value.to_str().ok())
        .filter(|text| {
            (1..=MAX_REQUEST_ID_BYTES).contains(&text.len())
                && text
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        })
        .map_or_else(|| Uuid::now_v7().simple().to_string(), str::to_owned)
}

fn add_headers(headers: &mut HeaderMap, request_id: &str) {
    if let Ok(value) = HeaderValue::from_str(request_id) {
        headers.insert(REQUEST_ID, value);
    }
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    headers.append(
        header::VARY,
        HeaderValue::from_static("authorization, x-tenant-id"),
    );
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers
        .entry(header::CONTENT_SECURITY_POLICY)
        .or_insert(HeaderValue::from_static(
            "default-src 'none'; frame-ancestors 'none'",
        ));
}

/// Written when it is dropped, so that a request whose client went away leaves a line too.
struct AccessLine {
    started: Instant,
    listener: &'static str,
    method: Method,
    route: Option<MatchedPath>,
    operations: Arc<crate::docs::OperationIds>,
    notes: Arc<Notes>,
    request_id: String,
    answered: Option<(u16, Option<Arc<Problem>>)>,
}

/// The status of a request whose client went away before the answer, as proxies write it.
const CLIENT_CLOSED_REQUEST: u16 = 499;

impl Drop for AccessLine {
    fn drop(&mut self) {
        let duration = self.started.elapsed();
        let (status, problem) = self
            .answered
            .take()
            .unwrap_or((CLIENT_CLOSED_REQUEST, None));
        let route = self.route.as_ref().map_or("none", MatchedPath::as_str);
        let operation = self.operations.find(&self.method, route);
        let (tenant, tier) = self
            .notes
            .tenant
            .get()
            .map_or(("none", "none"), |(tenant, tier)| {
                (tenant.as_str(), &**tier)
            });
        metrics::histogram!(
            "http_request_duration_seconds",
            "listener" => self.listener,
            "operation" => operation.clone(),
            "status" => status_class(status),
        )
        .record(duration.as_secs_f64());
        macro_rules! access_line {
            ($level:ident, $($more:tt)*) => {
                tracing::$level!(
                    target: "access",
                    listener = self.listener,
                    request.id = %self.request_id,
                    method = %self.method,
                    route,
                    operation = &*operation,
                    status,
                    duration_ms = milliseconds(duration),
                    db_ms = self.notes.database_micros.load(Ordering::Relaxed) as f64 / 1000.0,
                    tenant.id = tenant,
                    tenant.tier = tier,
                    user.id = self.notes.user.get().map_or("none", String::as_str),
                    lookup = self.notes.lookup_word(),
                    $($more)*
                )
            };
        }
        match &problem {
            Some(problem) if status == 500 => access_line!(
                error,
                code = problem.code().as_str(),
                cause = problem.cause().map(|cause| chain(cause)),
                "request"
            ),
            Some(problem) if status > 500 => access_line!(
                warn,
                code = problem.code().as_str(),
                cause = problem.cause().map(|cause| chain(cause)),
                "request"
            ),
            Some(problem) => access_line!(info, code = problem.code().as_str(), "request"),
            None => access_line!(info, "request"),
        }
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}

fn status_class(status: u16) -> &'static str {
    match status {
        200..=299 => "2xx",
        300..=399 => "3xx",
        499 => "499",
        400..=498 => "4xx",
        _ => "5xx",
    }
}

#[cfg(test)]
mod tests;
