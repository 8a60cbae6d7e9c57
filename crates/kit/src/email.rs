//! E-mail addresses.
//!
//! Deliberately the shape alone: whether an address receives mail, only its server knows. Invariant:
//! an [`Email`] can stand in a header and in a log as it is, because it has no spaces, no control
//! characters and none of the characters that quote. Whether two addresses are one account's is
//! decided here ([`EmailKey`]) and not by a database, whose letters depend on its locale and version.

#[cfg(test)]
mod tests;

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An e-mail address as typed, without the spaces around it: at most 254 bytes, a local part of at
/// most 64 and a domain of at least two labels (RFC 5321, 4.5.3.1; letters of any script, RFC 6531).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, format = Email, min_length = 5, max_length = 254, example = "ada@acme.example")]
pub struct Email(String);

/// A text that is no e-mail address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "is not an e-mail address such as ada@acme.example, of at most {} characters",
    Email::MAX_BYTES
)]
pub struct NoEmail;

impl Email {
    /// Bytes of a whole address.
    pub const MAX_BYTES: usize = 254;
    const MAX_LOCAL_PART_BYTES: usize = 64;
    const MAX_LABEL_BYTES: usize = 63;

    /// The address.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What addresses of one account have in common, however they are typed: the letters in lower case,
/// one for one, without the spaces around them. Of any text, so that tries can be counted before it is
/// known to be an address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EmailKey(String);

impl EmailKey {
    /// The key of what was typed.
    pub fn of(typed: &str) -> Self {
        Self(typed.trim().chars().map(lower).collect())
    }

    /// Its text, for a digest; nobody is written to at it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A letter's one lower letter. U+0130 is the one that Unicode turns into two, of which the second
/// only says what the first one looked like.
fn lower(letter: char) -> char {
    letter.to_lowercase().next().unwrap_or(letter)
}

impl FromStr for Email {
    type Err = NoEmail;

    fn from_str(text: &str) -> Result<Self, NoEmail> {
        let text = text.trim();
        let shaped = text
            .split_once('@')
            .is_some_and(|(local, domain)| is_local_part(local) && is_domain(domain));
        if shaped && text.len() <= Self::MAX_BYTES {
            Ok(Self(text.to_owned()))
        } else {
            Err(NoEmail)
        }
    }
}

impl TryFrom<String> for Email {
    type Error = NoEmail;

    fn try_from(text: String) -> Result<Self, NoEmail> {
        text.parse()
    }
}

impl From<Email> for String {
    fn from(email: Email) -> Self {
        email.0
    }
}

fn is_local_part(local: &str) -> bool {
    (1..=Email::MAX_LOCAL_PART_BYTES).contains(&local.len())
        && !local.starts_with('.')
        && !local.ends_with('.')
        && !local.contains("..")
        && local.chars().all(|c| {
            c.is_alphanumeric() || (c.is_ascii_graphic() && !r#"()<>[]:;@\,""#.contains(c))
        })
}

fn is_domain(domain: &str) -> bool {
    domain.contains('.')
        && domain.split('.').all(|label| {
            (1..=Email::MAX_LABEL_BYTES).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.chars().all(|c| c.is_alphanumeric() || c == '-')
        })
}
