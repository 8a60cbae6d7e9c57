//! Operator keys over HTTP: list, create, revoke.
//!
//! Deliberately no change of a key, its end neither: make another one. Invariant: a key's text is in one
//! answer, that of its creation.

use axum::extract::State;
use contract::Code;
use http::StatusCode;
use kit::error::{Problem, Result};
use kit::extract::{Json, Path, Query};
use kit::page::{Limit, Page};
use serde::{Deserialize, Serialize};
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};
use utoipa_axum::router::OpenApiRouter;

use super::store::{self, KeyRow, Revoked};
use super::{KeysWrite, Operator, OperatorKey, OperatorKeyId, Scope, digest, generate};
use crate::audit::{self, Action};
use crate::made_once;
use crate::platform::Platform;
use crate::tenants::idempotency::MaybeIdempotencyKey;
use crate::tenants::rules::words;

const MAX_NAME_CHARS: usize = 100;

/// A key that is to be made.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({
    "name": "on-call console", "scopes": ["tenants:read", "clusters:read"],
    "expires_at": "2027-04-30T09:30:00Z",
}))]
pub(crate) struct NewOperatorKey {
    /// Who or what holds it: 1 to 100 characters.
    name: String,
    /// What it allows: at least one.
    scopes: Vec<Scope>,
    /// When it ends by itself; in the future. Left out, it is good until it is revoked.
    #[serde(default, with = "time::serde::rfc3339::option")]
    expires_at: Option<OffsetDateTime>,
}

/// A key, without its text.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct OperatorKeyView {
    id: OperatorKeyId,
    #[schema(example = "on-call console")]
    name: String,
    scopes: Vec<Scope>,
    #[serde(with = "time::serde::rfc3339")]
    created_at: OffsetDateTime,
    /// From when on it is refused; none where it is good until it is revoked.
    #[serde(with = "time::serde::rfc3339::option")]
    expires_at: Option<OffsetDateTime>,
    /// When it was last used, to about a minute; none where no use was seen.
    #[serde(with = "time::serde::rfc3339::option")]
    last_used_at: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option")]
    revoked_at: Option<OffsetDateTime>,
}

/// A new key, with its text.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct CreatedOperatorKey {
    id: OperatorKeyId,
    /// The key: keep it now, it is not shown again.
    #[schema(example = "opk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")]
    key: String,
}

impl From<KeyRow> for OperatorKeyView {
    fn from(row: KeyRow) -> Self {
        Self {
            id: row.key.id,
            name: row.key.name,
            scopes: row.key.scopes,
            created_at: row.created_at,
            expires_at: row.expires_at,
            last_used_at: row.last_used_at,
            revoked_at: row.revoked_at,
        }
    }
}

/// Which keys to list.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct KeysQuery {
    /// How many: 1 to 100.
    #[serde(default)]
    #[param(value_type = Option<u16>, minimum = 1, maximum = 100, default = 20)]
    limit: Limit,
    /// The id of the last key of the page before.
    starting_after: Option<OperatorKeyId>,
}

/// List operator keys, oldest first.
#[utoipa::path(
    get,
    path = "/v1/operator-keys",
    operation_id = "operator_keys.list",
    tag = "operators",
    params(KeysQuery),
    responses((status = 200, description = "A page of keys.", body = Page<OperatorKeyView>))
)]
pub(crate) async fn list(
    _operator: Operator<KeysWrite>,
    State(platform): State<Platform>,
    Query(query): Query<KeysQuery>,
) -> Result<Json<Page<OperatorKeyView>>> {
    let mut connection = platform.registry.acquire().await?;
    let rows = store::list(&mut connection, query.starting_after, query.limit.probe()).await?;
    Ok(Json(Page::of(rows, query.limit).map(OperatorKeyView::from)))
}

/// Make an operator key.
///
/// Its text is in this answer alone. It allows no more than the key that makes it. From `expires_at` on it
/// is refused like a key that never was. The same request with its `Idempotency-Key` again makes no second one and shows no text (`secret-shown`).
#[utoipa::path(
    post,
    path = "/v1/operator-keys",
    operation_id = "operator_keys.create",
    tag = "operators",
    request_body = NewOperatorKey,
    responses((status = 201, description = "The key.", body = CreatedOperatorKey))
)]
pub(crate) async fn create(
    operator: Operator<KeysWrite>,
    State(platform): State<Platform>,
    key: MaybeIdempotencyKey,
    Json(mut new): Json<NewOperatorKey>,
) -> Result<(StatusCode, Json<CreatedOperatorKey>)> {
    let name = words("/name", &new.name, MAX_NAME_CHARS)?;
    new.scopes.sort_unstable();
    new.scopes.dedup();
    if new.scopes.is_empty() {
        return Err(Problem::field("/scopes", "must name at least one scope"));
    }
    operator.may_grant(&new.scopes)?;
    let expires_at = new.expires_at.map(in_utc).transpose()?;
    let expires = expires_at.map(|at| at.format(&Rfc3339)).transpose();
    let expires = expires.map_err(Problem::internal)?;
    let text = generate();
    let claimed = (operator.actor(), key);
    let request = serde_json::json!({
        "operator_key": name, "scopes": new.scopes, "expires_at": expires,
    });
    let key = OperatorKey {
        id: OperatorKeyId::new(),
        name,
        scopes: new.scopes,
    };
    let detail = serde_json::json!({
        "key": key.id, "name": key.name, "scopes": key.scopes, "expires_at": expires,
    });
    let mut transaction = platform.registry.begin().await?;
    // By the clock that ends it.
    if let Some(at) = expires_at
        && !store::is_to_come(&mut transaction, at).await?
    {
        return Err(no_such_end());
    }
    let made = format!("the key {}", key.id);
    made_once::claim(&platform, &mut transaction, claimed, &request, &made).await?;
    store::insert(&mut transaction, &key, &digest(text.expose()), expires_at).await?;
    let action = Action::OperatorKeyCreated;
    audit::record(&mut transaction, operator.actor(), action, None, detail).await?;
    transaction.commit().await?;
    let created = CreatedOperatorKey {
        id: key.id,
        key: text.expose().to_owned(),
    };
    Ok((StatusCode::CREATED, Json(created)))
}

/// The end of a key, in UTC.
fn in_utc(at: OffsetDateTime) -> Result<OffsetDateTime> {
    at.checked_to_offset(UtcOffset::UTC).ok_or_else(no_such_end)
}

fn no_such_end() -> Problem {
    let rule = "must be in the future, before the year 10000";
    Problem::field("/expires_at", rule)
}

/// Revoke an operator key.
///
/// The next request with it is refused. Said again it changes nothing. A key does not revoke itself, so
/// that the last one stays.
#[utoipa::path(
    delete,
    path = "/v1/operator-keys/{id}",
    operation_id = "operator_keys.revoke",
    tag = "operators",
    params(("id" = OperatorKeyId, Path, example = "opr_0192f0c1a2b37c4d8e9f0a1b2c3d4e5f")),
    responses((status = 204, description = "It is revoked."))
)]
pub(crate) async fn revoke(
    operator: Operator<KeysWrite>,
    State(platform): State<Platform>,
    Path(id): Path<OperatorKeyId>,
) -> Result<StatusCode> {
    if operator.id() == id {
        let words = "A key does not revoke itself: make another one and revoke this one with it.";
        return Err(Problem::new(Code::Conflict).detail(words));
    }
    let mut transaction = platform.registry.begin().await?;
    match store::revoke(&mut transaction, id).await? {
        Revoked::Unknown => Err(Problem::new(Code::NotFound)),
        Revoked::Before => Ok(StatusCode::NO_CONTENT),
        Revoked::Now => {
            let detail = serde_json::json!({ "key": id });
            let action = Action::OperatorKeyRevoked;
            audit::record(&mut transaction, operator.actor(), action, None, detail).await?;
            transaction.commit().await?;
            Ok(StatusCode::NO_CONTENT)
        }
    }
}

pub(crate) fn router() -> OpenApiRouter<Platform> {
    kit::operations!(list, create, revoke)
}
