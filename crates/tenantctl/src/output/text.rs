//! Text of other people on the way to a terminal.
//!
//! Deliberately escapes and drops nothing, so that what is odd is seen. Invariant: what is shown neither moves
//! the cursor, nor changes the order of letters, nor begins a line of its own.

use std::borrow::Cow;

use contract::letters::is_obeyed;

/// A text on one line, with everything that a terminal would obey written out.
pub(crate) fn on_one_line(text: &str) -> Cow<'_, str> {
    if !text.contains(is_obeyed) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for letter in text.chars() {
        if is_obeyed(letter) {
            shown.extend(letter.escape_default());
        } else {
            shown.push(letter);
        }
    }
    Cow::Owned(shown)
}

/// The same for a JSON document, which stays the same document: only within its texts are such letters, and
/// those below the space are written out already.
pub(super) fn document(json: &str) -> Cow<'_, str> {
    let is_bare = |letter: char| letter != '\n' && is_obeyed(letter);
    if !json.contains(is_bare) {
        return Cow::Borrowed(json);
    }
    let mut shown = String::with_capacity(json.len() + 8);
    for letter in json.chars() {
        if is_bare(letter) {
            shown.push_str(&format!("\\u{:04x}", u32::from(letter)));
        } else {
            shown.push(letter);
        }
    }
    Cow::Owned(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_written_out() {
        for (text, shown) in [
            ("Zoë, 東京 'quoted' \\n", "Zoë, 東京 'quoted' \\n"),
            ("\u{1b}[2Jgone\r\n\tx", "\\u{1b}[2Jgone\\r\\n\\tx"),
            ("\u{9b}2J\u{7f}", "\\u{9b}2J\\u{7f}"),
            (
                "a\u{202e}b\u{2069}\u{200f}",
                "a\\u{202e}b\\u{2069}\\u{200f}",
            ),
        ] {
            assert_eq!(on_one_line(text), shown);
        }
    }

    #[test]
    fn a_document_stays_what_it_is() {
        let value = serde_json::json!({"a": "\u{1b}\u{9b}\n\u{202e}", "b": ["東京\u{7f}"]});
        for text in [value.to_string(), format!("{value:#}\n")] {
            let shown = document(&text);
            let bare = shown.replace('\n', "");
            assert!(!bare.contains(is_obeyed), "{shown:?}");
            let read: serde_json::Value = serde_json::from_str(&shown).unwrap();
            assert_eq!(read, value);
        }
    }
}
