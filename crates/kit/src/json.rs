//! A JSON object that is kept as it was sent, digit for digit.
//!
//! Deliberately on the text: a parsed number is one of 64 bits. Invariant: what passes is a JSON object that
//! PostgreSQL's `jsonb` keeps without loss and gives back no longer than it was counted.

#[cfg(test)]
mod tests;

mod number;

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::extract::{NO_NUL, PartRefused, push_member};
use number::Extent;

/// An object without white space between its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompactObject {
    /// As it was sent, but for the space between its parts and escapes that say a letter.
    pub text: String,
    /// Bytes of the text with every number written out: what `1e3` costs once it is stored.
    pub written_out: usize,
}

impl CompactObject {
    /// Reads an object.
    ///
    /// # Errors
    /// It is no object, or a part of it is nothing that `jsonb` keeps: a NUL character, half a character, a
    /// number of more than 1,000 digits before or after its point.
    pub fn read(raw: &RawValue) -> Result<Self, PartRefused> {
        let text = raw.get().trim_ascii();
        if !text.starts_with('{') {
            return Err(PartRefused::new(String::new(), "is a JSON object"));
        }
        let mut reader = Reader {
            rest: text,
            object: Self {
                text: String::with_capacity(text.len()),
                written_out: 0,
            },
            place: Vec::new(),
        };
        while let Some(first) = reader.rest.bytes().next() {
            reader.token(first)?;
        }
        Ok(reader.object)
    }
}

/// A step on the way to a value.
enum Step<'a> {
    /// Into an object; no name yet where one comes next.
    Member(Option<Cow<'a, str>>),
    /// Into an array.
    Item(usize),
}

/// Reads a text that is known to be JSON. Not by recursion: how deep it is costs no stack.
struct Reader<'a> {
    rest: &'a str,
    object: CompactObject,
    place: Vec<Step<'a>>,
}

impl<'a> Reader<'a> {
    fn token(&mut self, first: u8) -> Result<(), PartRefused> {
        match first {
            b' ' | b'\t' | b'\r' | b'\n' => self.rest = &self.rest[1..],
            b'"' => self.string()?,
            b'-' | b'0'..=b'9' => self.number()?,
            _ => {
                match (first, self.place.last_mut()) {
                    (b'{', _) => self.place.push(Step::Member(None)),
                    (b'[', _) => self.place.push(Step::Item(0)),
                    (b'}' | b']', _) => drop(self.place.pop()),
                    (b',', Some(Step::Member(name))) => *name = None,
                    (b',', Some(Step::Item(number))) => *number += 1,
                    _ => {}
                }
                self.keep(1, 1);
            }
        }
        Ok(())
    }

    fn string(&mut self) -> Result<(), PartRefused> {
        let end = end_of_string(self.rest);
        let quoted = &self.rest[..end];
        let text: Cow<'a, str> = match quoted.contains('\\') {
            false => quoted[1..end - 1].into(),
            true => serde_json::from_str::<String>(quoted)
                .map_err(|_| self.refuse("holds one half of a character (a lone surrogate)"))?
                .into(),
        };
        let has_nul = text.contains('\0');
        match text {
            Cow::Borrowed(_) => self.keep(end, end),
            Cow::Owned(ref text) => {
                let written = serde_json::Value::from(text.as_str()).to_string();
                self.object.text.push_str(&written);
                self.object.written_out += written.len();
                self.rest = &self.rest[end..];
            }
        }
        if let Some(Step::Member(name @ None)) = self.place.last_mut() {
            *name = Some(text);
        }
        match has_nul {
            true => Err(self.refuse(NO_NUL)),
            false => Ok(()),
        }
    }

    fn number(&mut self) -> Result<(), PartRefused> {
        let is_part = |byte: u8| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E');
        let end = self.rest.bytes().position(|byte| !is_part(byte));
        let end = end.unwrap_or(self.rest.len());
        match Extent::of(&self.rest[..end]) {
            Some(extent) => self.keep(end, extent.written_out()),
            None => return Err(self.refuse(Extent::RULE)),
        }
        Ok(())
    }

    /// Keeps the next bytes as they are.
    fn keep(&mut self, bytes: usize, written_out: usize) {
        let (kept, rest) = self.rest.split_at(bytes);
        self.object.text.push_str(kept);
        self.object.written_out += written_out;
        self.rest = rest;
    }

    /// The refusal of what stands here.
    fn refuse(&self, rule: &'static str) -> PartRefused {
        let mut pointer = String::new();
        for step in &self.place {
            match step {
                Step::Member(Some(name)) => push_member(&mut pointer, name),
                Step::Member(None) => {}
                Step::Item(number) => push_member(&mut pointer, &number.to_string()),
            }
        }
        PartRefused::new(pointer, rule)
    }
}

/// Where the string ends with which a JSON text begins.
fn end_of_string(text: &str) -> usize {
    let mut bytes = text.bytes().enumerate().skip(1);
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'"' => return at + 1,
            b'\\' => drop(bytes.next()),
            _ => {}
        }
    }
    text.len()
}
