//! The SQL of operations as they are shown, and of their cancellation.
//!
//! Deliberately reads no plan, except to decide on a cancellation. Invariant: lists are in the order of the
//! ids, which is that of time, newest first.

use contract::{ClusterName, OperationId, TenantId};
use serde_json::Value;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use super::super::outcome::Way;
use super::super::saga::Progress;
use super::super::{Failure, OperationKind, OperationState, Plan, Step, Subject};
use super::{optional_json, subject};
use crate::registry::parsed;

/// An operation as it is shown.
#[derive(Debug, Clone)]
pub(crate) struct OperationRow {
    pub(crate) id: OperationId,
    pub(crate) kind: OperationKind,
    pub(crate) subject: Subject,
    pub(crate) parent: Option<OperationId>,
    pub(crate) state: OperationState,
    pub(crate) step: Step,
    /// Why it failed, or what it waits for.
    pub(crate) failure: Option<Failure>,
    pub(crate) progress: Option<Progress>,
    pub(crate) result: Option<Value>,
    pub(crate) request_digest: Option<Vec<u8>>,
    pub(crate) poll_digest: Option<Vec<u8>>,
    pub(crate) created_at: OffsetDateTime,
    pub(crate) finished_at: Option<OffsetDateTime>,
}

struct Columns {
    id: Uuid,
    kind: String,
    tenant_id: Option<String>,
    cluster: Option<String>,
    parent_id: Option<Uuid>,
    state: String,
    step: String,
    failure: Option<Value>,
    progress: Option<Value>,
    result: Option<Value>,
    request_digest: Option<Vec<u8>>,
    poll_digest: Option<Vec<u8>>,
    created_at: OffsetDateTime,
    finished_at: Option<OffsetDateTime>,
}

impl Columns {
    fn parse(self) -> Result<OperationRow, sqlx::Error> {
        Ok(OperationRow {
            id: OperationId::from_uuid(self.id),
            kind: parsed("operation.kind", &self.kind)?,
            subject: subject(self.tenant_id, self.cluster)?,
            parent: self.parent_id.map(OperationId::from_uuid),
            state: parsed("operation.state", &self.state)?,
            step: parsed("operation.step", &self.step)?,
            failure: optional_json("operation.failure", self.failure)?,
            progress: optional_json("operation.progress", self.progress)?,
            result: self.result,
            request_digest: self.request_digest,
            poll_digest: self.poll_digest,
            created_at: self.created_at,
            finished_at: self.finished_at,
        })
    }
}

/// An operation.
pub(crate) async fn find(
    connection: &mut PgConnection,
    id: OperationId,
) -> Result<Option<OperationRow>, sqlx::Error> {
    sqlx::query_as!(
        Columns,
        "select id, kind, tenant_id, cluster, parent_id, state, step, failure, progress, result,
             request_digest, poll_digest, created_at, finished_at
         from registry.operation where id = $1",
        id.uuid(),
    )
    .fetch_optional(connection)
    .await?
    .map(Columns::parse)
    .transpose()
}

/// The operation that a request with this key (its HMAC) made.
pub(crate) async fn find_by_idempotency_key(
    connection: &mut PgConnection,
    key: &[u8],
) -> Result<Option<OperationRow>, sqlx::Error> {
    sqlx::query_as!(
        Columns,
        "select id, kind, tenant_id, cluster, parent_id, state, step, failure, progress, result,
             request_digest, poll_digest, created_at, finished_at
         from registry.operation where idempotency_key = $1",
        key,
    )
    .fetch_optional(connection)
    .await?
    .map(Columns::parse)
    .transpose()
}

/// Which operations to list.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    pub(crate) state: Option<OperationState>,
    pub(crate) kind: Option<OperationKind>,
    pub(crate) tenant: Option<TenantId>,
    pub(crate) cluster: Option<ClusterName>,
    pub(crate) parent: Option<OperationId>,
    /// Begun then or later.
    pub(crate) since: Option<OffsetDateTime>,
    /// Begun before.
    pub(crate) until: Option<OffsetDateTime>,
}

/// Up to `limit` operations, newest first, that are older than `starting_after`; in a transaction, so that
/// each filter has a plan of its own.
pub(crate) async fn list(
    connection: &mut PgConnection,
    filter: &Filter,
    starting_after: Option<OperationId>,
    limit: i64,
) -> Result<Vec<OperationRow>, sqlx::Error> {
    sqlx::query!("set local plan_cache_mode = force_custom_plan")
        .execute(&mut *connection)
        .await?;
    sqlx::query_as!(
        Columns,
        "select id, kind, tenant_id, cluster, parent_id, state, step, failure, progress, result,
             request_digest, poll_digest, created_at, finished_at
         from registry.operation
         where ($1::uuid is null or id < $1)
             and ($2::text is null or state = $2)
             and ($3::text is null or kind = $3)
             and ($4::text is null or tenant_id = $4)
             and ($5::text is null or cluster = $5)
             and ($6::uuid is null or parent_id = $6)
             and ($7::timestamptz is null or created_at >= $7)
             and ($8::timestamptz is null or created_at < $8)
         order by id desc limit $9",
        starting_after.map(OperationId::uuid),
        filter.state.map(OperationState::as_str),
        filter.kind.map(OperationKind::as_str),
        filter.tenant.as_ref().map(TenantId::as_str),
        filter.cluster.as_ref().map(ClusterName::as_str),
        filter.parent.map(OperationId::uuid),
        filter.since,
        filter.until,
        limit,
    )
    .fetch_all(connection)
    .await?
    .into_iter()
    .map(Columns::parse)
    .collect()
}

/// An operation that somebody wants to end, locked until the transaction ends.
#[derive(Debug)]
pub(crate) struct Cancelling {
    pub(crate) kind: OperationKind,
    pub(crate) subject: Subject,
    pub(crate) state: OperationState,
    pub(crate) step: Step,
    /// None of one that is over.
    pub(crate) way: Option<Way>,
}

/// An operation, to be cancelled.
pub(crate) async fn find_for_cancel(
    connection: &mut PgConnection,
    id: OperationId,
) -> Result<Option<Cancelling>, sqlx::Error> {
    let found = sqlx::query!(
        "select kind, tenant_id, cluster, state, step, plan
         from registry.operation where id = $1 for no key update",
        id.uuid(),
    )
    .fetch_optional(connection)
    .await?;
    let Some(row) = found else { return Ok(None) };
    let kind = parsed("operation.kind", &row.kind)?;
    let state: OperationState = parsed("operation.state", &row.state)?;
    let way = match state {
        OperationState::Done | OperationState::Undone => None,
        // What cannot be read can be brought to no end.
        _ => Plan::read(kind, row.plan).ok().map(|plan| Way::of(&plan)),
    };
    Ok(Some(Cancelling {
        kind,
        subject: subject(row.tenant_id, row.cluster)?,
        state,
        step: parsed("operation.step", &row.step)?,
        way,
    }))
}

/// Notes that an operation is to end; said again it changes nothing.
pub(crate) async fn request_cancel(
    connection: &mut PgConnection,
    id: OperationId,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update registry.operation set cancel_at = coalesce(cancel_at, now()) where id = $1",
        id.uuid(),
    )
    .execute(connection)
    .await?;
    Ok(())
}
