//! Tiers' SQL.
//!
//! Deliberately read-only but for the schedule of backups: tiers change by migration or by hand.
//! Invariant: ordered by position.

use std::time::Duration;

use contract::TierGrant;
use contract::operator::backup::BackupSchedule;
use sqlx::PgConnection;

use super::TierView;
use crate::registry::{interval, json, number, parsed};

/// All tiers, the smallest first.
pub(crate) async fn list(connection: &mut PgConnection) -> Result<Vec<TierView>, sqlx::Error> {
    sqlx::query!(
        "select name, title, weight, limits, features from registry.tier order by position"
    )
    .fetch_all(connection)
    .await?
    .into_iter()
    .map(|row| {
        Ok(TierView {
            title: row.title,
            grant: TierGrant {
                name: row.name,
                weight: number("tier.weight", row.weight)?,
                limits: json("tier.limits", row.limits)?,
                features: row.features.into_iter().collect(),
            },
        })
    })
    .collect()
}

/// The names of all tiers, the smallest first.
pub(crate) async fn names(connection: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!("select name from registry.tier order by position")
        .fetch_all(connection)
        .await
}

/// A tier's schedule of backups.
pub(crate) async fn schedule(
    connection: &mut PgConnection,
    name: &str,
) -> Result<Option<BackupSchedule>, sqlx::Error> {
    let found = sqlx::query!(
        "select (extract(epoch from backup_every) / 60)::integer as every_minutes, backup_keep,
             backup_keep_days, backup_encryption
         from registry.tier where name = $1",
        name,
    )
    .fetch_optional(connection)
    .await?;
    found
        .map(|row| {
            let every = row.every_minutes;
            Ok(BackupSchedule {
                every_minutes: every
                    .map(|minutes| number("tier.backup_every", minutes))
                    .transpose()?,
                keep: number("tier.backup_keep", row.backup_keep)?,
                keep_days: number("tier.backup_keep_days", row.backup_keep_days)?,
                encryption: parsed("tier.backup_encryption", &row.backup_encryption)?,
            })
        })
        .transpose()
}

/// Stores a tier's schedule of backups; gives how many tiers have this name.
pub(crate) async fn set_schedule(
    connection: &mut PgConnection,
    name: &str,
    every: Option<Duration>,
    schedule: &BackupSchedule,
) -> Result<u64, sqlx::Error> {
    let done = sqlx::query!(
        "update registry.tier set backup_every = $2, backup_keep = $3, backup_keep_days = $4,
             backup_encryption = $5
         where name = $1",
        name,
        every.map(interval).transpose()?,
        i32::try_from(schedule.keep).unwrap_or(i32::MAX),
        i32::try_from(schedule.keep_days).unwrap_or(i32::MAX),
        schedule.encryption.as_str(),
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}
