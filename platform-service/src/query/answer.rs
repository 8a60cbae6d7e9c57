//! Tenants' answers as lines of JSON or of comma-separated values.
//!
//! Deliberately without looking into a row where its text will do: numbers stay as exact as the server
//! wrote them. Invariants: what is missing is said in the answer itself, in the format's own way; its last
//! line is how it ended; no text in comma-separated values starts as a formula.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use axum::body::Bytes;
use contract::Code;
use contract::operator::fleet::{QueryEnd, QueryError, QueryFormat, QueryLine};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::{Answered, End};

/// Writes answers.
#[derive(Debug)]
pub(super) struct Writer {
    format: QueryFormat,
    /// The columns of the first row that came, which all others must have.
    columns: Option<Vec<String>>,
    /// What is said of tenants at the end.
    notes: Vec<String>,
}

impl Writer {
    pub(super) fn new(format: QueryFormat) -> Self {
        Self {
            format,
            columns: None,
            notes: Vec::new(),
        }
    }

    /// The lines of one tenant; counts what it gave.
    pub(super) fn tenant(&mut self, answered: &Answered, end: &mut End) -> Bytes {
        let mut text = String::new();
        let (rows, missing) = match self.format {
            QueryFormat::Ndjson => ndjson(answered, &mut text),
            QueryFormat::Csv => self.csv(answered, &mut text),
        };
        end.answered += 1;
        end.rows += rows;
        if let Some(error) = missing {
            end.failed += 1;
            self.missing(answered, error, &mut text);
        }
        text.into()
    }

    fn missing(&mut self, answered: &Answered, error: QueryError, text: &mut String) {
        match self.format {
            QueryFormat::Ndjson => push_line(
                text,
                &QueryLine::Failed {
                    tenant: answered.tenant.clone(),
                    error,
                },
            ),
            QueryFormat::Csv => {
                let words = error.detail.replace(['\n', '\r'], " ");
                let note = format!("# {}: {}: {words}\n", answered.tenant, error.code.as_str());
                self.notes.push(note);
            }
        }
    }

    /// The last lines.
    pub(super) fn end(&mut self, end: &QueryEnd) -> Bytes {
        let mut text = String::new();
        match self.format {
            QueryFormat::Ndjson => push_line(&mut text, &QueryLine::End { end: *end }),
            QueryFormat::Csv => {
                if self.columns.is_none() {
                    text.push_str("tenant\n");
                }
                text.extend(self.notes.drain(..));
                text += &match end.complete {
                    true => format!("# end: {} rows of {} tenants\n", end.rows, end.tenants),
                    false => format!(
                        "# partial: rows of {} of {} tenants are missing\n",
                        end.failed.max(1),
                        end.tenants
                    ),
                };
            }
        }
        text.into()
    }

    /// Gives how many rows were written, and why there are not more.
    fn csv(&mut self, answered: &Answered, text: &mut String) -> (u64, Option<QueryError>) {
        let mut written = 0;
        for row in &answered.rows {
            let Ok(Columns(columns)) = serde_json::from_str(row) else {
                return (written, Some(unlike("A row of it cannot be read.")));
            };
            let names = columns.iter().map(|(name, _)| name);
            match &self.columns {
                None => {
                    let head: Vec<_> = names.clone().map(|name| tame(name)).collect();
                    let tenant = std::iter::once("tenant");
                    push_record(text, tenant.chain(head.iter().map(AsRef::as_ref)));
                    self.columns = Some(names.cloned().collect());
                }
                Some(known) if names.eq(known) => {}
                Some(_) => {
                    let words = "It has other columns than the tenants before it.";
                    return (written, Some(unlike(words)));
                }
            }
            let values: Vec<_> = columns.iter().map(|(_, value)| cell(value)).collect();
            let record = std::iter::once(answered.tenant.as_str());
            push_record(text, record.chain(values.iter().map(AsRef::as_ref)));
            written += 1;
        }
        (written, answered.missing.clone())
    }
}

fn unlike(words: &str) -> QueryError {
    QueryError {
        code: Code::ValidationFailed,
        sqlstate: None,
        detail: words.to_owned(),
    }
}

fn ndjson(answered: &Answered, text: &mut String) -> (u64, Option<QueryError>) {
    // All rows of a tenant have the columns of the first.
    let first = answered.rows.first().map(|row| serde_json::from_str(row));
    if let Some(Ok(Columns(columns))) = first
        && let Some(name) = twice(&columns)
    {
        let words = format!(
            "Two columns are named {name:?}, which JSON cannot tell apart: give one another name with `as`, or ask for CSV."
        );
        return (0, Some(unlike(&words)));
    }
    for row in &answered.rows {
        // Between its values a row may have line ends: a column of type `json` keeps its own.
        let row = row.replace(['\n', '\r'], " ");
        // An id needs no escape.
        *text += &format!("{{\"tenant\":\"{}\",\"row\":{row}}}\n", answered.tenant);
    }
    (answered.rows.len() as u64, answered.missing.clone())
}

/// A name that two columns have.
fn twice(columns: &[(String, Value)]) -> Option<&str> {
    let mut seen = HashSet::new();
    let mut names = columns.iter().map(|(name, _)| name.as_str());
    names.find(|name| !seen.insert(*name))
}

fn push_line(text: &mut String, line: &QueryLine) {
    // Texts and numbers alone: it cannot fail.
    text.push_str(&serde_json::to_string(line).unwrap_or_default());
    text.push('\n');
}

fn push_record<'a>(text: &mut String, cells: impl Iterator<Item = &'a str>) {
    for (position, cell) in cells.enumerate() {
        if position > 0 {
            text.push(',');
        }
        // A line that starts with `#` is ours.
        let needs_quotes = cell.contains([',', '"', '\n', '\r']) || cell.starts_with('#');
        if needs_quotes {
            *text += &format!("\"{}\"", cell.replace('"', "\"\""));
        } else {
            text.push_str(cell);
        }
    }
    text.push('\n');
}

fn cell(value: &Value) -> Cow<'_, str> {
    match value {
        Value::Null => "".into(),
        Value::String(text) => tame(text),
        other => other.to_string().into(),
    }
}

/// A text that no spreadsheet takes for a formula: what tenants' people wrote is read by operators.
fn tame(text: &str) -> Cow<'_, str> {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        format!("'{text}").into()
    } else {
        text.into()
    }
}

/// A JSON object as its columns, in their order and with all that have the same name.
struct Columns(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Columns {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Columns;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a row")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Columns, A::Error> {
                let mut columns = Vec::new();
                while let Some(column) = map.next_entry()? {
                    columns.push(column);
                }
                Ok(Columns(columns))
            }
        }

        deserializer.deserialize_map(InOrder)
    }
}
