//! What is accepted as a new password.
//!
//! Deliberately no rules about kinds of characters: length, and how hard it is to guess. Invariant:
//! a [`Password`] is hashed as it was typed, never trimmed or cut.

use contract::secret::Secret;
use zxcvbn::{Score, zxcvbn};

/// A password that may be set. A login takes the text as it comes instead: old passwords stay
/// valid when the policy changes.
#[derive(Debug, Clone)]
pub struct Password(Secret);

/// Why a password is refused, as a sentence for the person who chose it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PasswordRefusal {
    /// Fewer than [`Password::MIN_CHARACTERS`].
    #[error("must have at least {} characters", Password::MIN_CHARACTERS)]
    TooShort,
    /// More than [`Password::MAX_CHARACTERS`] or [`Password::MAX_BYTES`].
    #[error("must have at most {} characters", Password::MAX_CHARACTERS)]
    TooLong,
    /// Fewer than a million guesses.
    #[error("is too easy to guess{}", with_space(advice))]
    Guessable {
        /// Sentences on why, and on what would be better; may be empty.
        advice: String,
    },
}

impl Password {
    /// Unicode characters.
    pub const MIN_CHARACTERS: usize = 8;
    /// Unicode characters.
    pub const MAX_CHARACTERS: usize = 128;
    /// UTF-8.
    pub const MAX_BYTES: usize = 512;
    /// Shorter words about the person are left out of the comparison.
    const MIN_ABOUT_CHARACTERS: usize = 4;

    /// Judges a new password. `about` is what an attacker knows of the person: e-mail address,
    /// names, company. Takes up to some milliseconds of processor time.
    pub fn parse(text: Secret, about: &[&str]) -> Result<Self, PasswordRefusal> {
        let password = text.expose();
        if password.len() > Self::MAX_BYTES {
            return Err(PasswordRefusal::TooLong);
        }
        let characters = password.chars().count();
        if characters < Self::MIN_CHARACTERS {
            return Err(PasswordRefusal::TooShort);
        }
        if characters > Self::MAX_CHARACTERS {
            return Err(PasswordRefusal::TooLong);
        }
        let estimate = zxcvbn(password, &words(about));
        if estimate.score() < Score::Two {
            let advice = estimate.feedback().map_or_else(String::new, |feedback| {
                let warning = feedback.warning().map(|warning| warning.to_string());
                let suggestions = feedback.suggestions().iter().map(ToString::to_string);
                warning
                    .into_iter()
                    .chain(suggestions)
                    .collect::<Vec<_>>()
                    .join(" ")
            });
            return Err(PasswordRefusal::Guessable { advice });
        }
        Ok(Self(text))
    }

    /// The text.
    pub fn secret(&self) -> &Secret {
        &self.0
    }
}

/// Each text about a person: whole, the parts of an e-mail address or a sentence, and its words.
fn words<'a>(about: &[&'a str]) -> Vec<&'a str> {
    about
        .iter()
        .flat_map(|text| {
            let parts = text.split(|c: char| c == '@' || c.is_whitespace());
            let words = text.split(|c: char| !c.is_alphanumeric());
            std::iter::once(*text).chain(parts).chain(words)
        })
        .filter(|word| word.chars().count() >= Password::MIN_ABOUT_CHARACTERS)
        .collect()
}

fn with_space(advice: &str) -> String {
    if advice.is_empty() {
        String::new()
    } else {
        format!(": {advice}")
    }
}
