//! A question to many tenants.
//!
//! Deliberately streamed: rows are shown as they come; for a table or one document, which need all of them, how
//! many have come is shown on a terminal. Invariant: an answer that lacks rows of a tenant ends with exit code 1
//! and says which.

use std::io::{IsTerminal as _, Read as _};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use contract::operator::fleet::{NewQuery, QueryFormat};
use reqwest::Method;
use serde_json::{Value, json};

use super::selection::SelectionFlags;
use crate::context::Context;
use crate::failure::{Failure, text};
use crate::follow::Bar;
use crate::output::{Column, Format, counted, plain};
use crate::values;

/// Rows of a table that are read before it is shown.
const MOST_SHOWN: usize = 10_000;

/// Run a read-only SQL statement on many tenants.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  tenantctl query 'select count(*) as entries from entries.entry' --tier premium
  tenantctl query --csv --file open-sessions.sql > sessions.csv
  tenantctl query 'select count(*) from auth.account' -o ndjson | jq .row

The statement runs in a read-only transaction in each tenant. If rows of a tenant are missing, the exit
code is 1, and stderr says which tenants and why. The audit log keeps a SHA-256 of the statement; its text
is stored with the operation for 90 days, so put no personal data in it. With --csv, text that starts with
= + - @ or a tab gets an apostrophe in front, so that no spreadsheet runs it as a formula; -o ndjson leaves
it as it is.")]
pub(crate) struct QueryTenants {
    /// The SQL statement.
    #[arg(value_name = "SQL", required_unless_present = "file")]
    sql: Option<String>,
    /// Read the statement from a file; - reads stdin.
    #[arg(long, conflicts_with = "sql")]
    file: Option<PathBuf>,
    /// Print comma-separated values.
    #[arg(long, conflicts_with = "output")]
    csv: bool,
    /// Number of tenants at the same time: 1 to 16.
    #[arg(long, value_name = "COUNT")]
    at_once: Option<u32>,
    /// Time limit for each tenant.
    #[arg(long, value_name = "DURATION", value_parser = values::duration)]
    tenant_timeout: Option<Duration>,
    /// Row limit for each tenant.
    #[arg(long, value_name = "COUNT")]
    row_limit: Option<u32>,
    #[command(flatten)]
    selection: SelectionFlags,
}

impl QueryTenants {
    pub(crate) async fn run(self, context: &Context) -> Result<(), Failure> {
        let sql = self.statement()?;
        let timeout = self.tenant_timeout.map(|timeout| timeout.as_millis());
        let query = NewQuery {
            sql,
            filter: self.selection.into(),
            format: if self.csv {
                QueryFormat::Csv
            } else {
                QueryFormat::Ndjson
            },
            at_once: self.at_once,
            timeout_ms: timeout.map(|millis| u32::try_from(millis).unwrap_or(u32::MAX)),
            row_limit: self.row_limit,
        };
        let body = json!(query);
        let api = context.api()?;
        let response = api.stream(Method::POST, "/v1/query", Some(&body)).await?;
        let mut answer = Answer::default();
        let mut lines = Lines::new(response);
        let keeps_rows = !self.csv && context.out.format() != Format::Ndjson;
        let bar = keeps_rows.then(Bar::new);
        loop {
            if let Some(bar) = &bar {
                bar.said(&answer.so_far());
            }
            match (lines.next().await, self.csv) {
                (Ok(Some(line)), true) => answer.csv(context, &line)?,
                (Ok(Some(line)), false) => answer.ndjson(context, &line)?,
                (Ok(None), true) => return answer.csv_end(context),
                (Ok(None), false) => {
                    drop(bar);
                    return answer.ndjson_end(context);
                }
                (Err(_), _) => return Err(broke_off()),
            }
        }
    }

    fn statement(&self) -> Result<String, Failure> {
        let file = self.file.as_deref().unwrap_or(std::path::Path::new("-"));
        let failed = Failure::file("reading", file);
        match (&self.sql, &self.file) {
            (Some(sql), _) => Ok(sql.clone()),
            (None, Some(file)) if file.as_os_str() != "-" => {
                std::fs::read_to_string(file).map_err(failed)
            }
            _ if std::io::stdin().is_terminal() => Err(Failure::usage(
                "give a statement, or pipe one in with --file -",
            )),
            _ => {
                let mut sql = String::new();
                std::io::stdin()
                    .lock()
                    .read_to_string(&mut sql)
                    .map_err(failed)?;
                Ok(sql)
            }
        }
    }
}

/// A line of comma-separated values.
#[derive(Debug, PartialEq, Eq)]
enum CsvLine<'a> {
    /// Of a row, or of the head.
    Row,
    /// What is missing of a tenant.
    Missing(&'a str),
    /// The last one of an answer that lacks rows.
    Partial(&'a str),
    /// The last one of an answer that has all.
    End(&'a str),
}

/// Which lines of comma-separated values are rows.
#[derive(Debug, Default)]
struct CsvLines {
    /// Whether a value that began on a line before goes on.
    in_quotes: bool,
}

impl CsvLines {
    /// What the next line is. What starts with `#` is no row, unless a value has it.
    fn next<'a>(&mut self, line: &'a str) -> CsvLine<'a> {
        let remark = line.strip_prefix('#').filter(|_| !self.in_quotes);
        let Some(remark) = remark.map(str::trim) else {
            // A quote within a value is two.
            self.in_quotes ^= line.matches('"').count() % 2 == 1;
            return CsvLine::Row;
        };
        match remark.split_once(": ") {
            Some(("end", words)) => CsvLine::End(words),
            Some(("partial", words)) => CsvLine::Partial(words),
            _ => CsvLine::Missing(remark),
        }
    }
}

/// What came so far.
#[derive(Debug, Default)]
struct Answer {
    rows: Vec<Value>,
    failed: Vec<Value>,
    csv: CsvLines,
    /// How it ended; none as long as it has not.
    end: Option<Ending>,
}

/// How an answer ended, in words.
#[derive(Debug)]
enum Ending {
    /// With every row.
    Complete(String),
    /// Without those of some tenants.
    Partial(String),
}

impl Answer {
    /// How much of it is here, in words.
    fn so_far(&self) -> String {
        let rows = counted(self.rows.len() as u64, "row");
        match self.failed.len() {
            0 => format!("query: {rows} so far"),
            _ => format!(
                "query: {rows} so far; {} failed",
                counted(self.failed.len() as u64, "tenant")
            ),
        }
    }

    fn ndjson(&mut self, context: &Context, line: &str) -> Result<(), Failure> {
        let value: Value = serde_json::from_str(line).unwrap_or_default();
        if let Some(end) = value.get("end") {
            let words = format!("{} rows of {} tenants", end["rows"], end["tenants"]);
            self.end = Some(match end["complete"].as_bool() {
                Some(true) => Ending::Complete(words),
                _ => Ending::Partial(format!(
                    "{words}; rows of {} tenants are missing",
                    end["failed"]
                )),
            });
        } else if value.get("error").is_some() {
            self.failed.push(value.clone());
        }
        match context.out.format() {
            Format::Ndjson => context.out.line_of_json(line),
            Format::Table | Format::Json => {
                if value.get("row").is_some() {
                    self.rows.push(value);
                }
                Ok(())
            }
        }
    }

    /// What is missing is said beside the rows, too, where a file of them is kept.
    fn csv(&mut self, context: &Context, line: &str) -> Result<(), Failure> {
        match self.csv.next(line) {
            CsvLine::Row => {}
            CsvLine::Missing(words) => context.out.note(words),
            CsvLine::Partial(words) => self.end = Some(Ending::Partial(words.to_owned())),
            CsvLine::End(words) => {
                self.end = Some(Ending::Complete(words.to_owned()));
                return Ok(());
            }
        }
        // The end of a line within a value is the value's.
        if self.csv.in_quotes {
            return context.out.foreign(&format!("{line}\n"));
        }
        context.out.foreign(line)?;
        context.out.raw("\n")
    }

    fn csv_end(self, context: &Context) -> Result<(), Failure> {
        ended(context, self.end)
    }

    fn ndjson_end(self, context: &Context) -> Result<(), Failure> {
        match context.out.format() {
            Format::Json => context.out.list(&[], &self.rows)?,
            Format::Table => table(context, &self.rows)?,
            Format::Ndjson => {}
        }
        for failed in &self.failed {
            context.out.note(&format!(
                "{}: {} ({})",
                text(failed, "/tenant"),
                text(failed, "/error/detail"),
                text(failed, "/error/code"),
            ));
        }
        ended(context, self.end)
    }
}

/// How an answer ended; one that says nothing of it broke off.
fn ended(context: &Context, end: Option<Ending>) -> Result<(), Failure> {
    match end {
        Some(Ending::Complete(words)) => {
            context.out.note(&words);
            Ok(())
        }
        Some(Ending::Partial(what)) => Err(Failure::Found {
            what,
            next: vec![
                "fix the errors above, or query those tenants again with --tenant".to_owned(),
            ],
        }),
        None => Err(broke_off()),
    }
}

fn broke_off() -> Failure {
    Failure::Found {
        what: "the connection was lost; the result above is not complete".to_owned(),
        next: vec!["run the command again".to_owned()],
    }
}

/// Rows as a table, with the columns of the first one.
fn table(context: &Context, rows: &[Value]) -> Result<(), Failure> {
    let names: Vec<&String> = rows
        .first()
        .and_then(|row| row["row"].as_object())
        .map(|row| row.keys().collect())
        .unwrap_or_default();
    let pointers: Vec<String> = names
        .iter()
        .map(|name| format!("/row/{}", name.replace('~', "~0").replace('/', "~1")))
        .collect();
    let mut columns: Vec<Column<'_>> = vec![plain("tenant", "/tenant")];
    columns.extend(
        names
            .iter()
            .zip(&pointers)
            .map(|(name, pointer)| plain(name, pointer)),
    );
    if rows.len() > MOST_SHOWN {
        context.out.note(&format!(
            "These are the first {MOST_SHOWN} of {} rows; -o ndjson or --csv prints all.",
            rows.len()
        ));
    }
    context
        .out
        .list(&columns, &rows[..rows.len().min(MOST_SHOWN)])
}

/// Lines of an answer as they come.
struct Lines {
    response: reqwest::Response,
    /// What was read beyond the last line.
    rest: Vec<u8>,
    over: bool,
}

impl Lines {
    const fn new(response: reqwest::Response) -> Self {
        Self {
            response,
            rest: Vec::new(),
            over: false,
        }
    }

    /// The next line without its end; none at the end of the answer.
    async fn next(&mut self) -> Result<Option<String>, reqwest::Error> {
        loop {
            if let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
                let mut line: Vec<u8> = self.rest.drain(..=end).collect();
                line.pop();
                return Ok(Some(String::from_utf8_lossy(&line).into_owned()));
            }
            if self.over {
                let last = std::mem::take(&mut self.rest);
                let last = String::from_utf8_lossy(&last).into_owned();
                return Ok(Some(last).filter(|line| !line.is_empty()));
            }
            match self.response.chunk().await? {
                Some(chunk) => self.rest.extend_from_slice(&chunk),
                None => self.over = true,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remark_is_no_value_and_a_value_is_no_remark() {
        let mut lines = CsvLines::default();
        for line in [
            "tenant,title",
            "t_acme,\"first",
            "# second",
            "# end: \"\"quoted\"\"",
            "# third\"",
            "t_acme,\"\"\"#\"\"\"",
            "t_beta,\"#1\"",
        ] {
            assert_eq!(lines.next(line), CsvLine::Row, "{line}");
        }
        let missing = "t_beta: timeout: It took too long.";
        let line = format!("# {missing}");
        assert_eq!(lines.next(&line), CsvLine::Missing(missing));
        let partial = "# partial: rows of 1 of 2 tenants are missing";
        let words = "rows of 1 of 2 tenants are missing";
        assert_eq!(lines.next(partial), CsvLine::Partial(words));
        let end = "# end: 3 rows of 2 tenants";
        assert_eq!(lines.next(end), CsvLine::End("3 rows of 2 tenants"));
    }
}
