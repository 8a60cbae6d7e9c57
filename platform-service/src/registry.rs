//! The registry: connections to it, and from its rows to types of the domain.
//!
//! Deliberately no statement of its own. Invariant: what does not fit, its type when it is read
//! or its column when it is written, is an error, never a panic, a guess or the nearest that fits.

mod pool;

use std::error::Error as StdError;
use std::str::FromStr;
use std::time::Duration;

use serde::de::DeserializeOwned;
use sqlx::postgres::types::PgInterval;

pub(crate) use pool::{Held, RegistryPool};

/// A column that does not hold what it must.
#[derive(Debug, thiserror::Error)]
#[error("the registry's column {column} holds something else than it must")]
struct BadColumn {
    column: &'static str,
    #[source]
    cause: Box<dyn StdError + Send + Sync>,
}

fn bad(column: &'static str, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> sqlx::Error {
    let cause = cause.into();
    sqlx::Error::Decode(BadColumn { column, cause }.into())
}

/// A text column as its type.
pub(crate) fn parsed<T>(column: &'static str, text: &str) -> Result<T, sqlx::Error>
where
    T: FromStr<Err: StdError + Send + Sync + 'static>,
{
    text.parse().map_err(|error| bad(column, error))
}

/// A number column as a narrower or unsigned number.
pub(crate) fn number<T, N>(column: &'static str, number: N) -> Result<T, sqlx::Error>
where
    T: TryFrom<N, Error: StdError + Send + Sync + 'static>,
{
    T::try_from(number).map_err(|error| bad(column, error))
}

/// A `jsonb` column as its type.
pub(crate) fn json<T: DeserializeOwned>(
    column: &'static str,
    value: serde_json::Value,
) -> Result<T, sqlx::Error> {
    serde_json::from_value(value).map_err(|error| bad(column, error))
}

/// A value for a `jsonb` column.
pub(crate) fn to_json<T: serde::Serialize>(value: &T) -> Result<serde_json::Value, sqlx::Error> {
    serde_json::to_value(value).map_err(|error| sqlx::Error::Encode(error.into()))
}

/// A number for an `integer` column.
pub(crate) fn int<N>(number: N) -> Result<i32, sqlx::Error>
where
    i32: TryFrom<N, Error: StdError + Send + Sync + 'static>,
{
    i32::try_from(number).map_err(|error| sqlx::Error::Encode(error.into()))
}

/// A number for a `bigint` column.
pub(crate) fn bigint<N>(number: N) -> Result<i64, sqlx::Error>
where
    i64: TryFrom<N, Error: StdError + Send + Sync + 'static>,
{
    i64::try_from(number).map_err(|error| sqlx::Error::Encode(error.into()))
}

/// A length of time for an `interval`.
pub(crate) fn interval(duration: Duration) -> Result<PgInterval, sqlx::Error> {
    PgInterval::try_from(duration).map_err(sqlx::Error::Encode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_its_column_cannot_hold_is_no_other_number() {
        assert_eq!(int(7_u32).ok(), Some(7));
        assert_eq!(int(i32::MAX.unsigned_abs()).ok(), Some(i32::MAX));
        assert!(int(i32::MAX.unsigned_abs() + 1).is_err());
        assert_eq!(bigint(i64::MAX.unsigned_abs()).ok(), Some(i64::MAX));
        assert!(bigint(i64::MAX.unsigned_abs() + 1).is_err());
    }
}
