//! The operators' API over HTTP: a method per kind of request.
//!
//! Deliberately without knowledge of what the answers mean. Invariants: every POST carries an
//! Idempotency-Key that stays the same over its retries; a redirect is never followed, so the key
//! reaches the server that was named and no other.

mod pages;
mod route;
mod send;

use std::time::Duration;

use contract::{OperationId, Secret};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Method, RequestBuilder, Response, StatusCode, header};
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use crate::failure::Failure;
pub(crate) use pages::Rest;
pub(crate) use route::Route;
use send::Repeat;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Shorter than a service keeps what is idle: a request must not meet the end of its connection.
const IDLE_LIMIT: Duration = Duration::from_secs(60);
/// The platform answers within its own deadline, which is shorter.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// Query parameters.
pub(crate) type Query = Vec<(&'static str, String)>;

/// A client of one server with one key.
#[derive(Debug)]
pub(crate) struct Api {
    http: reqwest::Client,
    base: String,
    key: Secret,
}

impl Api {
    /// A client of the platform-service at `base`.
    pub(crate) fn new(base: &str, key: Secret) -> Result<Self, Failure> {
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE_LIMIT)
            .redirect(reqwest::redirect::Policy::none())
            .tcp_nodelay(true)
            .user_agent(concat!("tenantctl/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|source| Failure::Unreachable {
                server: base.to_owned(),
                source,
            })?;
        Ok(Self {
            http,
            base: base.trim_end_matches('/').to_owned(),
            key,
        })
    }

    /// The server's address, for prompts and messages.
    pub(crate) fn server(&self) -> &str {
        &self.base
    }

    /// A document.
    pub(crate) async fn get(&self, path: &str, query: &Query) -> Result<Value, Failure> {
        let request = self.request(Method::GET, &asked(path, query));
        let response = self.send(&Route::get(path), request, Repeat::Safe).await?;
        self.json(response).await
    }

    /// A document and the version that a change of it must name.
    pub(crate) async fn tagged(&self, path: &str) -> Result<(Value, String), Failure> {
        let request = self.request(Method::GET, path);
        let response = self.send(&Route::get(path), request, Repeat::Safe).await?;
        let etag = response.headers().get(header::ETAG);
        let etag = etag.and_then(|etag| etag.to_str().ok());
        let etag = etag.ok_or_else(|| self.strange(response.status()))?;
        let etag = etag.to_owned();
        Ok((self.json(response).await?, etag))
    }

    /// A POST that has one effect however often it is sent with this `key`.
    pub(crate) async fn post<B: Serialize + Sync>(
        &self,
        path: &str,
        query: &Query,
        body: &B,
        key: Uuid,
    ) -> Result<(StatusCode, Value), Failure> {
        let request = self.request(Method::POST, &asked(path, query)).json(body);
        let request = request.header("idempotency-key", key.to_string());
        let route = Route::new(Method::POST, path);
        let response = self.send(&route, request, Repeat::Safe).await?;
        let status = response.status();
        Ok((status, self.json(response).await?))
    }

    /// A request that may have an effect each time: never sent again once it was taken in.
    pub(crate) async fn once<B: Serialize + Sync>(
        &self,
        method: Method,
        path: &str,
        body: &B,
    ) -> Result<Value, Failure> {
        let request = self.request(method.clone(), path).json(body);
        let route = Route::new(method, path);
        let response = self.send(&route, request, Repeat::Unsent).await?;
        self.json(response).await
    }

    /// The same without a deadline, for what takes as long as there is much of it.
    pub(crate) async fn unhurried(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Failure> {
        let response = self.stream(method, path, body).await?;
        self.json(response).await
    }

    /// A change, where there is an `etag` of what was read by it.
    pub(crate) async fn patch<B: Serialize + Sync>(
        &self,
        path: &str,
        query: &Query,
        etag: Option<&str>,
        body: &B,
    ) -> Result<(StatusCode, Value), Failure> {
        let mut request = self.request(Method::PATCH, &asked(path, query)).json(body);
        if let Some(etag) = etag {
            request = request.header(header::IF_MATCH, etag);
        }
        let route = Route::new(Method::PATCH, path);
        let response = self.send(&route, request, Repeat::Unsent).await?;
        let status = response.status();
        Ok((status, self.json(response).await?))
    }

    /// Removes something, with a key as a POST has it.
    pub(crate) async fn delete(
        &self,
        path: &str,
        query: &Query,
        key: Uuid,
    ) -> Result<(StatusCode, Value), Failure> {
        let request = self.request(Method::DELETE, &asked(path, query));
        let request = request.header("idempotency-key", key.to_string());
        let route = Route::new(Method::DELETE, path);
        let response = self.send(&route, request, Repeat::Safe).await?;
        let status = response.status();
        Ok((status, self.json(response).await?))
    }

    /// An answer that is read as it comes, without a deadline.
    pub(crate) async fn stream(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Response, Failure> {
        let mut request = self
            .http
            .request(method.clone(), format!("{}{path}", self.base))
            .bearer_auth(self.key.expose());
        if let Some(body) = body {
            request = request.json(body);
        }
        let route = Route::new(method, path);
        self.send(&route, request, Repeat::Unsent).await
    }

    /// Sends a body of any size, with a key as a POST has it. One that is read as it is sent cannot be sent again.
    pub(crate) async fn upload(
        &self,
        method: Method,
        path: &str,
        key: Uuid,
        (content_type, body): (&str, reqwest::Body),
    ) -> Result<(StatusCode, Value), Failure> {
        let request = self
            .http
            .request(method.clone(), format!("{}{path}", self.base))
            .bearer_auth(self.key.expose())
            .header(header::CONTENT_TYPE, content_type)
            .header("idempotency-key", key.to_string())
            .body(body);
        let route = Route::new(method, path);
        let response = self.send(&route, request, Repeat::Safe).await?;
        let status = response.status();
        Ok((status, self.json(response).await?))
    }

    /// An operation as it stands.
    pub(crate) async fn operation(&self, id: OperationId) -> Result<Value, Failure> {
        self.get(&format!("/v1/operations/{id}"), &Query::new())
            .await
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http
            .request(method, format!("{}{path}", self.base))
            .timeout(ANSWER_TIMEOUT)
            .bearer_auth(self.key.expose())
    }

    async fn json(&self, response: Response) -> Result<Value, Failure> {
        let status = response.status();
        let bytes = response
            .bytes()
            .await
            .map_err(|source| self.silent(source))?;
        if bytes.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&bytes).map_err(|_| self.strange(status))
    }

    fn silent(&self, source: reqwest::Error) -> Failure {
        Failure::Unreachable {
            server: self.base.clone(),
            source: source.without_url(),
        }
    }

    fn strange(&self, status: StatusCode) -> Failure {
        Failure::Strange {
            server: self.base.clone(),
            status: status.as_u16(),
        }
    }
}

/// A text as a part of a path or of a query.
pub(crate) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// A path with its query string.
fn asked(path: &str, query: &Query) -> String {
    let parts: Vec<String> = query
        .iter()
        .map(|(name, value)| format!("{name}={}", encoded(value)))
        .collect();
    match parts.as_slice() {
        [] => path.to_owned(),
        parts => format!("{path}?{}", parts.join("&")),
    }
}
