//! The name of what is destroyed, said again by who destroys it.
//!
//! Deliberately no right of its own: the permission is the handler's argument. Invariant: nothing but the
//! whole name confirms.

use contract::Code;
use kit::error::{Problem, Result};

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
