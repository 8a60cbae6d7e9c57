//! Reading a file of tenants: CSV or NDJSON, row by row.
//!
//! Deliberately pure. Invariant: a row that cannot be read is a row that failed, with its number; only
//! a file that is none is refused as a whole.

use contract::Code;
use contract::operator::operation::Failure;
use kit::error::{Problem, Result};
use kit::passwords::Password;

use crate::tenants::intake::NewSignup;
use crate::tenants::labelled::Labelled;

/// The most rows of a file.
const MAX_ROWS: usize = 10_000;

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Csv,
    Ndjson,
}

impl Format {
    /// The format that a content type names.
    ///
    /// # Errors
    /// It names another one.
    pub(super) fn of(content_type: &str) -> Result<Self> {
        let media = content_type.split(';').next().unwrap_or_default().trim();
        match media.to_ascii_lowercase().as_str() {
            "text/csv" => Ok(Self::Csv),
            "application/x-ndjson" => Ok(Self::Ndjson),
            _ => Err(Problem::new(Code::ContentTypeUnsupported)
                .detail("Send text/csv or application/x-ndjson.")),
        }
    }
}

/// A row as it was read, or why it cannot be.
pub(crate) type NewRow = std::result::Result<NewSignup, Failure>;

/// The rows of a file, in their order.
///
/// # Errors
/// There is none, there are too many, or the header of a CSV is missing.
pub(super) fn rows(format: Format, bytes: &[u8]) -> Result<Vec<NewRow>> {
    let rows: Vec<NewRow> = match format {
        Format::Csv => {
            let mut reader = csv::ReaderBuilder::new()
                .trim(csv::Trim::All)
                .from_reader(bytes);
            let rows = reader.deserialize::<Labelled>().take(MAX_ROWS + 1);
            rows.map(|row| {
                let row = row.map_err(|error| unreadable(&csv_words(&error)))?;
                Ok(row.into())
            })
            .collect()
        }
        Format::Ndjson => bytes
            .split(|&byte| byte == b'\n')
            .filter(|line| !line.trim_ascii().is_empty())
            .take(MAX_ROWS + 1)
            .map(|line| {
                let row = kit::extract::parse::<Labelled>(line).map(NewSignup::from);
                row.map_err(|problem| {
                    let document = problem.document(None);
                    let field = document.errors.first();
                    let words = field.map(|field| format!("{} {}", field.pointer, field.detail));
                    unreadable(&words.or(document.detail).unwrap_or(document.title))
                })
            })
            .collect(),
    };
    let rows: Vec<NewRow> = rows.into_iter().map(|row| row.and_then(bounded)).collect();
    match rows.len() {
        0 => Err(Problem::new(Code::ValidationFailed).detail("The file has no row.")),
        count if count > MAX_ROWS => Err(Problem::new(Code::ValidationFailed).detail(format!(
            "The file has more than {MAX_ROWS} rows: send it in parts."
        ))),
        _ => Ok(rows),
    }
}

/// Refuses a password of a length that no password has: it is not worth sealing.
fn bounded(signup: NewSignup) -> NewRow {
    let lengths = Password::MIN_CHARACTERS..=Password::MAX_CHARACTERS;
    if lengths.contains(&signup.password().expose().chars().count()) {
        return Ok(signup);
    }
    Err(Failure {
        code: Code::ValidationFailed,
        detail: format!(
            "/password has {} to {} characters",
            lengths.start(),
            lengths.end()
        ),
    })
}

fn unreadable(words: &str) -> Failure {
    Failure {
        code: Code::ValidationFailed,
        detail: format!("The row cannot be read: {words}."),
    }
}

/// Why a record does not fit, without what is in it.
fn csv_words(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::Deserialize { err, .. } => match err.kind() {
            csv::DeserializeErrorKind::Message(words) => words.clone(),
            _ => "a field does not fit".to_owned(),
        },
        csv::ErrorKind::UnequalLengths {
            expected_len, len, ..
        } => format!("it has {len} fields and the header has {expected_len}"),
        csv::ErrorKind::Utf8 { .. } => "it is not UTF-8".to_owned(),
        _ => "it is no CSV".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CSV: &str = "company,slug,email,password,tier\n\
         Acme Corp,acme,ada@acme.example,correct horse battery staple,\n\
         Beta,beta,bob@beta.example,correct horse battery staple\n\
         \"Gamma, Inc\",,eve@gamma.example,correct horse battery staple,premium\n";

    fn read(format: Format, text: &str) -> Vec<NewRow> {
        rows(format, text.as_bytes()).unwrap()
    }

    #[test]
    fn a_row_that_does_not_fit_fails_alone_and_is_not_quoted() {
        let rows = read(Format::Csv, CSV);
        assert_eq!(rows.len(), 3);
        assert!(rows[0].is_ok() && rows[2].is_ok(), "{rows:?}");
        let failure = rows[1].as_ref().unwrap_err();
        assert!(failure.detail.contains("4 fields"), "{failure:?}");
        assert!(!failure.detail.contains("bob"), "{failure:?}");

        let text = "{\"company\":\"A\",\"email\":\"a@b.example\",\"password\":\"correct horse\"}\n\n\
             {\"company\":\"B\"}\nno json\n\
             {\"company\":\"B\",\"email\":\"\",\"password\":\"x\",\"colour\":1}\n";
        let rows = read(Format::Ndjson, text);
        let failed: Vec<bool> = rows.iter().map(Result::is_err).collect();
        assert_eq!(failed, [false, true, true, true]);
    }

    #[test]
    fn labels_are_an_object_or_a_cell() {
        let text = "company,email,password,labels\nA,a@b.example,correct horse,disk=nvme rack=7\n\
                    B,b@b.example,correct horse,\nC,c@b.example,correct horse,nvme\n";
        let rows = read(Format::Csv, text);
        let labels = |row: &NewRow| row.as_ref().unwrap().without_password()["labels"].to_string();
        assert_eq!(labels(&rows[0]), r#"{"disk":"nvme","rack":"7"}"#);
        assert_eq!(labels(&rows[1]), "{}");
        assert!(rows[2].is_err());
        let text = r#"{"company":"A","email":"a@b.example","password":"correct horse","labels":{"disk":"nvme"}}"#;
        let rows = read(Format::Ndjson, text);
        assert_eq!(labels(&rows[0]), r#"{"disk":"nvme"}"#);
    }

    #[test]
    fn a_row_without_a_password_fails_alone() {
        let rows = read(
            Format::Csv,
            &format!(
                "company,email,password\nA,a@b.example,\nB,b@b.example,correct horse\nC,c@b.example,{}\n",
                "x".repeat(70_000)
            ),
        );
        let failed: Vec<bool> = rows.iter().map(Result::is_err).collect();
        assert_eq!(failed, [true, false, true]);
        let failure = rows[0].as_ref().unwrap_err();
        assert_eq!(failure.detail, "/password has 8 to 128 characters");
    }

    #[test]
    fn a_file_without_rows_or_with_too_many_is_refused() {
        assert!(rows(Format::Csv, b"company,email,password\n").is_err());
        assert!(rows(Format::Ndjson, b"\n\n").is_err());
        assert!(rows(Format::Ndjson, &b"{}\n".repeat(MAX_ROWS + 1)).is_err());
        assert!(rows(Format::Ndjson, &b"{}\n".repeat(MAX_ROWS)).is_ok());
    }

    #[test]
    fn the_content_type_says_the_format() {
        assert_eq!(Format::of("text/csv; charset=utf-8").unwrap(), Format::Csv);
        assert_eq!(Format::of("Application/X-NDJSON").unwrap(), Format::Ndjson);
        assert!(Format::of("application/json").is_err());
    }
}
