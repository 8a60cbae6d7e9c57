//! Letters that are none: what a terminal, or whatever else shows a line, obeys.
//!
//! Deliberately no rule for names, which bar more. Invariant: the one list for everything that writes
//! text of other people.

/// Whether it moves the cursor, ends a line or turns the order of letters.
pub fn is_obeyed(letter: char) -> bool {
    letter.is_control()
        || matches!(letter,
            '\u{61c}' | '\u{200e}' | '\u{200f}' // marks of direction
            | '\u{2028}' | '\u{2029}' // ends of lines
            | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
