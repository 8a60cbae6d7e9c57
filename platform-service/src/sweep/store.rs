//! The SQL of finds.
//!
//! Deliberately keeps when something was first found, whoever finds it again. Invariant: only finds of
//! a place that was looked at are forgotten.

mod claims;
mod kept_databases;

use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use contract::ClusterName;
use contract::operator::upkeep::FindingKind;
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::Found;
use super::claims::By;
use super::look::Place;
use crate::registry::{interval, parsed};

pub(super) use claims::{busy, claims, credentials, objects, tenants};
pub(super) use kept_databases::{DueDatabase, due_databases, forget_due, is_due};

/// What names a find.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key {
    pub(super) kind: FindingKind,
    pub(super) place: String,
    pub(super) name: String,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.kind.as_str(), self.place, self.name)
    }
}

/// A text that names no find.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a find is kind, place and name, with slashes between them")]
pub(super) struct NoKey;

impl std::str::FromStr for Key {
    type Err = NoKey;

    fn from_str(text: &str) -> Result<Self, NoKey> {
        let (kind, rest) = text.split_once('/').ok_or(NoKey)?;
        let (place, name) = rest.split_once('/').ok_or(NoKey)?;
        Ok(Self {
            kind: kind.parse().map_err(|_| NoKey)?,
            place: place.to_owned(),
            name: name.to_owned(),
        })
    }
}

/// A find as it is stored.
#[derive(Debug, Clone)]
pub(super) struct FindingRow {
    pub(super) key: Key,
    pub(super) detail: Option<String>,
    pub(super) removable: bool,
    pub(super) kept: bool,
    pub(super) first_seen_at: OffsetDateTime,
    pub(super) last_seen_at: OffsetDateTime,
}

struct Columns {
    kind: String,
    place: String,
    name: String,
    detail: Option<String>,
    removable: bool,
    kept: bool,
    first_seen_at: OffsetDateTime,
    last_seen_at: OffsetDateTime,
}

impl Columns {
    fn parse(self) -> Result<FindingRow, sqlx::Error> {
        Ok(FindingRow {
            key: Key {
                kind: parsed("finding.kind", &self.kind)?,
                place: self.place,
                name: self.name,
            },
            detail: self.detail,
            removable: self.removable,
            kept: self.kept,
            first_seen_at: self.first_seen_at,
            last_seen_at: self.last_seen_at,
        })
    }
}

/// The registry's clock.
pub(super) async fn now(connection: &mut PgConnection) -> Result<OffsetDateTime, sqlx::Error> {
    sqlx::query_scalar!(r#"select clock_timestamp() as "now!""#)
        .fetch_one(connection)
        .await
}

/// The names of all clusters.
pub(super) async fn clusters(
    connection: &mut PgConnection,
) -> Result<Vec<ClusterName>, sqlx::Error> {
    sqlx::query_scalar!("select name from registry.cluster order by name")
        .fetch_all(connection)
        .await?
        .iter()
        .map(|name| parsed("cluster.name", name))
        .collect()
}

/// Whether a place is still there; a cluster then is until the transaction ends.
pub(super) async fn stays(
    connection: &mut PgConnection,
    place: &Place,
) -> Result<bool, sqlx::Error> {
    let Place::Cluster(cluster) = place else {
        return Ok(true);
    };
    let found = sqlx::query_scalar!(
        "select name from registry.cluster where name = $1 for key share",
        cluster.as_str(),
    )
    .fetch_optional(connection)
    .await?;
    Ok(found.is_some())
}

/// Forgets the finds of a cluster.
pub(crate) async fn forget_cluster(
    connection: &mut PgConnection,
    cluster: &ClusterName,
) -> Result<(), sqlx::Error> {
    let place = Place::Cluster(cluster.clone());
    sqlx::query!(
        "delete from registry.finding where place = $1 and kind = any($2)",
        place.as_str(),
        &kinds(&place),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Stores what was found, as new or again.
pub(super) async fn note(
    connection: &mut PgConnection,
    found: &[Found],
) -> Result<(), sqlx::Error> {
    let texts = |of: fn(&Found) -> String| found.iter().map(of).collect::<Vec<String>>();
    let removable: Vec<bool> = found.iter().map(|one| one.by == By::Sweep).collect();
    sqlx::query!(
        "insert into registry.finding (kind, place, name, detail, removable, first_seen_at, last_seen_at)
         select kind, place, name, detail, removable, clock_timestamp(), clock_timestamp()
         from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::boolean[])
             as found (kind, place, name, detail, removable)
         on conflict on constraint finding_key do update
             set detail = excluded.detail, removable = excluded.removable,
                 last_seen_at = excluded.last_seen_at",
        &texts(|one| one.key.kind.as_str().to_owned()),
        &texts(|one| one.key.place.clone()),
        &texts(|one| one.key.name.clone()),
        &texts(|one| one.detail.to_owned()),
        &removable,
    )
    .execute(connection)
    .await?;
    Ok(())
}

fn kinds(place: &Place) -> Vec<String> {
    let kinds = place.kinds().iter();
    kinds.map(|kind| kind.as_str().to_owned()).collect()
}

/// Forgets what a look at a place that began then did not find any more.
pub(super) async fn forget_unseen(
    connection: &mut PgConnection,
    place: &Place,
    began: OffsetDateTime,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "delete from registry.finding where place = $1 and kind = any($2) and last_seen_at < $3",
        place.as_str(),
        &kinds(place),
        began,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The finds of a place whose grace is over and that may be removed.
pub(super) async fn due(
    connection: &mut PgConnection,
    place: &Place,
    grace: Duration,
) -> Result<HashSet<Key>, sqlx::Error> {
    let rows = sqlx::query!(
        "select kind, place, name from registry.finding
         where place = $1 and kind = any($2) and removable and not kept
             and first_seen_at <= clock_timestamp() - $3::interval",
        place.as_str(),
        &kinds(place),
        interval(grace)?,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(Key {
                kind: parsed("finding.kind", &row.kind)?,
                place: row.place,
                name: row.name,
            })
        })
        .collect()
}

/// Forgets a find that is removed.
pub(super) async fn delete(connection: &mut PgConnection, key: &Key) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "delete from registry.finding where kind = $1 and place = $2 and name = $3",
        key.kind.as_str(),
        key.place,
        key.name,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Which finds to list.
#[derive(Debug, Clone, Default)]
pub(super) struct Filter {
    pub(super) kind: Option<FindingKind>,
    pub(super) place: Option<String>,
}

/// Up to `limit` finds in the order of kind, place and name, after one of them.
pub(super) async fn list(
    connection: &mut PgConnection,
    filter: &Filter,
    after: Option<&Key>,
    limit: i64,
) -> Result<Vec<FindingRow>, sqlx::Error> {
    sqlx::query_as!(
        Columns,
        "select kind, place, name, detail, removable, kept, first_seen_at, last_seen_at
         from registry.finding
         where ($1::text is null or kind = $1)
             and ($2::text is null or (kind, place, name) > ($2, $3, $4))
             and ($5::text is null or place = $5)
         order by kind, place, name limit $6",
        filter.kind.map(FindingKind::as_str),
        after.map(|key| key.kind.as_str()),
        after.map(|key| key.place.as_str()),
        after.map(|key| key.name.as_str()),
        filter.place.as_deref(),
        limit,
    )
    .fetch_all(connection)
    .await?
    .into_iter()
    .map(Columns::parse)
    .collect()
}

/// A find.
pub(super) async fn find(
    connection: &mut PgConnection,
    key: &Key,
) -> Result<Option<FindingRow>, sqlx::Error> {
    sqlx::query_as!(
        Columns,
        "select kind, place, name, detail, removable, kept, first_seen_at, last_seen_at
         from registry.finding where kind = $1 and place = $2 and name = $3",
        key.kind.as_str(),
        key.place,
        key.name,
    )
    .fetch_optional(connection)
    .await?
    .map(Columns::parse)
    .transpose()
}

/// Stores whether a find stays; none where there is no such find.
pub(super) async fn set_kept(
    connection: &mut PgConnection,
    key: &Key,
    kept: Kept,
) -> Result<Option<FindingRow>, sqlx::Error> {
    sqlx::query_as!(
        Columns,
        "update registry.finding set kept = $4 where kind = $1 and place = $2 and name = $3
         returning kind, place, name, detail, removable, kept, first_seen_at, last_seen_at",
        key.kind.as_str(),
        key.place,
        key.name,
        kept == Kept::Stays,
    )
    .fetch_optional(connection)
    .await?
    .map(Columns::parse)
    .transpose()
}

/// Whether a find stays whatever its age.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    Stays,
    Goes,
}

/// How many finds nobody said should stay, by kind.
pub(crate) async fn counts(
    connection: &mut PgConnection,
) -> Result<Vec<(FindingKind, i64)>, sqlx::Error> {
    let kinds = FindingKind::ALL.map(|kind| kind.as_str().to_owned());
    let rows = sqlx::query!(
        r#"
        select kind.name as "kind!", count(finding.name) as "number!"
        from unnest($1::text[]) as kind (name)
        left join registry.finding on finding.kind = kind.name and not finding.kept
        group by kind.name
        "#,
        &kinds,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| Ok((parsed("finding.kind", &row.kind)?, row.number)))
        .collect()
}
