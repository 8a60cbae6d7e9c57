//! The SQL of files of tenants: rows, what became of them.
//!
//! Deliberately nothing of tenants themselves. Invariant: a row names its child from the transaction
//! that begins the child.

use contract::operator::backup::{BulkRowState, BulkRowView};
use contract::operator::operation::Failure;
use contract::{OperationId, TenantId};
use serde_json::Value;
use sqlx::PgConnection;

use crate::registry::{json, number, parsed, to_json};

/// A row that is to be recorded: what it asks for, or why it cannot be read.
pub(crate) type Recorded = (Value, Option<Failure>);

/// Records the rows of a file, numbered from 1. Recorded again they stay as they are.
pub(crate) async fn insert(
    connection: &mut PgConnection,
    operation: OperationId,
    rows: &[Recorded],
) -> Result<(), sqlx::Error> {
    let requests: Vec<Value> = rows.iter().map(|(request, _)| request.clone()).collect();
    let failures: Vec<Option<Value>> = rows
        .iter()
        .map(|(_, failure)| failure.as_ref().map(to_json).transpose())
        .collect::<Result<_, _>>()?;
    sqlx::query!(
        "insert into registry.bulk_row (operation_id, number, request, state, failure)
         select $1, entry.number, entry.request,
             case when entry.failure is null then 'pending' else 'failed' end, entry.failure
         from unnest($2::jsonb[], $3::jsonb[]) with ordinality as entry (request, failure, number)
         on conflict on constraint bulk_row_key do nothing",
        operation.uuid(),
        &requests,
        &failures as &[Option<Value>],
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Forgets the rows of an operation that is undone.
pub(crate) async fn delete(
    connection: &mut PgConnection,
    operation: OperationId,
) -> Result<(), sqlx::Error> {
    let id = operation.uuid();
    sqlx::query!("delete from registry.bulk_row where operation_id = $1", id)
        .execute(connection)
        .await?;
    Ok(())
}

/// A row that is to be made.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) number: i32,
    pub(crate) request: Value,
}

/// The next rows that wait, locked.
pub(crate) async fn pending(
    connection: &mut PgConnection,
    operation: OperationId,
    limit: i64,
) -> Result<Vec<Pending>, sqlx::Error> {
    sqlx::query_as!(
        Pending,
        "select number, request from registry.bulk_row
         where operation_id = $1 and state = 'pending' order by number limit $2 for update",
        operation.uuid(),
        limit,
    )
    .fetch_all(connection)
    .await
}

/// Says which operation makes a row, and forgets what it asked for.
pub(crate) async fn begun(
    connection: &mut PgConnection,
    (operation, number): (OperationId, i32),
    tenant: &TenantId,
    child: OperationId,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update registry.bulk_row
         set state = 'running', tenant_id = $3, child_id = $4, request = '{}'
         where operation_id = $1 and number = $2",
        operation.uuid(),
        number,
        tenant.as_str(),
        child.uuid(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Says why a row cannot be made, and forgets what it asked for.
pub(crate) async fn failed(
    connection: &mut PgConnection,
    (operation, number): (OperationId, i32),
    failure: &Failure,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update registry.bulk_row set state = 'failed', failure = $3, request = '{}'
         where operation_id = $1 and number = $2",
        operation.uuid(),
        number,
        to_json(failure)?,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Says of all rows that wait why they are not made, and forgets what they asked for.
pub(crate) async fn give_up(
    connection: &mut PgConnection,
    operation: OperationId,
    failure: &Failure,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update registry.bulk_row set state = 'failed', failure = $2, request = '{}'
         where operation_id = $1 and state = 'pending'",
        operation.uuid(),
        to_json(failure)?,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// How many rows stand where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) pending: u64,
    pub(crate) running: u64,
    pub(crate) done: u64,
    pub(crate) failed: u64,
}

/// Notes what became of the rows whose operations are over, and counts all.
pub(crate) async fn settle(
    connection: &mut PgConnection,
    operation: OperationId,
) -> Result<Counts, sqlx::Error> {
    sqlx::query!(
        "update registry.bulk_row
         set state = case when child.state = 'done' then 'done' else 'failed' end,
             failure = case when child.state = 'done' then null else child.failure end
         from registry.operation child
         where bulk_row.operation_id = $1 and bulk_row.state in ('running', 'failed')
             and child.id = bulk_row.child_id and child.state in ('done', 'undone', 'stuck')
             -- One that was stuck may have been tried again.
             and bulk_row.state <> case when child.state = 'done' then 'done' else 'failed' end",
        operation.uuid(),
    )
    .execute(&mut *connection)
    .await?;
    let row = sqlx::query!(
        r#"select count(*) filter (where state = 'pending') as "pending!",
               count(*) filter (where state = 'running') as "running!",
               count(*) filter (where state = 'done') as "done!",
               count(*) filter (where state = 'failed') as "failed!"
           from registry.bulk_row where operation_id = $1"#,
        operation.uuid(),
    )
    .fetch_one(connection)
    .await?;
    Ok(Counts {
        pending: row.pending.unsigned_abs(),
        running: row.running.unsigned_abs(),
        done: row.done.unsigned_abs(),
        failed: row.failed.unsigned_abs(),
    })
}

/// Up to `limit` rows after a number, of one state or all, in their order. A row whose operation is known
/// stands where that does now: one that was stuck may go on when the file's operation is long over.
pub(crate) async fn list(
    connection: &mut PgConnection,
    operation: OperationId,
    (state, after): (Option<BulkRowState>, u32),
    limit: i64,
) -> Result<Vec<BulkRowView>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"select number as "number!", state as "state!", tenant_id as "tenant_id?",
               child_id as "child_id?", failure as "failure?"
           from (
               select bulk_row.number, bulk_row.tenant_id, bulk_row.child_id,
                   case
                       when child.id is null then bulk_row.state
                       when child.state = 'done' then 'done'
                       when child.state in ('undone', 'stuck') then 'failed'
                       else 'running'
                   end as state,
                   case
                       when child.id is null then bulk_row.failure
                       when child.state in ('undone', 'stuck') then child.failure
                   end as failure
               from registry.bulk_row
               left join registry.operation child on child.id = bulk_row.child_id
               where bulk_row.operation_id = $1 and bulk_row.number > $2
           ) listed
           where $3::text is null or state = $3
           order by number limit $4"#,
        operation.uuid(),
        // A cursor that no row can have: nothing follows it.
        i32::try_from(after).unwrap_or(i32::MAX),
        state.map(BulkRowState::as_str),
        limit,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let tenant = row.tenant_id.as_deref();
            let failure = row.failure;
            Ok(BulkRowView {
                number: number("bulk_row.number", row.number)?,
                state: parsed("bulk_row.state", &row.state)?,
                tenant: tenant
                    .map(|id| parsed("bulk_row.tenant_id", id))
                    .transpose()?,
                operation: row.child_id.map(OperationId::from_uuid),
                failure: failure
                    .map(|value| json("bulk_row.failure", value))
                    .transpose()?,
            })
        })
        .collect()
}
