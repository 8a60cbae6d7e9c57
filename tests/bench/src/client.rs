//! The HTTP client of both sides: one kept-alive connection, requests that were put together
//! beforehand.
//!
//! Deliberately no pool, no redirects and no retries: what it costs is the same whatever it talks
//! to. Invariant: a connection that broke is opened anew by the next request, and the request on
//! which it broke is an error.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, IF_MATCH};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::TcpStream;

const PATIENCE: Duration = Duration::from_secs(60);
const TENANT_HEADER: HeaderName = HeaderName::from_static("x-tenant-id");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// A request that can be sent many times.
#[derive(Debug, Clone)]
pub(crate) struct Prepared {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
}

impl Prepared {
    pub(crate) fn get(path: &str) -> anyhow::Result<Self> {
        Self::new(Method::GET, path, Bytes::new())
    }

    pub(crate) fn post(path: &str, body: &Value) -> anyhow::Result<Self> {
        Self::with_body(Method::POST, path, body)
    }

    pub(crate) fn patch(path: &str, body: &Value) -> anyhow::Result<Self> {
        Self::with_body(Method::PATCH, path, body)
    }

    fn with_body(method: Method, path: &str, body: &Value) -> anyhow::Result<Self> {
        let mut request = Self::new(method, path, body.to_string().into())?;
        let json = HeaderValue::from_static("application/json");
        request.headers.insert(CONTENT_TYPE, json);
        Ok(request)
    }

    fn new(method: Method, path: &str, body: Bytes) -> anyhow::Result<Self> {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static("localhost"));
        Ok(Self {
            method,
            uri: path.parse()?,
            headers,
            body,
        })
    }

    pub(crate) fn bearer(mut self, token: &str) -> anyhow::Result<Self> {
        let value = HeaderValue::from_str(&format!("Bearer {token}"))?;
        self.headers.insert(AUTHORIZATION, value);
        Ok(self)
    }

    pub(crate) fn tenant(mut self, id: &str) -> anyhow::Result<Self> {
        self.headers
            .insert(TENANT_HEADER, HeaderValue::from_str(id)?);
        Ok(self)
    }

    /// Of what was read in this generation.
    pub(crate) fn if_match(mut self, generation: u64) -> anyhow::Result<Self> {
        let tag = HeaderValue::from_str(&format!("\"{generation}\""))?;
        self.headers.insert(IF_MATCH, tag);
        Ok(self)
    }

    /// As a trusted proxy sends it on.
    pub(crate) fn forwarded_for(mut self, address: &str) -> anyhow::Result<Self> {
        self.headers
            .insert(FORWARDED_FOR, HeaderValue::from_str(address)?);
        Ok(self)
    }

    fn request(&self) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
}

impl Answer {
    /// The body of an answer that had to be a success.
    pub(crate) fn expect<T: DeserializeOwned>(self, what: &str) -> anyhow::Result<T> {
        ensure!(self.status.is_success(), "{what}: {}", self.words());
        serde_json::from_slice(&self.body)
            .with_context(|| format!("{what}: not the JSON it should be"))
    }

    /// Status and body, for an error.
    pub(crate) fn words(&self) -> String {
        format!("{} {}", self.status, String::from_utf8_lossy(&self.body))
    }
}

/// One connection.
pub(crate) struct Client {
    address: SocketAddr,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Client {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            sender: None,
        }
    }

    /// Connects now, so that the first request does not.
    pub(crate) async fn connect(&mut self) -> anyhow::Result<()> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Its end, good or bad, is seen by the next request.
        tokio::spawn(async move { drop(connection.await) });
        self.sender = Some(sender);
        Ok(())
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn send(&mut self, prepared: &Prepared) -> anyhow::Result<Answer> {
        if self.sender.as_ref().is_none_or(SendRequest::is_closed) {
            self.connect().await?;
        }
        let Some(sender) = &mut self.sender else {
            bail!("not connected");
        };
        let exchange = async {
            sender.ready().await?;
            let response = sender.send_request(prepared.request()).await?;
            let status = response.status();
            let body = response.into_body().collect().await?.to_bytes();
            Ok::<_, hyper::Error>(Answer { status, body })
        };
        match tokio::time::timeout(PATIENCE, exchange).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => {
                self.sender = None;
                Err(error.into())
            }
            Err(_) => {
                self.sender = None;
                bail!("no answer within {} s", PATIENCE.as_secs())
            }
        }
    }
}
