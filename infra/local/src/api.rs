//! A caller of the APIs, as anybody may be one.
//!
//! Deliberately untyped: the wire types belong to the services. Invariant: an answer that was not
//! expected becomes an error that says which one came.

use std::time::Duration;

use anyhow::{Context as _, bail};
use reqwest::{Client, Method};
use serde_json::Value;

/// Longer than any sign-up or migration takes.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Somebody who calls a base URL.
#[derive(Clone)]
pub(crate) struct Api {
    http: Client,
    base: String,
    token: Option<String>,
    tenant: Option<String>,
}

/// What came back.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

impl Api {
    /// Nobody, at a base URL.
    pub(crate) fn new(base: &str) -> anyhow::Result<Self> {
        Ok(Self {
            http: Client::builder().no_proxy().timeout(TIMEOUT).build()?,
            base: base.to_owned(),
            token: None,
            tenant: None,
        })
    }

    /// The same with a bearer token.
    pub(crate) fn bearer(&self, token: &str) -> Self {
        Self {
            token: Some(token.to_owned()),
            ..self.clone()
        }
    }

    /// The same for a tenant.
    pub(crate) fn tenant(&self, tenant: &str) -> Self {
        Self {
            tenant: Some(tenant.to_owned()),
            ..self.clone()
        }
    }

    /// Logs in to the tenant.
    pub(crate) async fn logged_in(&self, email: &str, password: &str) -> anyhow::Result<Self> {
        let body = serde_json::json!({ "email": email, "password": password });
        let answer = self.post("/v1/auth/login", &body).await?.expect(200)?;
        let token = answer["access_token"]
            .as_str()
            .context("a login gives a token")?;
        Ok(self.bearer(token))
    }

    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Answer> {
        self.call(Method::GET, path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Answer> {
        self.call(Method::POST, path, Some(body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> anyhow::Result<Answer> {
        self.call(Method::DELETE, path, None).await
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Answer> {
        let mut request = self.http.request(method, format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(tenant) = &self.tenant {
            request = request.header("x-tenant-id", tenant);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await?;
        let status = response.status().as_u16();
        let body = serde_json::from_slice(&response.bytes().await?).unwrap_or(Value::Null);
        Ok(Answer { status, body })
    }
}

impl Answer {
    /// Whether what was asked for is done, or under way.
    pub(crate) fn accepted(&self) -> anyhow::Result<()> {
        if !matches!(self.status, 200..=202) {
            bail!("{}: {}", self.status, self.body);
        }
        Ok(())
    }

    /// The body, if the status is this one.
    pub(crate) fn expect(self, status: u16) -> anyhow::Result<Value> {
        if self.status != status {
            bail!("{status} was expected, {} came: {}", self.status, self.body);
        }
        Ok(self.body)
    }
}
