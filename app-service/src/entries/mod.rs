//! Entries: a title and a JSON object, with versions, pages and search. The model feature.
//!
//! Deliberately plain: wire types and handlers here, rules of values in `rules`, SQL in `store`,
//! and nothing that tenancy or identity already do. Invariant: an entry changes only from the
//! version that its caller has seen.

mod rules;
mod store;

use axum::response::IntoResponse;
use contract::Code;
use http::{HeaderName, HeaderValue, StatusCode, header};
use kit::error::{Problem, Result};
use kit::extract::{Json, Path, Query};
use kit::operations;
use kit::page::{Limit, Page};
use kit::precondition::{IfMatch, MaybeIfMatch, Version};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use time::OffsetDateTime;

use self::rules::{Batch, Body, Search, Title};
use self::store::Removal;
use crate::module::Module;
use crate::tenancy::{InTenant, Permission};

contract::prefixed_id!(
    /// An entry.
    EntryId,
    "ent",
    "the id of an entry"
);

/// May look at entries.
#[derive(Debug)]
pub struct ReadEntries;

impl Permission for ReadEntries {
    const NAME: &'static str = "entries:read";
    const FEATURE: Option<&'static str> = Some("entries");
}

/// May add, change and remove entries.
#[derive(Debug)]
pub struct WriteEntries;

impl Permission for WriteEntries {
    const NAME: &'static str = "entries:write";
    const FEATURE: Option<&'static str> = Some("entries");
}

/// An entry to be added.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "title": "Minutes of the kickoff", "body": {"place": "Room 4", "people": 6},
}))]
struct NewEntry {
    title: Title,
    body: Body,
}

/// Entries to be added, all or none.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct NewEntries {
    entries: Batch,
}

/// Changes of an entry; what is left out stays.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct EntryPatch {
    #[serde(default, deserialize_with = "present")]
    #[schema(nullable = false)]
    title: Option<Title>,
    /// Replaces the whole body.
    #[serde(default, deserialize_with = "present")]
    #[schema(nullable = false)]
    body: Option<Body>,
}

/// A field that may be left out but not be null.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

/// An entry.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct EntryView {
    #[schema(example = "ent_0192f0c1a4b27c3d8e9fa0b1c2d3e4f5")]
    id: EntryId,
    #[schema(example = "Minutes of the kickoff")]
    title: String,
    #[schema(value_type = Object, example = json!({"place": "Room 4", "people": 6}))]
    body: Box<RawValue>,
    version: Version,
    /// The subject of the token that it was made with.
    #[schema(example = "usr_0192f0c19b0e7d2a8c6f5e4d3c2b1a09")]
    created_by: String,
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    updated_at: OffsetDateTime,
}

impl EntryView {
    /// As an answer, with its version as the entity tag.
    fn tagged(self) -> ([(HeaderName, HeaderValue); 1], Json<Self>) {
        ([(header::ETAG, self.version.etag())], Json(self))
    }
}

/// Entries that were added.
#[derive(Debug, Serialize, utoipa::ToSchema)]
struct AddedEntries {
    /// Their ids, in the order of the request.
    #[schema(value_type = Vec<EntryId>, example = json!(["ent_0192f0c1a4b27c3d8e9fa0b1c2d3e4f5"]))]
    ids: Vec<EntryId>,
}

/// Which entries to list.
#[derive(Debug, Clone, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct EntryQuery {
    /// How many at most.
    #[serde(default)]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 100, default = 20)]
    limit: Limit,
    /// The last entry of the page before.
    starting_after: Option<EntryId>,
    /// Words in the title or in the texts of the body.
    #[param(value_type = Option<String>, min_length = 1, max_length = 200)]
    q: Option<Search>,
}

/// Add an entry
#[utoipa::path(
    post, path = "/v1/entries", operation_id = "entries.create", tag = "entries",
    request_body = NewEntry,
    responses((status = CREATED, body = EntryView, description = "It was added.", headers(
        ("ETag" = String, description = "Its version."),
        ("Location" = String, description = "Where it is."),
    )))
)]
async fn create(
    InTenant {
        tenant, principal, ..
    }: InTenant<WriteEntries>,
    Json(new): Json<NewEntry>,
) -> Result<impl IntoResponse> {
    let id = EntryId::new();
    let mut transaction = tenant.begin().await?;
    let entry = store::insert(&mut transaction, id, &new, &principal.user).await?;
    transaction.commit().await?;
    let location = [(header::LOCATION, format!("/v1/entries/{id}"))];
    Ok((StatusCode::CREATED, location, entry.tagged()))
}

/// Add up to 500 entries, all or none
#[utoipa::path(
    post, path = "/v1/entries/batch", operation_id = "entries.create_batch", tag = "entries",
    request_body = NewEntries,
    responses((status = CREATED, body = AddedEntries, description = "All were added."))
)]
async fn create_batch(
    InTenant {
        tenant, principal, ..
    }: InTenant<WriteEntries>,
    Json(NewEntries { entries }): Json<NewEntries>,
) -> Result<impl IntoResponse> {
    let entries = entries.entries();
    let ids: Vec<EntryId> = entries.iter().map(|_| EntryId::new()).collect();
    let mut transaction = tenant.begin().await?;
    store::insert_all(&mut transaction, &ids, entries, &principal.user).await?;
    transaction.commit().await?;
    Ok((StatusCode::CREATED, Json(AddedEntries { ids })))
}

/// List or search entries, newest first
///
/// A page holds fewer entries than `limit` where they are large; `has_more` says whether there are more.
#[utoipa::path(
    get, path = "/v1/entries", operation_id = "entries.list", tag = "entries",
    params(EntryQuery),
    responses((status = OK, body = Page<EntryView>, description = "A page."))
)]
async fn list(
    InTenant { tenant, .. }: InTenant<ReadEntries>,
    Query(EntryQuery {
        limit,
        starting_after,
        q,
    }): Query<EntryQuery>,
) -> Result<Json<Page<EntryView>>> {
    let q = q.as_ref();
    let found = tenant
        .read(|db, _| match q {
            Some(q) => Box::pin(store::search(db, q, limit, starting_after)),
            None => Box::pin(store::list(db, limit, starting_after)),
        })
        .await?;
    let bytes = |entry: &EntryView| entry.body.get().len();
    Ok(Json(Page::of_large(found, limit, bytes)))
}

/// Show an entry
#[utoipa::path(
    get, path = "/v1/entries/{id}", operation_id = "entries.show", tag = "entries",
    params(("id" = EntryId, Path, example = "ent_0192f0c1a4b27c3d8e9fa0b1c2d3e4f5")),
    responses((status = OK, body = EntryView, description = "The entry.", headers(
        ("ETag" = String, description = "Its version."),
    )))
)]
async fn show(
    InTenant { tenant, .. }: InTenant<ReadEntries>,
    Path(id): Path<EntryId>,
) -> Result<impl IntoResponse> {
    let found = tenant.read(|db, _| Box::pin(store::find(db, id))).await?;
    Ok(found.ok_or_else(no_such_entry)?.tagged())
}

/// Change an entry
#[utoipa::path(
    patch, path = "/v1/entries/{id}", operation_id = "entries.update", tag = "entries",
    params(("id" = EntryId, Path, example = "ent_0192f0c1a4b27c3d8e9fa0b1c2d3e4f5")),
    request_body(content = EntryPatch, example = json!({"title": "Minutes of the second meeting"})),
    responses((status = OK, body = EntryView, description = "It was changed.", headers(
        ("ETag" = String, description = "Its new version."),
    )))
)]
async fn update(
    InTenant { tenant, .. }: InTenant<WriteEntries>,
    Path(id): Path<EntryId>,
    IfMatch(seen): IfMatch,
    Json(patch): Json<EntryPatch>,
) -> Result<impl IntoResponse> {
    if patch.title.is_none() && patch.body.is_none() {
        return Err(Problem::field(
            "",
            "nothing to change: send title, body or both",
        ));
    }
    let mut transaction = tenant.begin().await?;
    let Some(entry) = store::update(&mut transaction, id, seen, &patch).await? else {
        let now = store::version(&mut transaction, id).await?;
        transaction.rollback().await?;
        return Err(stale_or_gone(now));
    };
    transaction.commit().await?;
    Ok(entry.tagged())
}

/// Remove an entry
#[utoipa::path(
    delete, path = "/v1/entries/{id}", operation_id = "entries.remove", tag = "entries",
    params(("id" = EntryId, Path, example = "ent_0192f0c1a4b27c3d8e9fa0b1c2d3e4f5")),
    responses((status = NO_CONTENT, description = "It was removed."))
)]
async fn remove(
    InTenant { tenant, .. }: InTenant<WriteEntries>,
    Path(id): Path<EntryId>,
    MaybeIfMatch(seen): MaybeIfMatch,
) -> Result<StatusCode> {
    let mut transaction = tenant.begin().await?;
    if store::remove(&mut transaction, id, seen).await? == Removal::NoMatch {
        let now = store::version(&mut transaction, id).await?;
        transaction.rollback().await?;
        return Err(stale_or_gone(now));
    }
    transaction.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

fn no_such_entry() -> Problem {
    Problem::new(Code::NotFound).detail("There is no entry with this id.")
}

/// Why a change from a version met no row.
fn stale_or_gone(now: Option<Version>) -> Problem {
    match now {
        None => no_such_entry(),
        Some(Version(now)) => Problem::new(Code::VersionStale)
            .detail(format!("The entry is at version {now}: read it again.")),
    }
}

/// The module.
pub fn module() -> Module {
    Module::new("entries", tenant_migrations::entries())
        .minimum(2)
        .routes(operations!(
            create,
            create_batch,
            list,
            show,
            update,
            remove
        ))
}
