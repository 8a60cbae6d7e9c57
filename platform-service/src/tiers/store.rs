//! Tiers' SQL.
//!
//! Deliberately neither makes nor removes a tier: tenants refer to it for good, and a release brings it.
//! Invariant: ordered by position.

use std::time::Duration;

use contract::TierGrant;
use contract::operator::backup::BackupSchedule;
use sqlx::PgConnection;

use super::TierView;
use crate::registry::{int, interval, json, number, parsed, to_json};

/// A tier as it is stored.
struct Row {
    name: String,
    title: String,
    weight: i32,
    limits: serde_json::Value,
    features: Vec<String>,
    retention_days: i32,
    self_service: bool,
}

impl TryFrom<Row> for TierView {
    type Error = sqlx::Error;

    fn try_from(row: Row) -> Result<Self, sqlx::Error> {
        Ok(Self {
            title: row.title,
            grant: TierGrant {
                name: row.name,
                weight: number("tier.weight", row.weight)?,
                limits: json("tier.limits", row.limits)?,
                features: row.features.into_iter().collect(),
            },
            retention_days: number("tier.retention_days", row.retention_days)?,
            self_service: row.self_service,
        })
    }
}

/// All tiers, the smallest first.
pub(crate) async fn list(connection: &mut PgConnection) -> Result<Vec<TierView>, sqlx::Error> {
    sqlx::query_as!(
        Row,
        "select name, title, weight, limits, features, retention_days, self_service
         from registry.tier order by position"
    )
    .fetch_all(connection)
    .await?
    .into_iter()
    .map(TierView::try_from)
    .collect()
}

/// A tier, locked until the end of the transaction.
pub(crate) async fn find_for_update(
    connection: &mut PgConnection,
    name: &str,
) -> Result<Option<TierView>, sqlx::Error> {
    sqlx::query_as!(
        Row,
        "select name, title, weight, limits, features, retention_days, self_service
         from registry.tier where name = $1 for no key update",
        name,
    )
    .fetch_optional(connection)
    .await?
    .map(TierView::try_from)
    .transpose()
}

/// Until the transaction ends, what the tier grants stays.
pub(crate) async fn hold(connection: &mut PgConnection, name: &str) -> Result<(), sqlx::Error> {
    sqlx::query_scalar!(
        r#"select name as "name!" from registry.tier where name = $1 for share"#,
        name,
    )
    .fetch_one(connection)
    .await?;
    Ok(())
}

/// Stores what a tier grants.
pub(crate) async fn update(
    connection: &mut PgConnection,
    tier: &TierView,
) -> Result<(), sqlx::Error> {
    let features: Vec<String> = tier.grant.features.iter().cloned().collect();
    sqlx::query!(
        "update registry.tier
         set title = $2, weight = $3, limits = $4, features = $5, retention_days = $6,
             self_service = $7
         where name = $1",
        tier.grant.name,
        tier.title,
        int(tier.grant.weight)?,
        to_json(&tier.grant.limits)?,
        &features,
        int(tier.retention_days)?,
        tier.self_service,
    )
    .execute(connection)
    .await?;
    Ok(())
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
        int(schedule.keep)?,
        int(schedule.keep_days)?,
        schedule.encryption.as_str(),
    )
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}
