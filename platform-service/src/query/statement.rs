//! Which statements may be asked.
//!
//! Deliberately a look at the first word: what a statement does is the server's to refuse. Invariant:
//! what passes can stand in parentheses.

use contract::Code;
use kit::error::{Problem, Result};

/// The longest statement, in bytes.
const MOST_BYTES: usize = 65_536;
/// The words that a statement which reads may begin with.
const FIRST_WORDS: [&str; 4] = ["select", "with", "values", "table"];

/// The statement without what follows it; refused where it is none that reads.
pub(super) fn checked(text: &str) -> Result<&str> {
    let refuse = |words: &'static str| Err(Problem::field("/sql", words));
    if text.len() > MOST_BYTES {
        return Err(Problem::new(Code::ValidationFailed)
            .and_field("/sql", format!("has more than {MOST_BYTES} bytes")));
    }
    if text.contains('\0') {
        return refuse("must not contain NUL characters");
    }
    let statement = text.trim_end_matches(|c: char| c == ';' || c.is_whitespace());
    let Some(begun) = without_comments(statement) else {
        return refuse("ends within a comment");
    };
    if begun.is_empty() {
        return refuse("is empty");
    }
    let word = begun
        .split(|c: char| !c.is_ascii_alphabetic())
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();
    if FIRST_WORDS.contains(&word.as_str()) || begun.starts_with('(') {
        Ok(statement)
    } else {
        refuse("must be one statement that reads: select, with, values or table")
    }
}

/// The text after the comments that it begins with; none where one has no end.
fn without_comments(mut text: &str) -> Option<&str> {
    loop {
        text = text.trim_start();
        if let Some(line) = text.strip_prefix("--") {
            text = line.split_once('\n').map_or("", |(_, rest)| rest);
        } else if let Some(block) = text.strip_prefix("/*") {
            text = after_block(block)?;
        } else {
            return Some(text);
        }
    }
}

/// The text after a block comment, which may hold others.
fn after_block(mut text: &str) -> Option<&str> {
    let mut depth = 1_u32;
    while depth > 0 {
        let at = text.find(['*', '/'])?;
        text = &text[at..];
        if let Some(rest) = text.strip_prefix("*/") {
            (text, depth) = (rest, depth - 1);
        } else if let Some(rest) = text.strip_prefix("/*") {
            (text, depth) = (rest, depth + 1);
        } else {
            text = &text[1..];
        }
    }
    Some(text)
}
