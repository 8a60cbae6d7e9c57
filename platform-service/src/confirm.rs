//! The name of what is destroyed, said again by who destroys it; and how a request says it.
//!
//! Deliberately no right of its own: the permission is the handler's argument. Invariant: nothing but the
//! whole name confirms.

use contract::Code;
use kit::error::{Problem, Result};
use serde::Deserialize;

use crate::operations::begin::Wait;

/// How something is deleted by an operation.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct DeleteQuery {
    /// What to wait for, for some seconds: `none`, `done` or `replicas`.
    #[serde(default)]
    #[param(inline)]
    pub(crate) wait: Wait,
    /// The id of what is deleted, once more.
    pub(crate) confirm: Option<String>,
    /// Answers what would happen, and does nothing.
    #[serde(default)]
    pub(crate) dry_run: bool,
}

/// How something is removed in the request.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct RemoveQuery {
    /// The name of what is removed, once more.
    pub(crate) confirm: Option<String>,
    /// Answers what would happen, and does nothing.
    #[serde(default)]
    pub(crate) dry_run: bool,
}

/// Whether what destroys was confirmed: `field` holds the `name`, which is `what`, such as `the tenant's id`.
///
/// # Errors
/// `confirmation-missing`, which says what to send.
pub(crate) fn confirmed(field: &str, said: Option<&str>, (what, name): (&str, &str)) -> Result<()> {
    if said == Some(name) {
        return Ok(());
    }
    Err(Problem::new(Code::ConfirmationMissing)
        .detail(format!("Send `{field}` with {what}, {name}.")))
}
