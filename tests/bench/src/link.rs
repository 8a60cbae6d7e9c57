//! A link between app-service and the platform that lets many ids share one database, loses the change
//! feed, or counts the look-ups of tenants.
//!
//! Deliberately nothing else. Invariant: what it is not told to change passes unchanged; it changes the
//! name of the database only in the routes of ids that start with [`SHARING`].

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST};
use http::{HeaderValue, StatusCode, request};
use serde_json::Value;
use tokio::net::TcpListener;

const CHANGES: &str = "/internal/changes";
/// What the path of a look-up starts with.
const LOOK_UP: &str = "/internal/tenants/";
/// What ids start with that share a database.
pub(crate) const SHARING: &str = "t_idle_";

/// What becomes of the change feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Feed {
    /// It passes as everything else.
    Passes,
    /// Nobody answers.
    Cut,
}

impl Feed {
    /// For a note.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Passes => "there",
            Self::Cut => "cut",
        }
    }
}

struct Link {
    platform: SocketAddr,
    database: String,
    feed: Feed,
    looked_up: Arc<AtomicU64>,
    http: reqwest::Client,
}

/// A link that counts.
pub(crate) struct Counting {
    pub(crate) address: SocketAddr,
    looked_up: Arc<AtomicU64>,
}

impl Counting {
    /// Look-ups so far.
    pub(crate) fn looked_up(&self) -> u64 {
        self.looked_up.load(Ordering::Relaxed)
    }
}

/// Starts a link to the platform's internal listener; it ends with this process.
pub(crate) async fn start(
    platform: SocketAddr,
    database: &str,
    feed: Feed,
) -> anyhow::Result<SocketAddr> {
    Ok(open(platform, database, feed).await?.address)
}

/// The same, through which everything passes and look-ups are counted.
pub(crate) async fn counting(platform: SocketAddr) -> anyhow::Result<Counting> {
    open(platform, "", Feed::Passes).await
}

async fn open(platform: SocketAddr, database: &str, feed: Feed) -> anyhow::Result<Counting> {
    let looked_up = Arc::default();
    let link = Arc::new(Link {
        platform,
        database: database.to_owned(),
        feed,
        looked_up: Arc::clone(&looked_up),
        http: reqwest::Client::builder()
            .no_proxy()
            .tcp_nodelay(true)
            .build()?,
    });
    let router = Router::new().fallback(pass).with_state(link);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(Counting { address, looked_up })
}

async fn pass(State(link): State<Arc<Link>>, parts: request::Parts, body: Bytes) -> Response {
    if link.feed == Feed::Cut && parts.uri.path() == CHANGES {
        return std::future::pending().await;
    }
    if parts.uri.path().starts_with(LOOK_UP) {
        link.looked_up.fetch_add(1, Ordering::Relaxed);
    }
    let shares = parts.uri.path().contains(SHARING);
    match link.ask(parts, body).await {
        Ok((status, kind, bytes)) => {
            let bytes = if shares && status.is_success() {
                link.redirect(&bytes)
            } else {
                bytes
            };
            let mut response = (status, Body::from(bytes)).into_response();
            if let Some(kind) = kind {
                response.headers_mut().insert(CONTENT_TYPE, kind);
            }
            response
        }
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}

impl Link {
    async fn ask(
        &self,
        parts: request::Parts,
        body: Bytes,
    ) -> reqwest::Result<(StatusCode, Option<HeaderValue>, Bytes)> {
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let mut headers = parts.headers;
        headers.remove(HOST);
        headers.remove(CONTENT_LENGTH);
        let answer = self
            .http
            .request(parts.method, format!("http://{}{path}", self.platform))
            .headers(headers)
            .body(body)
            .send()
            .await?;
        let kind = answer.headers().get(CONTENT_TYPE).cloned();
        Ok((answer.status(), kind, answer.bytes().await?))
    }

    /// A route with the shared database in it.
    fn redirect(&self, route: &Bytes) -> Bytes {
        let Ok(mut route) = serde_json::from_slice::<Value>(route) else {
            return route.clone();
        };
        if let Some(name) = route.pointer_mut("/database/name") {
            *name = Value::from(self.database.clone());
        }
        route.to_string().into()
    }
}
