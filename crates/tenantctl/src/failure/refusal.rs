//! A refusal of the platform: its problem document.
//!
//! Deliberately tolerant of a platform that is newer: whatever is not known here is kept as text, or left
//! out. Invariant: what this program does about a refusal depends on a code that the contract has.

use contract::Code;
use serde::Deserialize;

/// A problem document, whatever its code.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct Refusal {
    #[serde(default)]
    pub(crate) status: u16,
    #[serde(default)]
    pub(crate) code: String,
    #[serde(default)]
    pub(crate) title: String,
    #[serde(default)]
    pub(crate) detail: Option<String>,
    #[serde(default)]
    pub(crate) request_id: Option<String>,
    #[serde(default)]
    pub(crate) errors: Vec<RefusedField>,
    #[serde(default)]
    pub(crate) proposal: Option<String>,
}

/// A field that breaks its rule.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct RefusedField {
    pub(crate) pointer: String,
    pub(crate) detail: String,
}

impl Refusal {
    /// A refusal with this code, and nothing more to say.
    pub(crate) fn of(code: Code) -> Self {
        Self {
            status: code.status(),
            code: code.as_str().to_owned(),
            title: code.title().to_owned(),
            ..Self::default()
        }
    }

    /// Its code; none where a newer platform has one that this program does not know.
    pub(crate) fn known_code(&self) -> Option<Code> {
        let mut codes = Code::ALL.iter().copied();
        codes.find(|code| code.as_str() == self.code)
    }

    /// Whether it has this code.
    pub(crate) fn is(&self, code: Code) -> bool {
        self.known_code() == Some(code)
    }

    /// The id of the operation that its detail names.
    pub(super) fn operation(&self) -> Option<&str> {
        operation_in(self.detail.as_deref()?)
    }
}

/// The id of an operation that a text names.
fn operation_in(text: &str) -> Option<&str> {
    let start = text.find("op_")?;
    let id = text.get(start..start + 35)?;
    let (_, digits) = id.split_at(3);
    digits
        .bytes()
        .all(|byte| byte.is_ascii_hexdigit())
        .then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_subject_names_the_operation_that_keeps_it_busy() {
        let id = contract::OperationId::new().to_string();
        assert_eq!(
            operation_in(&format!("The operation {id} (move) is under way.")),
            Some(id.as_str())
        );
        assert_eq!(operation_in("The op_erator"), None);
    }

    #[test]
    fn a_code_of_a_newer_platform_is_kept_and_not_known() {
        let text = r#"{"status": 409, "code": "moon-phase-wrong", "title": "Wrong moon"}"#;
        let refusal: Refusal = serde_json::from_str(text).unwrap();
        assert_eq!(refusal.code, "moon-phase-wrong");
        assert_eq!(refusal.known_code(), None);
    }
}
