//! What is asked for, as messages say it.
//!
//! Deliberately without the query: a path names the thing. Invariant: what follows from a path is decided here,
//! and not by looking into its text elsewhere.

use reqwest::Method;

/// What is asked for, for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) method: Method,
    pub(crate) path: String,
}

impl Route {
    pub(crate) fn get(path: &str) -> Self {
        Self::new(Method::GET, path)
    }

    /// What a method does to a path, whatever its query says.
    pub(crate) fn new(method: Method, path: &str) -> Self {
        let path = path.split('?').next().unwrap_or_default().to_owned();
        Self { method, path }
    }

    /// The tenant that the path names.
    pub(crate) fn tenant(&self) -> Option<&str> {
        let id = self.path.strip_prefix("/v1/tenants/")?;
        id.split('/').next().filter(|id| id.starts_with("t_"))
    }

    /// Whether it is about roll-outs.
    pub(crate) fn is_of_rollouts(&self) -> bool {
        self.path.split('/').nth(2) == Some("rollouts")
    }

    /// Whether its path ends in one of these words.
    pub(crate) fn ends_in(&self, words: &[&str]) -> bool {
        let last = self.path.rsplit('/').next();
        last.is_some_and(|last| words.contains(&last))
    }
}
