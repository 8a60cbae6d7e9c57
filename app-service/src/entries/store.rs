//! Every statement of entries.
//!
//! Deliberately without decisions: which rows are right is decided by the handlers. Invariant: each
//! function takes a connection to one tenant's database, so the transaction stands where the
//! decision is made.

use kit::page::Limit;
use kit::precondition::Version;
use serde_json::value::RawValue;
use sqlx::PgConnection;
use sqlx::types::Json;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Body, EntryId, EntryPatch, EntryView, NewEntry, Search, Title};

/// Sorts after every id, so that a list without a cursor is the same statement.
const AFTER_ALL: Uuid = Uuid::max();

/// An entry as PostgreSQL gives it. Its body is handed on as text and never taken apart.
struct EntryRow {
    id: Uuid,
    title: String,
    body: Json<Box<RawValue>>,
    version: i64,
    created_by: String,
    created_at: OffsetDateTime,
    updated_at: OffsetDateTime,
}

impl From<EntryRow> for EntryView {
    fn from(row: EntryRow) -> Self {
        Self {
            id: EntryId::from_uuid(row.id),
            title: row.title,
            body: row.body.0,
            version: Version(row.version),
            created_by: row.created_by,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }
    }
}

/// The entry with this id.
pub(super) async fn find(
    db: &mut PgConnection,
    id: EntryId,
) -> Result<Option<EntryView>, sqlx::Error> {
    let row = sqlx::query_as!(
        EntryRow,
        r#"
        select id, title, body as "body: _", version, created_by, created_at, updated_at
        from entries.entry
        where id = $1
        "#,
        id.uuid()
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(EntryView::from))
}

/// The version of the entry with this id.
pub(super) async fn version(
    db: &mut PgConnection,
    id: EntryId,
) -> Result<Option<Version>, sqlx::Error> {
    let version = sqlx::query_scalar!("select version from entries.entry where id = $1", id.uuid())
        .fetch_optional(db)
        .await?;
    Ok(version.map(Version))
}

/// Entries before the cursor, newest first, one more than the limit.
pub(super) async fn list(
    db: &mut PgConnection,
    limit: Limit,
    starting_after: Option<EntryId>,
) -> Result<Vec<EntryView>, sqlx::Error> {
    let rows = sqlx::query_as!(
        EntryRow,
        r#"
        select id, title, body as "body: _", version, created_by, created_at, updated_at
        from entries.entry
        where id < $1
        order by id desc
        limit $2
        "#,
        starting_after.map_or(AFTER_ALL, EntryId::uuid),
        limit.probe()
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(EntryView::from).collect())
}

/// As [`list`], of entries whose title or body holds the words.
///
/// For rare words PostgreSQL takes the search index, for common ones the primary key until the page
/// is full.
pub(super) async fn search(
    db: &mut PgConnection,
    search: &Search,
    limit: Limit,
    starting_after: Option<EntryId>,
) -> Result<Vec<EntryView>, sqlx::Error> {
    let rows = sqlx::query_as!(
        EntryRow,
        r#"
        select id, title, body as "body: _", version, created_by, created_at, updated_at
        from entries.entry
        where search @@ websearch_to_tsquery('simple', $1) and id < $2
        order by id desc
        limit $3
        "#,
        search.as_str(),
        starting_after.map_or(AFTER_ALL, EntryId::uuid),
        limit.probe()
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(EntryView::from).collect())
}

/// Adds an entry.
pub(super) async fn insert(
    db: &mut PgConnection,
    id: EntryId,
    entry: &NewEntry,
    created_by: &str,
) -> Result<EntryView, sqlx::Error> {
    let row = sqlx::query_as!(
        EntryRow,
        r#"
        insert into entries.entry (id, title, body, created_by)
        values ($1, $2, $3::text::jsonb, $4)
        returning id, title, body as "body: _", version, created_by, created_at, updated_at
        "#,
        id.uuid(),
        entry.title.as_str(),
        entry.body.as_str(),
        created_by
    )
    .fetch_one(db)
    .await?;
    Ok(row.into())
}

/// Adds entries with one statement; `ids` and `entries` go together by place.
pub(super) async fn insert_all(
    db: &mut PgConnection,
    ids: &[EntryId],
    entries: &[NewEntry],
    created_by: &str,
) -> Result<(), sqlx::Error> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.uuid()).collect();
    let titles: Vec<&str> = entries.iter().map(|entry| entry.title.as_str()).collect();
    let bodies: Vec<&str> = entries.iter().map(|entry| entry.body.as_str()).collect();
    sqlx::query!(
        r#"
        insert into entries.entry (id, title, body, created_by)
        select new.id, new.title, new.body::jsonb, $4
        from unnest($1::uuid[], $2::text[], $3::text[]) as new (id, title, body)
        "#,
        &ids,
        &titles as &[&str],
        &bodies as &[&str],
        created_by
    )
    .execute(db)
    .await?;
    Ok(())
}

/// Changes an entry that is still at `from`; nothing where it is not there or has moved on.
pub(super) async fn update(
    db: &mut PgConnection,
    id: EntryId,
    from: Version,
    patch: &EntryPatch,
) -> Result<Option<EntryView>, sqlx::Error> {
    let row = sqlx::query_as!(
        EntryRow,
        r#"
        update entries.entry
        set title = coalesce($3, title),
            body = coalesce($4::text::jsonb, body),
            version = version + 1,
            updated_at = now()
        where id = $1 and version = $2
        returning id, title, body as "body: _", version, created_by, created_at, updated_at
        "#,
        id.uuid(),
        from.0,
        patch.title.as_ref().map(Title::as_str),
        patch.body.as_ref().map(Body::as_str)
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(EntryView::from))
}

/// Whether a statement found its row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Removal {
    /// It was there and is gone.
    Removed,
    /// No such row, or not at the version that was asked for.
    NoMatch,
}

/// Removes an entry, with `at` only while it is at that version.
pub(super) async fn remove(
    db: &mut PgConnection,
    id: EntryId,
    at: Option<Version>,
) -> Result<Removal, sqlx::Error> {
    let done = sqlx::query!(
        "delete from entries.entry where id = $1 and version = coalesce($2, version)",
        id.uuid(),
        at.map(|version| version.0)
    )
    .execute(db)
    .await?;
    Ok(if done.rows_affected() == 1 {
        Removal::Removed
    } else {
        Removal::NoMatch
    })
}
