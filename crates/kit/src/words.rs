//! Words that people write for people: names, titles, reasons.
//!
//! Deliberately lenient about scripts, emoji and the joiners and marks that both need, and strict about
//! what shows nothing or changes how a line around it is read. Invariant: words that pass can be seen, and
//! stay where they are put.

#[cfg(test)]
mod tests;

/// Words that break the rule, which is said in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "must have 1 to {most} characters, one of them visible, and no control characters or changes of \
     direction"
)]
pub struct NotWords {
    most: usize,
}

/// Checks words of at most so many characters.
///
/// # Errors
/// They are too long, show nothing, or hold a character that breaks a line or turns its direction.
pub fn check(text: &str, most: usize) -> Result<(), NotWords> {
    let fits = text.chars().count() <= most;
    match fits && text.chars().any(is_visible) && !text.chars().any(breaks_line) {
        true => Ok(()),
        false => Err(NotWords { most }),
    }
}

/// The same for words that may be left out: empty, or nothing but space.
///
/// # Errors
/// Those of [`check`].
pub fn check_optional(text: &str, most: usize) -> Result<(), NotWords> {
    match text.trim().is_empty() && !text.chars().any(breaks_line) {
        true => Ok(()),
        false => check(text, most),
    }
}

/// Control characters, separators of lines and paragraphs, and those that change the direction of what
/// follows. The marks of direction (U+200E, U+200F, U+061C) change nothing but their own place.
fn breaks_line(letter: char) -> bool {
    letter.is_control() || matches!(letter, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether a character puts anything on the screen: neither space nor one of those that Unicode lets a
/// program ignore (`Default_Ignorable_Code_Point`), nor one of the few others that are blank.
fn is_visible(letter: char) -> bool {
    let ignorable = matches!(
        letter,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff0}'..='\u{fff8}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    );
    let blank = matches!(letter, '\u{2800}' | '\u{fff9}'..='\u{fffb}');
    !(letter.is_whitespace() || letter.is_control() || ignorable || blank)
}
