//! Somebody who sends requests: nobody, a person of a tenant, an operator, a service.
//!
//! Deliberately sends what it is told to, right or wrong. Invariant: a speaker has one credential
//! and one tenant, shown with every request unless a request says otherwise.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use contract::credential::ServiceSigner;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use rand::RngExt;
use serde::Serialize;

use crate::answer::Answer;
use crate::inside::http2_client;

/// What a speaker shows.
#[derive(Debug, Clone)]
pub(crate) enum Credential {
    Nothing,
    Bearer(String),
    /// A fresh token for every request: each is good for one.
    Service(ServiceSigner),
}

/// Somebody who sends requests.
#[derive(Debug, Clone)]
pub struct Speaker {
    http: reqwest::Client,
    base: String,
    credential: Credential,
    headers: HeaderMap,
}

impl Speaker {
    /// Nobody, at a base URL, from an address that nobody else has.
    pub(crate) fn nobody(http: reqwest::Client, base: String) -> Self {
        let speaker = Self {
            http,
            base,
            credential: Credential::Nothing,
            headers: HeaderMap::new(),
        };
        speaker.from_another_address()
    }

    #[must_use]
    pub(crate) fn with_credential(mut self, credential: Credential) -> Self {
        self.credential = credential;
        self
    }

    /// The same with another bearer token.
    #[must_use]
    pub fn bearer(self, token: &str) -> Self {
        self.with_credential(Credential::Bearer(token.to_owned()))
    }

    /// The same without a credential.
    #[must_use]
    pub fn without_credential(self) -> Self {
        self.with_credential(Credential::Nothing)
    }

    /// The same with a header on every request.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let name: HeaderName = name.parse().expect("a header name");
        self.headers
            .insert(name, value.parse().expect("a header value"));
        self
    }

    /// The same without a header.
    #[must_use]
    pub fn without_header(mut self, name: &str) -> Self {
        self.headers.remove(name);
        self
    }

    /// The same in a tenant.
    #[must_use]
    pub fn in_tenant(self, tenant: &str) -> Self {
        self.header("x-tenant-id", tenant)
    }

    /// The same at another base URL.
    #[must_use]
    pub fn at(mut self, base: &str) -> Self {
        base.clone_into(&mut self.base);
        self
    }

    /// The same over HTTP/2.
    #[must_use]
    pub fn over_http2(mut self) -> Self {
        self.http = http2_client();
        self
    }

    /// The same from an address that nobody else has, for limits by address.
    #[must_use]
    pub fn from_another_address(self) -> Self {
        let [_, b, c, d] = rand::rng().random::<[u8; 4]>();
        self.from_address(IpAddr::V4(Ipv4Addr::new(10, b, c, d)))
    }

    /// The same from an address; the services of a world trust what this machine says of itself.
    #[must_use]
    pub fn from_address(self, address: IpAddr) -> Self {
        self.header("x-forwarded-for", &address.to_string())
    }

    /// The token that it shows; empty where it shows none.
    pub fn token(&self) -> &str {
        match &self.credential {
            Credential::Bearer(token) => token,
            Credential::Nothing | Credential::Service(_) => "",
        }
    }

    /// Where it sends.
    pub fn base(&self) -> &str {
        &self.base
    }

    /// A request.
    pub fn request(&self, method: Method, path: &str) -> Request {
        let url = format!("{}{path}", self.base);
        let asked = format!("{method} {path}");
        let token = match &self.credential {
            Credential::Nothing => None,
            Credential::Bearer(token) => Some(token.clone()),
            Credential::Service(signer) => Some(signer.token(&method, &url).expect("a credential")),
        };
        let mut builder = self.http.request(method, url);
        if let Some(token) = token {
            builder = builder.bearer_auth(token);
        }
        Request {
            asked,
            builder: builder.headers(self.headers.clone()),
        }
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Answer {
        self.request(Method::GET, path).send().await
    }

    /// POST of a JSON value.
    pub async fn post(&self, path: &str, body: impl Serialize + Send) -> Answer {
        self.request(Method::POST, path).json(body).send().await
    }

    /// PATCH with a JSON value.
    pub async fn patch(&self, path: &str, body: impl Serialize + Send) -> Answer {
        self.request(Method::PATCH, path).json(body).send().await
    }

    /// DELETE.
    pub async fn delete(&self, path: &str) -> Answer {
        self.request(Method::DELETE, path).send().await
    }
}

/// A request that is not sent yet.
#[derive(Debug)]
pub struct Request {
    asked: String,
    builder: reqwest::RequestBuilder,
}

impl Request {
    /// With a header besides those of its speaker.
    #[must_use]
    pub fn header(self, name: &str, value: &str) -> Self {
        self.header_bytes(name, value.as_bytes())
    }

    /// With a header that need not be text.
    #[must_use]
    pub fn header_bytes(mut self, name: &str, value: &[u8]) -> Self {
        let value = HeaderValue::from_bytes(value).expect("a header value");
        self.builder = self.builder.header(name, value);
        self
    }

    /// With a JSON body.
    #[must_use]
    pub fn json(mut self, body: impl Serialize) -> Self {
        self.builder = self.builder.json(&body);
        self
    }

    /// With any body, said to be JSON.
    #[must_use]
    pub fn body(mut self, body: impl Into<reqwest::Body>) -> Self {
        self.builder = self
            .builder
            .header(header::CONTENT_TYPE, "application/json")
            .body(body);
        self
    }

    /// With any body of a content type.
    #[must_use]
    pub fn body_of_type(mut self, content_type: &str, body: impl Into<reqwest::Body>) -> Self {
        self.builder = self
            .builder
            .header(header::CONTENT_TYPE, content_type)
            .body(body);
        self
    }

    /// Given up by the client after this.
    #[must_use]
    pub fn give_up_after(mut self, time: Duration) -> Self {
        self.builder = self.builder.timeout(time);
        self
    }

    /// Sends it.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn send(self) -> Answer {
        let asked = self.asked.clone();
        self.try_send()
            .await
            .unwrap_or_else(|error| panic!("{asked}: {error:?}"))
    }

    /// Sends it, where there may be no answer.
    pub async fn try_send(self) -> Result<Answer, reqwest::Error> {
        let answer = self.builder.send().await?;
        Ok(Answer {
            asked: self.asked,
            status: answer.status().as_u16(),
            headers: answer.headers().clone(),
            body: answer.bytes().await?.to_vec(),
        })
    }
}
