//! Operations' SQL: recording, leases and log; [`shown`] has what is read to show them.
//!
//! Deliberately decides nothing: [`super::outcome`] does. Invariant: every write on a live operation is
//! conditional on its lease, so a runner that lost it changes nothing any more.

mod shown;

use std::time::Duration;

use contract::operator::operation::Failure;
use contract::{ClusterName, OperationId, TenantId};
use serde::de::DeserializeOwned;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::children::Tally;
use super::outcome::{Entry, Event, MOST_UNDO_TRIES, Turn};
use super::saga::{Progress, Wish};
use super::{Head, Operation, OperationKind, OperationState, Plan, Step, Subject};
use crate::audit::Actor;
use crate::registry::{interval, json, parsed, to_json};
use crate::tenants::idempotency::Fingerprint;

pub(crate) use shown::{
    Filter, OperationRow, find, find_by_idempotency_key, find_for_cancel, list, request_cancel,
};

/// What a repeat of the same request is known by.
#[derive(Debug, Clone)]
pub(crate) struct Idempotency {
    /// HMAC of the `Idempotency-Key`.
    pub(crate) key: Vec<u8>,
    /// HMAC of the request.
    pub(crate) request: Vec<u8>,
}

impl From<&Fingerprint> for Idempotency {
    fn from(known: &Fingerprint) -> Self {
        Self {
            key: known.key.to_vec(),
            request: known.request.to_vec(),
        }
    }
}

/// An operation that is to be recorded, leased from the start by the process that records it.
#[derive(Debug)]
pub(crate) struct NewOperation<'a> {
    pub(crate) operation: &'a Operation,
    pub(crate) requested_by: Actor,
    pub(crate) idempotency: Option<&'a Idempotency>,
    /// SHA-256 of the token that lets an anonymous caller read it.
    pub(crate) poll_digest: Option<&'a [u8]>,
    /// From when it is written on; zero leaves it to whoever looks first.
    pub(crate) lease_for: Duration,
    /// What has happened until its current step; that this one has started comes last.
    pub(crate) log: &'a [Entry],
}

/// Records an operation and its log. Breaks `operation_idempotency_key`
/// where the key was used before and `operation_live_key`, `operation_live_cluster_key` or
/// `operation_live_fleet_key` where its subject has a live one.
pub(crate) async fn insert(
    connection: &mut PgConnection,
    new: &NewOperation<'_>,
) -> Result<(), sqlx::Error> {
    let Operation { head, plan } = new.operation;
    let (steps, events) = columns(new.log);
    sqlx::query!(
        "with recorded as (
             insert into registry.operation
                 (id, kind, tenant_id, cluster, parent_id, requested_by, state, step, plan, lease,
                  leased_until, idempotency_key, request_digest, poll_digest)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, clock_timestamp() + $11::interval, $12, $13, $14)
             returning id
         )
         insert into registry.operation_step (operation_id, step, event)
         select recorded.id, entry.step, entry.event
         from recorded, unnest($15::text[], $16::text[]) with ordinality as entry (step, event, position)
         order by entry.position",
        head.id.uuid(),
        plan.kind().as_str(),
        head.subject.tenant().map(TenantId::as_str),
        head.subject.cluster().map(ClusterName::as_str),
        head.parent.map(OperationId::uuid),
        new.requested_by.to_string(),
        head.state.as_str(),
        head.step.as_str(),
        plan.write()?,
        head.lease,
        interval(new.lease_for)?,
        new.idempotency.map(|known| known.key.as_slice()),
        new.idempotency.map(|known| known.request.as_slice()),
        new.poll_digest,
        &steps,
        &events,
    )
    .execute(connection)
    .await?;
    Ok(())
}

fn columns(log: &[Entry]) -> (Vec<String>, Vec<String>) {
    log.iter()
        .map(|entry| {
            (
                entry.step.as_str().to_owned(),
                entry.event.as_str().to_owned(),
            )
        })
        .unzip()
}

/// Whether an operation was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inserted {
    New,
    /// Its subject has a live one.
    Busy,
}

/// As [`insert`] for an operation without a request, in a transaction that goes on where its subject
/// has a live one.
pub(crate) async fn insert_unless_busy(
    connection: &mut PgConnection,
    new: &NewOperation<'_>,
) -> Result<Inserted, sqlx::Error> {
    let Operation { head, plan } = new.operation;
    let (steps, events) = columns(new.log);
    let done = sqlx::query!(
        "with recorded as (
             insert into registry.operation
                 (id, kind, tenant_id, cluster, parent_id, requested_by, state, step, plan)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
             on conflict do nothing
             returning id
         )
         insert into registry.operation_step (operation_id, step, event)
         select recorded.id, entry.step, entry.event
         from recorded, unnest($10::text[], $11::text[]) with ordinality as entry (step, event, position)
         order by entry.position",
        head.id.uuid(),
        plan.kind().as_str(),
        head.subject.tenant().map(TenantId::as_str),
        head.subject.cluster().map(ClusterName::as_str),
        head.parent.map(OperationId::uuid),
        new.requested_by.to_string(),
        head.state.as_str(),
        head.step.as_str(),
        plan.write()?,
        &steps,
        &events,
    )
    .execute(connection)
    .await?;
    Ok(match done.rows_affected() {
        0 => Inserted::Busy,
        _ => Inserted::New,
    })
}

/// Records an operation that the same transaction does.
pub(crate) async fn insert_done(
    connection: &mut PgConnection,
    (id, kind, step): (OperationId, OperationKind, Step),
    subject: &Subject,
    requested_by: Actor,
    result: Value,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "with recorded as (
             insert into registry.operation
                 (id, kind, tenant_id, cluster, requested_by, state, step, plan, result, finished_at)
             values ($1, $2, $3, $4, $5, $6, $7, '{}', $8, now())
             returning id, step
         )
         insert into registry.operation_step (operation_id, step, event)
         select id, step, $9 from recorded",
        id.uuid(),
        kind.as_str(),
        subject.tenant().map(TenantId::as_str),
        subject.cluster().map(ClusterName::as_str),
        requested_by.to_string(),
        OperationState::Done.as_str(),
        step.as_str(),
        result,
        Event::Done.as_str(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The live operation of a subject; of the fleet, that of this kind.
pub(crate) async fn live(
    connection: &mut PgConnection,
    subject: &Subject,
    kind: OperationKind,
) -> Result<Option<(OperationId, OperationKind)>, sqlx::Error> {
    let found = sqlx::query!(
        "select id, kind from registry.operation
         where state in ('running', 'unwinding', 'stuck')
             and tenant_id is not distinct from $1 and cluster is not distinct from $2
             and (tenant_id is not null or cluster is not null or kind = $3)
         limit 1",
        subject.tenant().map(TenantId::as_str),
        subject.cluster().map(ClusterName::as_str),
        kind.as_str(),
    )
    .fetch_optional(connection)
    .await?;
    let Some(row) = found else { return Ok(None) };
    let kind = parsed("operation.kind", &row.kind)?;
    Ok(Some((OperationId::from_uuid(row.id), kind)))
}

/// How many children of an operation there are, by how they stand.
pub(crate) async fn tally(
    connection: &mut PgConnection,
    parent: OperationId,
) -> Result<Tally, sqlx::Error> {
    let row = sqlx::query!(
        r#"select count(*) filter (where state = 'done') as "done!",
               count(*) filter (where state in ('undone', 'stuck')) as "failed!",
               count(*) filter (where state in ('running', 'unwinding')) as "live!",
               count(*) filter (where state in ('running', 'unwinding') and attempts < $2) as "busy!"
           from registry.operation where parent_id = $1"#,
        parent.uuid(),
        MOST_UNDO_TRIES,
    )
    .fetch_one(connection)
    .await?;
    Ok(Tally {
        done: row.done.unsigned_abs(),
        failed: row.failed.unsigned_abs(),
        live: row.live.unsigned_abs(),
        busy: row.busy.unsigned_abs(),
    })
}

/// An operation that was due.
#[derive(Debug)]
pub(crate) enum Due {
    /// The caller's, for as long as the lease is.
    Leased(Box<Operation>),
    /// This release cannot read it; another one's runner may.
    Unreadable((OperationId, Uuid), sqlx::Error),
}

/// Leases the operation that has been due for longest, if one is of a kind that is known here.
pub(crate) async fn lease_due(
    connection: &mut PgConnection,
    lease_for: Duration,
) -> Result<Option<Due>, sqlx::Error> {
    let known: Vec<String> = OperationKind::ALL
        .iter()
        .map(|kind| kind.as_str().to_owned())
        .collect();
    let leased = sqlx::query!(
        r#"
        update registry.operation
        set lease = $1, leased_until = now() + $2::interval
        where id = (
            select id from registry.operation
            where state in ('running', 'unwinding') and run_at <= now()
                and (leased_until is null or leased_until < now())
                and kind = any($3)
            order by run_at limit 1
            for update skip locked
        )
        returning id, parent_id, kind, tenant_id, cluster, state, step, attempts, failure, plan,
            lease as "lease!", cancel_at is not null as "is_cancelled!",
            extract(epoch from now() - coalesce(resumed_at, created_at))::float8 as "age_seconds!"
        "#,
        Uuid::now_v7(),
        interval(lease_for)?,
        &known,
    )
    .fetch_optional(connection)
    .await?;
    let Some(row) = leased else { return Ok(None) };
    let id = OperationId::from_uuid(row.id);
    let read = || {
        Ok::<_, sqlx::Error>(Operation {
            head: Head {
                id,
                lease: row.lease,
                parent: row.parent_id.map(OperationId::from_uuid),
                subject: subject(row.tenant_id, row.cluster)?,
                state: parsed("operation.state", &row.state)?,
                step: parsed("operation.step", &row.step)?,
                attempts: row.attempts,
                failure: optional_json("operation.failure", row.failure)?,
                wish: wish(row.is_cancelled),
                age: Duration::try_from_secs_f64(row.age_seconds).unwrap_or_default(),
            },
            plan: Plan::read(parsed("operation.kind", &row.kind)?, row.plan)?,
        })
    };
    Ok(Some(match read() {
        Ok(operation) => Due::Leased(Box::new(operation)),
        Err(error) => Due::Unreadable((id, row.lease), error),
    }))
}

/// Lays an operation that cannot be read aside for `pause`; one that nobody could read for `patience` is
/// stuck. Gives whether it is.
pub(crate) async fn lay_aside(
    connection: &mut PgConnection,
    (id, lease): (OperationId, Uuid),
    (pause, patience): (Duration, Duration),
    failure: &Failure,
) -> Result<bool, sqlx::Error> {
    let state = sqlx::query_scalar!(
        "update registry.operation
         set lease = null, leased_until = null, run_at = now() + $3::interval,
             unreadable_since = coalesce(unreadable_since, now()),
             state = case when unreadable_since < now() - $4::interval then $6 else state end,
             resumes = case when unreadable_since < now() - $4::interval then state else resumes end,
             failure = case when unreadable_since < now() - $4::interval then $5 else failure end
         where id = $1 and lease = $2
         returning state",
        id.uuid(),
        lease,
        interval(pause)?,
        interval(patience)?,
        to_json(failure)?,
        OperationState::Stuck.as_str(),
    )
    .fetch_optional(connection)
    .await?;
    Ok(state.as_deref() == Some(OperationState::Stuck.as_str()))
}

/// What an operation is about, from its columns.
pub(super) fn subject(
    tenant: Option<String>,
    cluster: Option<String>,
) -> Result<Subject, sqlx::Error> {
    Ok(match (tenant, cluster) {
        (Some(tenant), _) => Subject::Tenant(parsed("operation.tenant_id", &tenant)?),
        (None, Some(cluster)) => Subject::Cluster(parsed("operation.cluster", &cluster)?),
        (None, None) => Subject::Fleet,
    })
}

/// A `jsonb` column that may be null, as its type.
pub(super) fn optional_json<T: DeserializeOwned>(
    column: &'static str,
    value: Option<Value>,
) -> Result<Option<T>, sqlx::Error> {
    value.map(|value| json(column, value)).transpose()
}

const fn wish(is_cancelled: bool) -> Wish {
    if is_cancelled { Wish::End } else { Wish::GoOn }
}

/// Whether a runner still holds an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hold {
    /// It does.
    Held,
    /// Another one took it, or it is over.
    Lost,
}

impl Hold {
    const fn of(rows: u64) -> Self {
        match rows {
            0 => Self::Lost,
            _ => Self::Held,
        }
    }
}

/// Keeps an operation for longer.
pub(crate) async fn renew(
    connection: &mut PgConnection,
    (id, lease): (OperationId, Uuid),
    lease_for: Duration,
) -> Result<Hold, sqlx::Error> {
    let done = sqlx::query!(
        "update registry.operation set leased_until = now() + $3::interval
         where id = $1 and lease = $2",
        id.uuid(),
        lease,
        interval(lease_for)?,
    )
    .execute(connection)
    .await?;
    Ok(Hold::of(done.rows_affected()))
}

/// Says how far a step is while it is being done.
pub(crate) async fn note_progress(
    connection: &mut PgConnection,
    (id, lease): (OperationId, Uuid),
    progress: &Progress,
) -> Result<Hold, sqlx::Error> {
    let done = sqlx::query!(
        "update registry.operation set progress = $3 where id = $1 and lease = $2",
        id.uuid(),
        lease,
        to_json(progress)?,
    )
    .execute(connection)
    .await?;
    Ok(Hold::of(done.rows_affected()))
}

/// Gives an operation back as it stands, for another runner to go on at once.
pub(crate) async fn give_back(
    connection: &mut PgConnection,
    head: &Head,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update registry.operation set lease = null, leased_until = null
         where id = $1 and lease = $2",
        head.id.uuid(),
        head.lease,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes where an operation stands next and what is logged of it, in one statement; gives what its
/// people wish, or nothing where another runner took it or it is over. How many bytes were copied is of the step
/// that copied them: it stays where the operation ends with it, and is of no other step.
pub(crate) async fn write(
    connection: &mut PgConnection,
    operation: &Operation,
    turn: &Turn,
    (lease_for, copied): (Duration, Option<Progress>),
) -> Result<Option<Wish>, sqlx::Error> {
    let Operation { head, plan } = operation;
    let is_finished = matches!(turn.state, OperationState::Done | OperationState::Undone);
    // What was kept for its steps (a sealed password, a hash) is needed no more; a stuck one
    // needs it for its next try.
    let kept = if is_finished {
        Value::Object(serde_json::Map::new())
    } else {
        plan.write()?
    };
    let result = turn.state.is_over().then(|| plan.result()).flatten();
    let progress = plan.progress().or(copied.filter(|_| is_finished));
    let (steps, events) = columns(&turn.log);
    let details: Vec<Option<String>> = turn.log.iter().map(|e| e.detail.clone()).collect();
    let moved = sqlx::query_scalar!(
        r#"
        with moved as (
            update registry.operation
            set state = $3, step = $4, attempts = $5, failure = $6, plan = $7,
                unreadable_since = null, run_at = now() + $8::interval,
                lease = case when $9 then null else lease end,
                leased_until = case when $9 then null
                    else clock_timestamp() + $8::interval + $10::interval end,
                finished_at = case when $11 then now() end,
                resumes = $15, result = coalesce($16, result),
                progress = coalesce($17, case
                    when progress ->> 'unit' = 'bytes' and step <> $4 and not $11 then null
                    else progress end),
                idempotency_key = case when not $18 then idempotency_key end,
                request_digest = case when not $18 then request_digest end
            where id = $1 and lease = $2
            returning id, cancel_at is not null as is_cancelled
        ), logged as (
            insert into registry.operation_step (operation_id, step, event, detail)
            select moved.id, entry.step, entry.event, entry.detail
            from moved, unnest($12::text[], $13::text[], $14::text[])
                with ordinality as entry (step, event, detail, position)
            order by entry.position
        )
        select is_cancelled as "is_cancelled!" from moved
        "#,
        head.id.uuid(),
        head.lease,
        turn.state.as_str(),
        turn.step.as_str(),
        turn.attempts,
        turn.failure.as_ref().map(to_json).transpose()?,
        kept,
        interval(turn.pause.unwrap_or_default())?,
        turn.state.is_over(),
        interval(lease_for)?,
        is_finished,
        &steps,
        &events,
        &details as &[Option<String>],
        turn.resumes.map(OperationState::as_str),
        result,
        progress.as_ref().map(to_json).transpose()?,
        turn.is_as_if_never_begun(),
    )
    .fetch_optional(connection)
    .await?;
    Ok(moved.map(wish))
}

/// Whether there was something to resume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resumed {
    /// It goes on with the step or the undo that failed.
    Resumed,
    /// It was not stuck.
    NotStuck,
}

/// Lets a stuck operation go on where it stopped.
pub(crate) async fn resume(
    connection: &mut PgConnection,
    id: OperationId,
) -> Result<Resumed, sqlx::Error> {
    let done = sqlx::query!(
        "with resumed as (
             update registry.operation
             set state = coalesce(resumes, 'unwinding'), resumes = null, attempts = 0,
                 run_at = now(), resumed_at = now(), unreadable_since = null
             where id = $1 and state = $2
             returning id, step, state
         )
         insert into registry.operation_step (operation_id, step, event)
         select id, step, case state when 'running' then $3 else $4 end from resumed",
        id.uuid(),
        OperationState::Stuck.as_str(),
        Event::Started.as_str(),
        Event::UndoStarted.as_str(),
    )
    .execute(connection)
    .await?;
    Ok(match done.rows_affected() {
        0 => Resumed::NotStuck,
        _ => Resumed::Resumed,
    })
}
