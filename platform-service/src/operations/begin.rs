//! Beginning an operation: it is recorded in one transaction with its intent and its audit row, then run.
//!
//! Deliberately checks and chooses nothing: the caller does, in the same transaction, so that every kind
//! begins in the same way. Invariant: a request that comes again with its key has no second effect, and is
//! answered with how far the first one is.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use contract::operator::operation::OperationView;
use contract::{Code, OperationId};
use futures::future::BoxFuture;
use http::{HeaderValue, StatusCode, header};
use kit::db::broken_constraint;
use kit::error::{Problem, Result};
use kit::extract::Json;
use serde::Deserialize;
use serde_json::Value;
use sqlx::PgConnection;

use super::outcome::{Entry, Event};
use super::store::{self, Idempotency, NewOperation, OperationRow};
use super::{Operation, OperationKind, OperationState, Plan, Reserved, Step, Subject, api};
use crate::audit::{self, Action, Actor};
use crate::feed::{self, Heard};
use crate::platform::Platform;
use crate::tenants::idempotency::{Fingerprint, MaybeIdempotencyKey, fingerprint};

/// A request that begins an operation.
#[derive(Debug)]
pub(crate) struct Begin {
    pub(crate) actor: Actor,
    pub(crate) key: MaybeIdempotencyKey,
    /// All that the request says, and what it is about, without secrets: a repeat has the same.
    pub(crate) request: Value,
    pub(crate) wait: Wait,
}

/// What a caller waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(default = "done")]
pub(crate) enum Wait {
    /// Nothing: the operation is recorded.
    None,
    /// The end of the operation.
    #[default]
    Done,
    /// Its end, and that every replica of every service has heard of it.
    Replicas,
}

impl Wait {
    /// Whether nothing is left to wait for when all is done but that the replicas hear of it; theirs is waited
    /// for here, for some seconds.
    pub(crate) async fn is_over_once_done(self, platform: &Platform) -> Result<bool, sqlx::Error> {
        match self {
            Self::None | Self::Done => Ok(true),
            Self::Replicas => {
                let patience = platform.settings.operations.wait.get();
                Ok(feed::wait_until_heard(platform, patience).await? == Heard::ByAll)
            }
        }
    }
}

/// The query string of a request that begins an operation.
#[derive(Debug, Clone, Copy, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct WaitQuery {
    /// What to wait for, for some seconds: `none`, `done` or `replicas`.
    #[serde(default)]
    #[param(inline)]
    pub(crate) wait: Wait,
}

/// The query string of a request that begins an operation, or says what it would do.
#[derive(Debug, Clone, Copy, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct TryQuery {
    /// What to wait for, for some seconds: `none`, `done` or `replicas`.
    #[serde(default)]
    #[param(inline)]
    pub(crate) wait: Wait,
    /// Answers what would happen, and does nothing.
    #[serde(default)]
    pub(crate) dry_run: bool,
}

/// What an operation is to be, from the transaction that begins it.
#[derive(Debug)]
pub(crate) struct Planned {
    pub(crate) subject: Subject,
    pub(crate) plan: Plan,
    /// For the audit: a JSON object without secrets and personal data.
    pub(crate) detail: Value,
}

/// Begins an operation, waits for it and answers: 200 with the operation where it is done in time,
/// else 202 and where to ask, which is the only answer where nothing is waited for.
///
/// `plan` locks and checks what the operation is about and chooses everything that it needs; it owns
/// what it uses.
///
/// # Errors
/// Those of `plan`; `conflict` where the subject has a live operation, which is named; and why the
/// operation failed, where it failed in time.
pub(crate) async fn begin<F>(platform: &Platform, begin: Begin, plan: F) -> Result<Response>
where
    F: for<'c> FnOnce(&'c mut PgConnection, OperationId) -> BoxFuture<'c, Result<Planned>> + Send,
{
    let Begin {
        actor,
        key,
        request,
        wait,
    } = begin;
    let secret = &platform.settings.internal.platform_key;
    let request = request.to_string();
    let known = key
        .0
        .map(|key| fingerprint(secret, &actor.to_string(), &key, &[Some(&request)]))
        .transpose()?;
    // Held until the operation is recorded and can be found by its key.
    let taking_in = known
        .as_ref()
        .map(|known| platform.signups.in_progress.begin(known))
        .transpose()?;
    if let Some(earlier) = repeated(platform, known.as_ref()).await? {
        return answer(platform, earlier.id, wait).await;
    }
    let operation = match recorded(platform, actor, known.as_ref(), plan).await {
        Ok(operation) => operation,
        // What refuses it may be what the same request has begun meanwhile, on another replica.
        Err(refusal) => {
            return match repeated(platform, known.as_ref()).await? {
                Some(earlier) => answer(platform, earlier.id, wait).await,
                None => Err(refusal),
            };
        }
    };
    let id = operation.head.id;
    drop(taking_in);
    let patience = match wait {
        Wait::None => Duration::ZERO,
        Wait::Done | Wait::Replicas => platform.settings.operations.wait.get(),
    };
    platform.runner.run(Reserved(operation), patience).await;
    answer(platform, id, wait).await
}

/// Plans an operation and records it with its audit row.
async fn recorded<F>(
    platform: &Platform,
    actor: Actor,
    known: Option<&Fingerprint>,
    plan: F,
) -> Result<Operation>
where
    F: for<'c> FnOnce(&'c mut PgConnection, OperationId) -> BoxFuture<'c, Result<Planned>> + Send,
{
    let id = OperationId::new();
    let mut transaction = platform.registry.begin().await?;
    let Planned {
        subject,
        plan,
        detail,
    } = plan(&mut transaction, id).await?;
    let operation = Operation::new(id, subject, plan)?;
    let idempotency = known.map(Idempotency::from);
    let new = NewOperation {
        operation: &operation,
        requested_by: actor,
        idempotency: idempotency.as_ref(),
        poll_digest: None,
        lease_for: platform.settings.operations.lease.get(),
        log: &[Entry::new(operation.head.step, Event::Started)],
    };
    if let Err(error) = store::insert(&mut transaction, &new).await {
        drop(transaction);
        return match broken_constraint(&error) {
            Some(
                "operation_live_key" | "operation_live_cluster_key" | "operation_live_fleet_key",
            ) => Err(busy(platform, &operation).await?),
            _ => Err(error.into()),
        };
    }
    let action = Action::OperationBegun(operation.plan.kind());
    let tenant = operation.head.subject.tenant();
    let detail = noted(detail, &operation);
    audit::record(&mut transaction, actor, action, tenant, detail).await?;
    transaction.commit().await?;
    Ok(operation)
}

/// What the audit says of a begun operation.
fn noted(mut detail: Value, operation: &Operation) -> Value {
    if let Value::Object(fields) = &mut detail {
        fields.insert("operation".to_owned(), operation.head.id.to_string().into());
        if let Some(cluster) = operation.head.subject.cluster() {
            fields.insert("cluster".to_owned(), cluster.to_string().into());
        }
    }
    detail
}

/// The operation of an earlier request with the same key.
///
/// # Errors
/// The key came with another request.
pub(crate) async fn repeated(
    platform: &Platform,
    known: Option<&Fingerprint>,
) -> Result<Option<OperationRow>> {
    let Some(known) = known else {
        return Ok(None);
    };
    let mut connection = platform.registry.acquire().await?;
    match store::find_by_idempotency_key(&mut connection, &known.key).await? {
        Some(row) if row.request_digest.as_deref() != Some(known.request.as_slice()) => {
            Err(Problem::new(Code::IdempotencyKeyReused))
        }
        found => Ok(found),
    }
}

/// Names the live operation that stands in the way.
async fn busy(platform: &Platform, wanted: &Operation) -> Result<Problem> {
    let mut connection = platform.registry.acquire().await?;
    let (subject, kind) = (&wanted.head.subject, wanted.plan.kind());
    let refused = refuse_busy(&mut connection, subject, kind).await;
    Ok(refused.err().unwrap_or_else(|| {
        Problem::new(Code::Conflict).detail("Another operation was under way; try again.")
    }))
}

/// Refuses what cannot begin now, because an operation is under way there.
///
/// # Errors
/// `conflict`, which names it.
pub(crate) async fn refuse_busy(
    connection: &mut PgConnection,
    subject: &Subject,
    kind: OperationKind,
) -> Result<()> {
    match store::live(connection, subject, kind).await? {
        None => Ok(()),
        Some((id, kind)) => Err(Problem::new(Code::Conflict).detail(format!(
            "The operation {id} ({}) is under way; wait for its end, or look at it if it is stuck.",
            kind.as_str()
        ))),
    }
}

/// Answers where an operation stands.
async fn answer(platform: &Platform, id: OperationId, wait: Wait) -> Result<Response> {
    let view = {
        let mut connection = platform.registry.acquire().await?;
        let row = store::find(&mut connection, id)
            .await?
            .ok_or_else(|| Problem::internal("a begun operation has no row"))?;
        api::view(&mut connection, row).await?
    };
    match view.summary.state {
        // Who waits for nothing is told that it is recorded, however fast it ended.
        _ if wait == Wait::None => accepted(&view),
        OperationState::Done if wait.is_over_once_done(platform).await? => {
            Ok(Json(view).into_response())
        }
        OperationState::Undone | OperationState::Stuck => Err(failed(&view)),
        OperationState::Done | OperationState::Running | OperationState::Unwinding => {
            accepted(&view)
        }
    }
}

fn accepted(view: &OperationView) -> Result<Response> {
    let path = format!("/v1/operations/{}", view.summary.id);
    let location = HeaderValue::from_str(&path).map_err(Problem::internal)?;
    let headers = [
        (header::LOCATION, location),
        (header::RETRY_AFTER, HeaderValue::from_static("1")),
    ];
    Ok((StatusCode::ACCEPTED, headers, Json(view)).into_response())
}

fn failed(view: &OperationView) -> Problem {
    let summary = &view.summary;
    let end = match summary.state {
        OperationState::Stuck => "is stuck: look at it, and try it again when its cause is gone",
        _ if summary.kind == OperationKind::ForgetBackup.as_str() => {
            "failed; the backup's state says what became of it"
        }
        _ => "failed, and was undone",
    };
    let sentence = format!("The operation {} {end}.", summary.id);
    match &summary.failure {
        Some(failure) => {
            Problem::new(failure.code).detail(format!("{} {sentence}", failure.detail))
        }
        None => Problem::new(Code::Internal).detail(sentence),
    }
}

/// Whether an operation was begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Started {
    New(OperationId),
    /// The subject has a live operation.
    Busy,
}

/// Records an operation that nobody waits for, in the caller's transaction: of a parent, of a schedule.
/// Nudge the runner after the commit.
pub(crate) async fn spawn(
    connection: &mut PgConnection,
    actor: Actor,
    parent: Option<OperationId>,
    subject: Subject,
    plan: Plan,
) -> Result<Started> {
    let mut operation = Operation::new(OperationId::new(), subject, plan)?;
    operation.head.parent = parent;
    let new = NewOperation {
        operation: &operation,
        requested_by: actor,
        idempotency: None,
        poll_digest: None,
        // Whoever looks first has it.
        lease_for: Duration::ZERO,
        log: &[Entry::new(operation.head.step, Event::Started)],
    };
    let inserted = store::insert_unless_busy(&mut *connection, &new).await?;
    if inserted == store::Inserted::Busy {
        return Ok(Started::Busy);
    }
    let action = Action::OperationBegun(operation.plan.kind());
    let detail = noted(serde_json::json!({ "parent": parent }), &operation);
    let tenant = operation.head.subject.tenant();
    audit::record(connection, actor, action, tenant, detail).await?;
    Ok(Started::New(operation.head.id))
}

/// Records what the caller's transaction does itself as an operation that is done.
pub(crate) async fn record_done(
    connection: &mut PgConnection,
    actor: Actor,
    subject: &Subject,
    (kind, step): (OperationKind, Step),
    result: Value,
) -> Result<OperationId> {
    let id = OperationId::new();
    store::insert_done(connection, (id, kind, step), subject, actor, result).await?;
    Ok(id)
}
