//! The SQL that counts who has connections beside the tenants' budget.
//!
//! Deliberately looks at what lives now. Invariant: nothing is changed.

use sqlx::PgConnection;

use crate::clusters::beside::Beside;
use crate::feed;
use crate::registry::number;

/// Counts replicas of services that own schemas by their heartbeats, and those of this one by their listeners: each has one
/// for the others' news.
pub(crate) async fn count(connection: &mut PgConnection) -> Result<Beside, sqlx::Error> {
    let row = sqlx::query!(
        r#"
        select
            (select count(*) from pg_stat_activity
             where application_name = $1 and datname = current_database()) as "platforms!",
            (select count(*) from registry.replica where live_until > now() and owns <> '[]') as "services!"
        "#,
        feed::LISTENER,
    )
    .fetch_one(connection)
    .await?;
    Ok(Beside {
        platforms: number("count", row.platforms)?,
        services: number("count", row.services)?,
    })
}
