//! The platform's keys: what there is, how much depends on each, and their rotation.
//!
//! Deliberately shows no key. Invariant: a sealing key is dropped from the ring by people, and only
//! when nothing is sealed with it any more, which is counted here.

pub(crate) mod reseal;
pub(crate) mod store;

use axum::extract::State;
use axum::response::Response;
use contract::internal::SigningKey;
use contract::operator::operation::OperationView;
use contract::operator::upkeep::{
    KeysView, SealingKeyState, SealingKeyView, SigningKeyState, SigningKeyView,
};
use kit::error::Result;
use kit::extract::{Json, Query};
use sqlx::PgConnection;
use time::OffsetDateTime;
use utoipa_axum::router::OpenApiRouter;

use crate::operations::Subject;
use crate::operations::begin::{Begin, Planned, WaitQuery, begin};
use crate::operations::reseal::ResealPlan;
use crate::operators::{KeysWrite, Operator};
use crate::platform::Platform;
use crate::signing_keys;
use crate::tenants::idempotency::MaybeIdempotencyKey;

/// How much a sealing key seals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SealedWith {
    pub(crate) id: String,
    /// Boxes in the registry.
    pub(crate) secrets: u64,
    /// Whether this process can open them.
    pub(crate) in_ring: bool,
    /// Since when it is known; it may be older.
    pub(crate) known_since: Option<OffsetDateTime>,
}

/// The sealing keys in the order of the ring, then those that boxes name and the ring lacks.
pub(crate) async fn sealing(
    platform: &Platform,
    connection: &mut PgConnection,
) -> Result<Vec<SealedWith>, sqlx::Error> {
    let mut counted = store::sealed(&mut *connection).await?;
    let known = store::known_since(connection).await?;
    let mut keys: Vec<SealedWith> = platform
        .seal
        .key_ids()
        .into_iter()
        .map(|id| SealedWith {
            id: id.to_owned(),
            secrets: counted.remove(id).unwrap_or(0),
            in_ring: true,
            known_since: known.get(id).copied(),
        })
        .collect();
    keys.extend(counted.into_iter().map(|(id, secrets)| SealedWith {
        known_since: known.get(&id).copied(),
        id,
        secrets,
        in_ring: false,
    }));
    Ok(keys)
}

/// Notes the keys of the ring that are new.
pub(crate) async fn note_ring(
    platform: &Platform,
    connection: &mut PgConnection,
) -> Result<(), sqlx::Error> {
    let ring: Vec<String> = platform
        .seal
        .key_ids()
        .into_iter()
        .map(str::to_owned)
        .collect();
    store::note(connection, &ring).await
}

/// List the keys that sign tokens and seal secrets, without their texts.
#[utoipa::path(
    get,
    path = "/v1/keys",
    operation_id = "keys.list",
    tag = "upkeep",
    responses((status = 200, description = "Every key.", body = KeysView))
)]
pub(crate) async fn list(
    _operator: Operator<KeysWrite>,
    State(platform): State<Platform>,
) -> Result<Json<KeysView>> {
    let mut registry = platform.registry.acquire().await?;
    let signing = signing_keys::store::list(&mut registry).await?;
    let sealing = sealing(&platform, &mut registry).await?;
    let now = OffsetDateTime::now_utc();
    let started = signing.iter().map(|key| key.signs_from);
    let signer = started.filter(|from| *from <= now).max();
    let signing = signing
        .into_iter()
        .map(|key| signing_view(key, signer, now));
    Ok(Json(KeysView {
        signing: signing.collect(),
        sealing: sealing
            .into_iter()
            .enumerate()
            .map(|(position, key)| SealingKeyView {
                state: match (position, key.in_ring) {
                    (_, false) => SealingKeyState::Missing,
                    (0, true) => SealingKeyState::Seals,
                    (_, true) => SealingKeyState::Opens,
                },
                id: key.id,
                secrets: key.secrets,
                known_since: key.known_since,
            })
            .collect(),
    }))
}

/// A key; `signer` is from when on the one signs that does so now.
fn signing_view(
    key: SigningKey,
    signer: Option<OffsetDateTime>,
    now: OffsetDateTime,
) -> SigningKeyView {
    SigningKeyView {
        state: match key.signs_from {
            from if from > now => SigningKeyState::Published,
            from if Some(from) == signer => SigningKeyState::Signs,
            _ => SigningKeyState::Verifies,
        },
        kid: key.kid,
        signs_from: key.signs_from,
        verifies_until: key.verifies_until,
    }
}

/// Publish a new key that signs access tokens.
///
/// It signs when every service has had the time to learn of it; what the old one signed stays good for
/// as long as a token lives. A key that is published and does not sign yet is the answer to a second
/// request.
#[utoipa::path(
    post,
    path = "/v1/keys/signing/rotate",
    operation_id = "keys.rotate_signing",
    tag = "upkeep",
    responses((status = 200, description = "The key that signs next.", body = SigningKeyView))
)]
pub(crate) async fn rotate_signing(
    operator: Operator<KeysWrite>,
    State(platform): State<Platform>,
) -> Result<Json<SigningKeyView>> {
    let key = signing_keys::publish_now(&platform, operator.actor()).await?;
    Ok(Json(signing_view(key, None, OffsetDateTime::now_utc())))
}

/// Seal every secret anew with the first key of the ring.
///
/// Batch by batch; no request fails meanwhile. When it is done, `GET /v1/keys` says that the older keys
/// seal nothing, and they can be dropped from the ring of every service.
#[utoipa::path(
    post,
    path = "/v1/keys/reseal",
    operation_id = "keys.reseal",
    tag = "upkeep",
    params(WaitQuery),
    responses(
        (status = 200, description = "Done.", body = OperationView),
        (status = 202, description = "Under way; `location` says where to ask.", body = OperationView),
    )
)]
pub(crate) async fn start_reseal(
    operator: Operator<KeysWrite>,
    State(platform): State<Platform>,
    key: MaybeIdempotencyKey,
    Query(query): Query<WaitQuery>,
) -> Result<Response> {
    let asked = Begin {
        actor: operator.actor(),
        key,
        request: serde_json::json!({ "reseal": "all" }),
        wait: query.wait,
    };
    let planner = platform.clone();
    begin(&platform, asked, move |connection, _id| {
        Box::pin(async move {
            let plan = ResealPlan {
                total: reseal::behind(&planner, connection).await?,
                tally: reseal::Tally::default(),
            };
            Ok(Planned {
                subject: Subject::Fleet,
                detail: serde_json::json!({ "secrets": plan.total }),
                plan: plan.into(),
            })
        })
    })
    .await
}

pub(crate) fn router() -> OpenApiRouter<Platform> {
    kit::operations!(list, rotate_signing, start_reseal)
}
