//! Values that arguments have beyond plain text: times, durations, labels, ids with advice.
//!
//! Deliberately parsed before anything is sent. Invariant: a message says which form is right.

use std::str::FromStr;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use contract::{Slug, TenantId};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A word of a closed list, which the help shows.
pub(crate) fn one_of<T>(
    words: impl IntoIterator<Item = &'static str>,
) -> impl TypedValueParser<Value = T>
where
    T: FromStr<Err: std::error::Error + Send + Sync + 'static> + Clone + Send + Sync + 'static,
{
    PossibleValuesParser::new(words).try_map(|word| word.parse())
}

/// A duration such as `90s`, `10m`, `72h` or `7d`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let split = text.len() - usize::from(text.ends_with(|c: char| c.is_ascii_alphabetic()));
    let (number, unit) = text.split_at(split);
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => 0,
    };
    match number
        .parse::<u64>()
        .ok()
        .and_then(|n| n.checked_mul(seconds))
    {
        Some(seconds) if seconds > 0 => Ok(Duration::from_secs(seconds)),
        _ => Err("expected a duration with a unit: 90s, 10m, 72h or 7d".to_owned()),
    }
}

/// A duration in whole minutes.
pub(crate) fn minutes(text: &str) -> Result<u32, String> {
    let seconds = duration(text)?.as_secs();
    u32::try_from(seconds / 60)
        .ok()
        .filter(|minutes| *minutes > 0 && seconds % 60 == 0)
        .ok_or_else(|| "expected whole minutes, such as 90m or 6h".to_owned())
}

/// A time: RFC 3339.
pub(crate) fn rfc3339(text: &str) -> Result<OffsetDateTime, String> {
    OffsetDateTime::parse(text, &Rfc3339)
        .map_err(|_| "expected a time such as 2026-12-24T18:00:00Z".to_owned())
}

/// A time: a duration from now.
pub(crate) fn from_now(text: &str) -> Result<OffsetDateTime, String> {
    let ahead = duration(text)?.try_into().ok();
    ahead
        .and_then(|ahead| OffsetDateTime::now_utc().checked_add(ahead))
        .ok_or_else(|| "the duration is too long".to_owned())
}

/// A time: RFC 3339, or a duration from now.
pub(crate) fn moment(text: &str) -> Result<OffsetDateTime, String> {
    rfc3339(text).or_else(|_| from_now(text)).map_err(|_| {
        "expected a time such as 2026-12-24T18:00:00Z, or a duration from now, such as 2h or 7d"
            .to_owned()
    })
}

/// A time: RFC 3339, or how long ago.
pub(crate) fn past(text: &str) -> Result<OffsetDateTime, String> {
    if let Ok(at) = rfc3339(text) {
        return Ok(at);
    }
    duration(text)
        .ok()
        .and_then(|ago| OffsetDateTime::now_utc().checked_sub(ago.try_into().ok()?))
        .ok_or_else(|| {
            "expected a time such as 2026-12-24T18:00:00Z, or how long ago, such as 2h or 7d"
                .to_owned()
        })
}

/// What people type for a new tenant, or the id that it gives.
pub(crate) fn new_slug(text: &str) -> Result<Slug, String> {
    let slug = match text.strip_prefix("t_") {
        Some(name) => name.replace('_', "-"),
        None => text.to_owned(),
    };
    slug.parse::<Slug>()
        .map_err(|error| format!("a slug is {}", error.rule()))
}

/// A time as the platform reads it. Years beyond 9999 have no RFC 3339 form; no caller can give one.
pub(crate) fn written(at: OffsetDateTime) -> String {
    at.format(&Rfc3339).unwrap_or_default()
}

/// A tenant's id, with the one that was probably meant.
pub(crate) fn tenant(text: &str) -> Result<TenantId, String> {
    text.parse::<TenantId>().map_err(|error| {
        let name = text.to_lowercase().replace('-', "_");
        let guess = format!("t_{}", name.trim_start_matches("t_"));
        match guess.parse::<TenantId>() {
            Ok(guess) => format!("expected a tenant id; did you mean {guess}?"),
            Err(_) => format!("a tenant id is {}", error.rule()),
        }
    })
}

/// A label such as `disk=nvme`.
pub(crate) fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => {
            Ok((name.to_owned(), value.to_owned()))
        }
        _ => Err("expected name=value, such as disk=nvme".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("7d"), Ok(Duration::from_secs(7 * 86_400)));
        for bad in [
            "",
            "s",
            "10",
            "0s",
            "-1h",
            "1w",
            "1.5h",
            "99999999999999999999d",
            "1é",
        ] {
            assert!(duration(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn minutes_are_whole() {
        assert_eq!(minutes("6h"), Ok(360));
        assert_eq!(minutes("120s"), Ok(2));
        assert!(minutes("90s").unwrap_err().contains("90m"));
    }

    #[test]
    fn times_are_absolute_or_from_now() {
        assert!(moment("2026-12-24T18:00:00Z").is_ok());
        assert!(moment("2h").unwrap() > OffsetDateTime::now_utc());
        assert!(moment("tomorrow").unwrap_err().contains("2h"));
        assert!(from_now("90d").unwrap() > OffsetDateTime::now_utc());
        for bad in ["2026-12-24T18:00:00Z", "99999999999999d", "0d"] {
            assert!(from_now(bad).is_err(), "{bad}");
        }
        assert!(rfc3339("2h").unwrap_err().contains("2026"));
    }

    #[test]
    fn a_time_is_given_or_ago() {
        assert!(past("2026-12-24T18:00:00Z").is_ok());
        assert!(past("2h").unwrap() < OffsetDateTime::now_utc());
        assert!(past("yesterday").unwrap_err().contains("2h"));
    }

    #[test]
    fn a_new_tenant_is_named_by_its_slug_or_its_id() {
        for text in ["acme-old", "t_acme_old"] {
            let slug = new_slug(text).unwrap();
            assert_eq!(slug.tenant_id().as_str(), "t_acme_old");
        }
        for text in ["Acme", "t_", "t_acme__old", "acme_old", ""] {
            assert!(new_slug(text).unwrap_err().contains("hyphen"), "{text}");
        }
    }

    #[test]
    fn a_slug_is_answered_with_its_id() {
        assert!(tenant("t_acme").is_ok());
        assert!(tenant("acme-corp").unwrap_err().contains("t_acme_corp"));
        assert!(tenant("!").unwrap_err().contains("`t_`"));
    }
}
