//! Lists, page by page.
//!
//! Deliberately asks for no more than is wanted. Invariant: a list that is cut says that there are more.

use std::collections::VecDeque;

use serde_json::Value;

use super::{Api, Query};
use crate::failure::Failure;

const PAGE: usize = 100;

/// Some of a list.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) items: Vec<Value>,
    pub(crate) rest: Rest,
}

/// Whether a list goes on after what was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
    None,
    More,
}

impl Api {
    /// Items of a list, page by page, up to `limit`; all where it is 0.
    pub(crate) async fn items(
        &self,
        path: &str,
        query: &Query,
        limit: usize,
        cursor: &str,
    ) -> Result<Vec<Value>, Failure> {
        Ok(self.listed(path, query, limit, cursor).await?.items)
    }

    /// The same, and whether there are more.
    pub(crate) async fn listed(
        &self,
        path: &str,
        query: &Query,
        limit: usize,
        cursor: &str,
    ) -> Result<Listed, Failure> {
        let mut found: VecDeque<Value> = VecDeque::new();
        loop {
            let wanted = match limit {
                0 => PAGE,
                limit => (limit - found.len()).min(PAGE),
            };
            let mut query = query.clone();
            query.push(("limit", wanted.to_string()));
            if let Some(last) = found.back() {
                let after = match last.pointer(cursor) {
                    Some(Value::String(text)) => text.clone(),
                    Some(other) => other.to_string(),
                    None => String::new(),
                };
                query.push(("starting_after", after));
            }
            let mut page = self.get(path, &query).await?;
            let has_more = page["has_more"].as_bool().unwrap_or(false);
            let data = match page["data"].take() {
                Value::Array(data) => data,
                _ => Vec::new(),
            };
            let is_empty = data.is_empty();
            found.extend(data);
            if !has_more || is_empty || (limit > 0 && found.len() >= limit) {
                let items = found.into();
                let rest = if has_more { Rest::More } else { Rest::None };
                return Ok(Listed { items, rest });
            }
        }
    }
}
