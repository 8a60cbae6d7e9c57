//! What is shown, and how: tables for people, JSON for programs, and messages on stderr.
//!
//! Deliberately one description of a thing, as columns over its JSON, for lists and single things.
//! Invariants: stdout carries data alone; colours and bars appear on a terminal only; nothing that somebody
//! else wrote is obeyed by a terminal.

mod columns;
#[cfg(test)]
pub(crate) mod described;
mod table;
mod text;

use std::fmt::Display;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use serde_json::{Value, json};

use crate::failure::Failure;
pub(crate) use columns::{Column, bytes, columns, plain, state, time};
pub(crate) use text::on_one_line;

/// The form of data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum Format {
    /// Columns for people.
    #[default]
    Table,
    /// One JSON document.
    Json,
    /// One JSON document per line.
    Ndjson,
}

/// Whether colours may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paint {
    Coloured,
    Plain,
}

/// Where results and messages go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reporter {
    format: Format,
    paint: Paint,
}

impl Reporter {
    pub(crate) const fn new(format: Format, paint: Paint) -> Self {
        Self { format, paint }
    }

    /// The form that was asked for.
    pub(crate) const fn format(&self) -> Format {
        self.format
    }

    /// Shows a list.
    pub(crate) fn list(&self, columns: &[Column<'_>], items: &[Value]) -> Result<(), Failure> {
        match self.format {
            Format::Table if items.is_empty() => {
                self.note("none");
                Ok(())
            }
            Format::Table => write_out(&table::list(columns, items, self.paint)),
            Format::Json => write_out(&pretty(&Value::Array(items.to_vec()))),
            Format::Ndjson => items
                .iter()
                .try_for_each(|item| self.line_of_json(&item.to_string())),
        }
    }

    /// Shows one thing.
    pub(crate) fn item(&self, fields: &[Column<'_>], item: &Value) -> Result<(), Failure> {
        match self.format {
            Format::Table => write_out(&table::item(fields, item, self.paint)),
            Format::Json => write_out(&pretty(item)),
            Format::Ndjson => self.line_of_json(&item.to_string()),
        }
    }

    /// A table below a thing, for people alone: programs have it in the thing.
    pub(crate) fn part(
        &self,
        title: &str,
        columns: &[Column<'_>],
        items: &[Value],
    ) -> Result<(), Failure> {
        if self.format != Format::Table || items.is_empty() {
            return Ok(());
        }
        write_out(&format!("\n{title}\n"))?;
        write_out(&table::list(columns, items, self.paint))
    }

    /// A document on a line of its own.
    #[expect(clippy::unused_self, reason = "results belong to the reporter")]
    pub(crate) fn line_of_json(&self, document: &str) -> Result<(), Failure> {
        write_out(&format!("{}\n", text::document(document)))
    }

    /// Text of tenants: as it is where a program reads it, on one line of a terminal.
    #[expect(clippy::unused_self, reason = "results belong to the reporter")]
    pub(crate) fn foreign(&self, text: &str) -> Result<(), Failure> {
        if std::io::stdout().is_terminal() {
            write_out(&on_one_line(text))
        } else {
            write_out(text)
        }
    }

    /// Text that is data, and ours.
    pub(crate) fn raw(&self, text: &str) -> Result<(), Failure> {
        write_out(text)
    }

    /// A line for people, on stderr.
    #[expect(clippy::unused_self, reason = "messages belong to the reporter")]
    pub(crate) fn note(&self, line: &str) {
        say(&on_one_line(line));
    }

    /// Says why the command failed and what to do, and gives its exit code.
    pub(crate) fn failure(&self, failure: &Failure) -> ExitCode {
        if !matches!(failure, Failure::OutputClosed) {
            match self.format {
                Format::Table => say(&words(failure, self.paint)),
                Format::Json | Format::Ndjson => {
                    say(&text::document(&document(failure).to_string()))
                }
            }
        }
        ExitCode::from(failure.exit())
    }
}

/// A failure for people.
fn words(failure: &Failure, paint: Paint) -> String {
    let title = match paint {
        Paint::Coloured if std::io::stderr().is_terminal() => "\u{1b}[31merror:\u{1b}[0m",
        Paint::Coloured | Paint::Plain => "error:",
    };
    let mut text = match failure {
        Failure::Refused { refusal, .. } => format!("{failure} ({})", refusal.code),
        _ => failure.to_string(),
    };
    text = format!("{title} {}", on_one_line(&text));
    for line in failure.details() {
        text.push_str(&format!("\n  {}", on_one_line(&line)));
    }
    for line in failure.next() {
        text.push_str(&format!("\n  next: {}", on_one_line(&line)));
    }
    if let Failure::Refused { refusal, .. } = failure
        && let Some(request) = &refusal.request_id
    {
        text.push_str(&format!("\n  request id: {}", on_one_line(request)));
    }
    text
}

/// A failure for programs.
fn document(failure: &Failure) -> Value {
    let request = match failure {
        Failure::Refused { refusal, .. } => refusal.request_id.clone(),
        _ => None,
    };
    json!({ "error": {
        "code": failure.code(), "exit": failure.exit(), "message": failure.to_string(),
        "details": failure.details(), "next": failure.next(), "request_id": request,
    }})
}

/// A number of things, in words: `1 tenant`, `2 tenants`.
pub(crate) fn counted<N: Copy + Display + Eq + From<u8>>(number: N, noun: &str) -> String {
    let ending = if number == N::from(1) { "" } else { "s" };
    format!("{number} {noun}{ending}")
}

fn pretty(value: &Value) -> String {
    text::document(&format!("{value:#}\n")).into_owned()
}

fn write_out(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    let written = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
    written.map_err(|error| match error.kind() {
        std::io::ErrorKind::BrokenPipe => Failure::OutputClosed,
        _ => Failure::Io("writing the result", error),
    })
}

fn say(line: &str) {
    // Nobody is there to hear that a message cannot be shown.
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}
