//! The one error that handlers answer with: a code with public words, and the cause kept apart.
//!
//! Deliberately not convertible from `anyhow` or from any error without a code: whoever meets an
//! error decides what it means to the caller. Invariant: nothing of [`Problem::cause`] is sent.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use contract::{Code, FieldError, ProblemDocument};
use http::{HeaderValue, StatusCode, header};

/// A boxed cause.
pub type Cause = Box<dyn StdError + Send + Sync>;

/// What a handler answers with when it cannot do what it was asked.
pub struct Problem(Box<Parts>);

struct Parts {
    code: Code,
    detail: Option<Cow<'static, str>>,
    errors: Vec<FieldError>,
    proposal: Option<String>,
    retry_after: Option<Duration>,
    cause: Option<Cause>,
}

/// What handlers return.
pub type Result<T, E = Problem> = std::result::Result<T, E>;

/// A rule about a request: its field (JSON pointer), its words, and whether it is kept.
pub type Rule = (&'static str, &'static str, bool);

/// Names every rule that is broken.
///
/// # Errors
/// `validation-failed` with every field whose rule is broken.
pub fn kept(rules: impl IntoIterator<Item = Rule>) -> Result<()> {
    let mut broken = rules.into_iter().filter(|(_, _, kept)| !kept).peekable();
    if broken.peek().is_none() {
        return Ok(());
    }
    Err(broken.fold(
        Problem::new(Code::ValidationFailed),
        |problem, (field, rule, _)| problem.and_field(field, rule),
    ))
}

impl Problem {
    /// A problem with this code and nothing else to say.
    pub fn new(code: Code) -> Self {
        Self(Box::new(Parts {
            code,
            detail: None,
            errors: Vec::new(),
            proposal: None,
            retry_after: None,
            cause: None,
        }))
    }

    /// Something that must not happen happened; the caller learns nothing but the request id.
    pub fn internal(cause: impl Into<Cause>) -> Self {
        Self::new(Code::Internal).caused_by(cause)
    }

    /// A field of the body (JSON pointer), a header or a query parameter breaks its rule.
    pub fn field(
        pointer: impl Into<Cow<'static, str>>,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::new(Code::ValidationFailed).and_field(pointer, detail)
    }

    /// Adds what happened this time, in words for the caller.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }

    /// Adds a field that breaks its rule.
    #[must_use]
    pub fn and_field(
        mut self,
        pointer: impl Into<Cow<'static, str>>,
        detail: impl Into<Cow<'static, str>>,
    ) -> Self {
        self.0.errors.push(FieldError {
            pointer: pointer.into(),
            detail: detail.into(),
        });
        self
    }

    /// Adds a value that would be accepted.
    #[must_use]
    pub fn proposal(mut self, proposal: String) -> Self {
        self.0.proposal = Some(proposal);
        self
    }

    /// Says when trying again makes sense; 429 and 503 say one second where nothing is said.
    #[must_use]
    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.0.retry_after = Some(wait);
        self
    }

    /// Keeps the cause for the log.
    #[must_use]
    pub fn caused_by(mut self, cause: impl Into<Cause>) -> Self {
        self.0.cause = Some(cause.into());
        self
    }

    /// The code.
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// The cause, for the log only.
    pub fn cause(&self) -> Option<&(dyn StdError + Send + Sync + 'static)> {
        self.0.cause.as_deref()
    }

    /// The document as it is sent.
    pub fn document(&self, request_id: Option<&str>) -> ProblemDocument {
        let code = self.0.code;
        ProblemDocument {
            type_uri: code.type_uri(),
            title: code.title().to_owned(),
            status: code.status(),
            code,
            detail: self.0.detail.as_deref().map(str::to_owned),
            request_id: request_id.map(str::to_owned),
            retryable: code.is_retryable(),
            errors: self.0.errors.clone(),
            proposal: self.0.proposal.clone(),
        }
    }

    /// The answer, naming the request where its id is known.
    pub(crate) fn render(&self, request_id: Option<&str>) -> Response {
        let body = serde_json::to_vec(&self.document(request_id)).unwrap_or_default();
        let status =
            StatusCode::from_u16(self.0.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let content_type = HeaderValue::from_static("application/problem+json");
        let mut response = (status, [(header::CONTENT_TYPE, content_type)], body).into_response();
        if self.0.code.is_retryable() {
            let wait = self.0.retry_after.unwrap_or(Duration::from_secs(1));
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        if self.0.code == Code::BodyTooLarge {
            // The rest of the body is not read, so the connection ends here; a client that is told
            // does not send its next request into it.
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
        if status == StatusCode::UNAUTHORIZED {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// Rides in the extensions of a response, so that the outermost layer can log the problem once and
/// name the request in it.
#[derive(Clone)]
pub(crate) struct Answered(pub(crate) Arc<Problem>);

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.render(None);
        response.extensions_mut().insert(Answered(Arc::new(self)));
        response
    }
}

impl fmt::Debug for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Problem")
            .field("code", &self.0.code.as_str())
            .field("detail", &self.0.detail)
            .field("errors", &self.0.errors)
            .field("cause", &self.0.cause)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.code.as_str())?;
        if let Some(detail) = &self.0.detail {
            write!(f, ": {detail}")?;
        }
        Ok(())
    }
}

impl StdError for Problem {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.cause.as_deref().map(|cause| cause as _)
    }
}

/// An error and all its sources on one line, for a log.
pub fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let words = source.to_string();
        // Some say their cause's words as a part of their own.
        if !text.ends_with(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        next = source.source();
    }
    text
}
