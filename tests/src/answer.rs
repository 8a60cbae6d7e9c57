//! What a service answered.
//!
//! Deliberately owns everything, so that a test can look at it after the service is gone. Invariant:
//! a refusal that is not a problem document fails the test.

use contract::{Code, ProblemDocument};
use http::{HeaderMap, header};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::logs::Logs;

/// An answer of a service.
#[derive(Debug, Clone)]
pub struct Answer {
    /// What was asked, for messages.
    pub(crate) asked: String,
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// The HTTP status.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// All headers.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// A header's text; empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().expect("a header is text"))
    }

    /// The body as it came.
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        self.parse()
    }

    /// The body as a type.
    pub fn parse<T: DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self}"))
    }

    /// The problem document of a refusal.
    pub fn problem(&self) -> ProblemDocument {
        assert_eq!(
            self.header(header::CONTENT_TYPE.as_str()),
            "application/problem+json",
            "{self}"
        );
        let problem: ProblemDocument = self.parse();
        assert_eq!(problem.status, self.status, "{self}");
        assert!(
            problem.request_id.is_some(),
            "a problem names its request: {self}"
        );
        if matches!(self.status, 429 | 503) {
            assert!(
                self.header("retry-after")
                    .parse::<u64>()
                    .is_ok_and(|seconds| seconds >= 1),
                "{self} says when to try again"
            );
        }
        problem
    }

    /// The code of a refusal.
    pub fn code(&self) -> Code {
        self.problem().code
    }

    /// The same answer, if its status is this.
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self}{}", self.logged());
        self
    }

    /// What the services of this process logged about it, for whoever looks for the cause of a failure.
    fn logged(&self) -> String {
        const SHOWN_LINES: usize = 20;
        let problem = serde_json::from_slice::<ProblemDocument>(&self.body);
        let Some(id) = problem.ok().and_then(|problem| problem.request_id) else {
            return String::new();
        };
        let lines = Logs::of_process().with(&id);
        let last = lines.len().saturating_sub(SHOWN_LINES);
        lines[last..]
            .iter()
            .map(|line| format!("\n  {line}"))
            .collect()
    }

    /// Checks that this is a refusal with this code.
    pub fn refused(&self, code: Code) -> ProblemDocument {
        let problem = self.problem();
        assert_eq!(problem.code, code, "{self}");
        problem
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const SHOWN_CHARS: usize = 2000;
        let body: String = self.text().chars().take(SHOWN_CHARS).collect();
        write!(f, "{} answered {} {body}", self.asked, self.status)
    }
}
