//! Keeps an event on one line of a readable log.
//!
//! Deliberately on the finished bytes, so that no formatter and no value can get around it.
//! Invariant: the only control character that is written is the line feed that ends the event.

use std::fmt::Write as _;
use std::io::{self, Write};

use contract::letters::is_obeyed;
use tracing_subscriber::fmt::MakeWriter;

/// Writers whose every `write` is one event, cleaned.
pub(super) struct OneLine<W>(pub(super) W);

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for OneLine<W> {
    type Writer = Cleaned<W::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        Cleaned(self.0.make_writer())
    }

    fn make_writer_for(&'a self, meta: &tracing::Metadata<'_>) -> Self::Writer {
        Cleaned(self.0.make_writer_for(meta))
    }
}

pub(super) struct Cleaned<W>(W);

impl<W: Write> Write for Cleaned<W> {
    /// The formatter hands over a whole event at a time.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let line = text.strip_suffix('\n').unwrap_or(&text);
        if line.contains(is_obeyed) {
            let mut clean = String::with_capacity(line.len() + 16);
            for character in line.chars() {
                if is_obeyed(character) {
                    let _ = write!(clean, "{}", character.escape_default());
                } else {
                    clean.push(character);
                }
            }
            clean.push('\n');
            self.0.write_all(clean.as_bytes())?;
        } else {
            self.0.write_all(event)?;
        }
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
