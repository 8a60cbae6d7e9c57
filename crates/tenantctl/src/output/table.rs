//! Tables of JSON documents.
//!
//! Deliberately without lines around cells: what is shown can be cut and pasted. Invariant: a value
//! that is not there is `-`, and no value is more than its place: tenants wrote some of them.

use std::io::IsTerminal as _;

use comfy_table::{Cell, Color, ColumnConstraint, ContentArrangement, Table, presets};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

use super::columns::Show;
use super::text::on_one_line;
use super::{Column, Paint};

const NOTHING: &str = "-";
/// As long as a tenant's id.
const LONGEST_WORD: usize = 42;

/// A row per thing.
pub(super) fn list(columns: &[Column<'_>], items: &[Value], paint: Paint) -> String {
    let mut table = empty(paint);
    table.set_header(
        columns
            .iter()
            .map(|column| on_one_line(&column.title.to_uppercase()).into_owned()),
    );
    for item in items {
        table.add_row(columns.iter().map(|column| cell(column, item)));
    }
    // An id in two lines cannot be copied.
    for (at, column) in columns.iter().enumerate() {
        let words = items
            .iter()
            .all(|item| found(column, item).is_none_or(|value| is_word(&plain(value))));
        if words
            && column.show == Show::Plain
            && let Some(column) = table.column_mut(at)
        {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
    }
    finished(&table)
}

/// A row per part of a thing; parts that are not there are left out.
pub(super) fn item(fields: &[Column<'_>], item: &Value, paint: Paint) -> String {
    let mut table = empty(paint);
    for field in fields {
        if found(field, item).is_some() {
            table.add_row([Cell::new(field.title), cell(field, item)]);
        }
    }
    finished(&table)
}

fn empty(paint: Paint) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    // A terminal that does not know its width has none to keep to.
    if std::io::stdout().is_terminal() && table.width().is_some_and(|width| width > 0) {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    }
    if paint == Paint::Plain {
        table.force_no_tty();
    }
    table
}

/// The table's text: columns two spaces apart, no spaces at the ends of lines.
fn finished(table: &Table) -> String {
    table
        .lines()
        .map(|line| format!("{}\n", line.strip_prefix(' ').unwrap_or(&line).trim_end()))
        .collect()
}

/// The value of a column that is there.
fn found<'v>(column: &Column<'_>, item: &'v Value) -> Option<&'v Value> {
    std::iter::once(column.pointer)
        .chain(column.other)
        .find_map(|pointer| item.pointer(pointer).filter(|value| !is_nothing(value)))
}

/// Whether a text is one word of the length of an id, or less.
fn is_word(text: &str) -> bool {
    text.len() <= LONGEST_WORD && !text.contains(char::is_whitespace)
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

fn cell(column: &Column<'_>, item: &Value) -> Cell {
    let Some(value) = found(column, item) else {
        return Cell::new(NOTHING);
    };
    match column.show {
        Show::Plain => Cell::new(plain(value)),
        Show::Time => Cell::new(moment(value)),
        Show::Bytes => Cell::new(size(value)),
        Show::State => {
            let word = plain(value);
            match colour(&word) {
                Some(colour) => Cell::new(word).fg(colour),
                None => Cell::new(word),
            }
        }
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => on_one_line(text).into_owned(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(plain).collect();
            items.join(", ")
        }
        Value::Object(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .filter(|(_, value)| !is_nothing(value))
                .map(|(name, value)| (on_one_line(name), value))
                .map(|(name, value)| match value {
                    Value::Object(_) => format!("{name}: {{{}}}", plain(value)),
                    _ => format!("{name}={}", plain(value)),
                })
                .collect();
            fields.join(", ")
        }
        Value::Null => NOTHING.to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Number(number) => number.to_string(),
    }
}

/// A time in UTC, to the second.
fn moment(value: &Value) -> String {
    let text = plain(value);
    let shown = OffsetDateTime::parse(&text, &Rfc3339).ok().and_then(|at| {
        at.to_offset(time::UtcOffset::UTC)
            .format(format_description!(
                "[year]-[month]-[day] [hour]:[minute]:[second]Z"
            ))
            .ok()
    });
    shown.unwrap_or(text)
}

#[expect(clippy::cast_precision_loss, reason = "one digit is shown")]
fn size(value: &Value) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let Some(bytes) = value.as_u64() else {
        return plain(value);
    };
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut size = bytes as f64 / 1024.0;
    let mut unit = UNITS[0];
    for next in &UNITS[1..] {
        if size < 1024.0 {
            break;
        }
        size /= 1024.0;
        unit = next;
    }
    format!("{size:.1} {unit}")
}

fn colour(word: &str) -> Option<Color> {
    match word {
        "active" | "done" | "ok" | "ready" => Some(Color::Green),
        "provisioning" | "running" | "paused" | "suspended" | "draining" | "full" | "warn"
        | "pending" | "writing" | "unwinding" => Some(Color::Yellow),
        "deleted" | "undone" | "stuck" | "failed" | "bad" | "halted" | "corrupt" | "aborted" => {
            Some(Color::Red)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{bytes, plain, state, time};
    use super::*;

    #[test]
    fn a_list_has_a_row_per_thing() {
        let columns = [
            plain("id", "/id"),
            state("status", "/status"),
            bytes("size", "/size"),
            time("created", "/created_at"),
            plain("versions", "/versions"),
        ];
        let items = [
            json!({"id": "t_acme", "status": "active", "size": 1536,
                "created_at": "2026-01-05T09:30:00.123+01:00", "versions": {"auth": 2, "entries": 1}}),
            json!({"id": "t_b", "status": "suspended", "size": 12, "versions": {}}),
        ];
        insta::assert_snapshot!(list(&columns, &items, Paint::Plain), @r"
        ID      STATUS     SIZE     CREATED               VERSIONS
        t_acme  active     1.5 KiB  2026-01-05 08:30:00Z  auth=2, entries=1
        t_b     suspended  12 B     -                     -
        ");
    }

    #[test]
    fn a_value_stays_in_its_row() {
        let columns = [plain("title\n", "/a"), state("state", "/b")];
        let items = [
            json!({"a": "\u{1b}[2J\nok", "b": "\u{202e}"}),
            json!({"a": {"\r": ["\u{9b}"]}}),
        ];
        insta::assert_snapshot!(list(&columns, &items, Paint::Plain), @r"
        TITLE\n        STATE
        \u{1b}[2J\nok  \u{202e}
        \r=\u{9b}      -
        ");
    }

    #[test]
    fn a_thing_leaves_out_what_is_not_there() {
        let fields = [
            plain("name", "/name"),
            plain("what", "/a").or("/b"),
            plain("none", "/c"),
        ];
        let shown = item(
            &fields,
            &json!({"name": "main", "b": true, "c": null}),
            Paint::Plain,
        );
        insta::assert_snapshot!(shown, @r"
        name  main
        what  yes
        ");
    }
}
