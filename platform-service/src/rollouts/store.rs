//! The SQL of roll-outs: the stored object, its tenants, how it is steered.
//!
//! Deliberately decides nothing: [`super::waves`] does; the work on tenants is in [`work`]. Invariant:
//! a state changes only from those states that allow it.

mod show;
pub(super) mod work;

use std::time::Duration;

use contract::operator::rollout::{RolloutRequest, RolloutState};
use contract::{OperationId, SchemaVersions};
use sqlx::PgConnection;

use super::waves::Look;
use crate::audit::Actor;
use crate::registry::{int, interval, json, number, parsed, to_json};
use crate::tenants::store::select_ids;

use show::tally;
pub(super) use show::{Filter, TenantsFilter, find, list, tenants};

/// Records a roll-out, under the id of its operation. Breaks `rollout_live_key` where another is
/// under way.
pub(super) async fn insert(
    connection: &mut PgConnection,
    id: OperationId,
    request: &RolloutRequest,
    target: &SchemaVersions,
    actor: Actor,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into registry.rollout
             (id, title, state, operation_id, target, filter, waves, concurrency, halt_share, created_by)
         values ($1, $2, $3, $1, $4, $5, $6, $7, $8, $9)",
        id.uuid(),
        request.title,
        RolloutState::Running.as_str(),
        to_json(target)?,
        to_json(&request.filter)?,
        to_json(&request.waves)?,
        i32::from(request.concurrency),
        request.halt_share,
        actor.to_string(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What the rules ask about a roll-out.
pub(super) async fn look(
    connection: &mut PgConnection,
    id: OperationId,
) -> Result<Option<Look>, sqlx::Error> {
    let Some(row) = sqlx::query!(
        r#"select state, forgiven, halt_share, waves, current_wave,
               coalesce((select jsonb_object_agg(wave, states)
                   from (select wave, jsonb_object_agg(state, number) as states
                         from (select wave, state, count(*) as number from registry.rollout_tenant
                               where rollout_id = $1 group by wave, state) counted
                         group by wave) waves), '{}') as "tallies!"
           from registry.rollout where id = $1"#,
        id.uuid(),
    )
    .fetch_optional(connection)
    .await?
    else {
        return Ok(None);
    };
    let waves: Vec<_> = json("rollout.waves", row.waves)?;
    Ok(Some(Look {
        state: parsed("rollout.state", &row.state)?,
        forgiven: number("rollout.forgiven", row.forgiven)?,
        halt_share: row.halt_share,
        current: number("rollout.current_wave", row.current_wave)?,
        tallies: (0..=waves.len())
            .map(|wave| tally(&row.tallies[wave.to_string()]))
            .collect(),
        waves,
    }))
}

/// The roll-out that is not over, and where it stands.
pub(crate) async fn live(
    connection: &mut PgConnection,
) -> Result<Option<(OperationId, RolloutState)>, sqlx::Error> {
    let found = sqlx::query!(
        "select id, state from registry.rollout where state in ('running', 'paused', 'halted')"
    )
    .fetch_optional(connection)
    .await?;
    found
        .map(|row| {
            let state = parsed("rollout.state", &row.state)?;
            Ok((OperationId::from_uuid(row.id), state))
        })
        .transpose()
}

/// Where a roll-out stands; nobody else steers it until the transaction ends.
pub(super) async fn lock(
    connection: &mut PgConnection,
    id: OperationId,
) -> Result<Option<RolloutState>, sqlx::Error> {
    let state = sqlx::query_scalar!(
        "select state from registry.rollout where id = $1 for update",
        id.uuid(),
    )
    .fetch_optional(connection)
    .await?;
    state
        .map(|state| parsed("rollout.state", &state))
        .transpose()
}

/// Where a roll-out stands.
pub(super) async fn state(
    connection: &mut PgConnection,
    id: OperationId,
) -> Result<RolloutState, sqlx::Error> {
    let state = sqlx::query_scalar!(
        "select state from registry.rollout where id = $1",
        id.uuid(),
    )
    .fetch_one(connection)
    .await?;
    parsed("rollout.state", &state)
}

/// Ends a roll-out whose operation somebody has cancelled.
pub(super) async fn end_cancelled(
    connection: &mut PgConnection,
    id: OperationId,
    operation: OperationId,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update registry.rollout set state = $3
         where id = $1 and state in ('running', 'paused', 'halted') and exists (
             select from registry.operation where id = $2 and cancel_at is not null)",
        id.uuid(),
        operation.uuid(),
        RolloutState::Aborted.as_str(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Sets where a locked roll-out stands. One that goes on has gone past the failures so far.
pub(super) async fn set_state(
    connection: &mut PgConnection,
    id: OperationId,
    state: RolloutState,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update registry.rollout
         set state = $2,
             forgiven = case when $2 = 'running' then
                 (select count(*) from registry.rollout_tenant
                  where rollout_id = $1 and state = 'failed') else forgiven end,
             halted_reason = case when $2 = 'running' then null else halted_reason end,
             finished_at = case when $3 then finished_at end
         where id = $1",
        id.uuid(),
        state.as_str(),
        state.is_over(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Gives a roll-out that is over to another operation.
pub(super) async fn set_operation(
    connection: &mut PgConnection,
    id: OperationId,
    operation: OperationId,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update registry.rollout set operation_id = $2 where id = $1",
        id.uuid(),
        operation.uuid(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Halts a roll-out, unless an operator was faster.
pub(super) async fn halt(
    connection: &mut PgConnection,
    id: OperationId,
    reason: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update registry.rollout set state = $2, halted_reason = $3 where id = $1 and state = $4",
        id.uuid(),
        RolloutState::Halted.as_str(),
        reason,
        RolloutState::Running.as_str(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Notes which wave is worked on.
pub(super) async fn enter(
    connection: &mut PgConnection,
    id: OperationId,
    wave: usize,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update registry.rollout set current_wave = $2 where id = $1 and current_wave <> $2",
        id.uuid(),
        int(wave)?,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Ends a roll-out that nobody aborted. Whose turn was asked for at its last moment failed still, and can be
/// asked for again.
pub(crate) async fn finish(
    connection: &mut PgConnection,
    id: OperationId,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update registry.rollout
         set state = case when state = 'aborted' then state else 'done' end,
             finished_at = coalesce(finished_at, now())
         where id = $1",
        id.uuid(),
    )
    .execute(&mut *connection)
    .await?;
    // A statement of its own: one that waited for the row would not see what was asked for.
    sqlx::query!(
        "update registry.rollout_tenant entry set state = 'failed'
         from registry.rollout
         where rollout.id = $1 and rollout.state = 'done'
             and entry.rollout_id = $1 and entry.state = 'pending'",
        id.uuid(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Selects the tenants of a roll-out, those that need nothing as skipped. Does nothing when that was
/// done before.
pub(crate) async fn select_tenants(
    connection: &mut PgConnection,
    id: OperationId,
) -> Result<(), sqlx::Error> {
    let filter = sqlx::query_scalar!(
        "select filter from registry.rollout where id = $1",
        id.uuid(),
    )
    .fetch_one(&mut *connection)
    .await?;
    let filter = json("rollout.filter", filter)?;
    let tenants: Vec<String> = select_ids(&mut *connection, &filter, None, i64::MAX)
        .await?
        .iter()
        .map(ToString::to_string)
        .collect();
    sqlx::query!(
        "insert into registry.rollout_tenant
             (rollout_id, tenant_id, wave, cluster, state, finished_at)
         select rollout.id, tenant.id, placed.wave, tenant.cluster, placed.state,
             case when placed.state = 'skipped' then now() end
         from registry.rollout, registry.tenant, lateral (
             select coalesce((
                     select min(wave.position)::int - 1
                     from jsonb_array_elements(rollout.waves)
                         with ordinality as wave (rule, position)
                     where wave.rule -> 'tenants' ? tenant.id
                         or wave.rule ->> 'tier' = tenant.tier
                         or wave.rule ->> 'cluster' = tenant.cluster
                         or (wave.rule ->> 'percent')::int
                             > (hashtext(tenant.id)::bigint & 2147483647) % 100
                 ), jsonb_array_length(rollout.waves)) as wave,
                 case when exists (
                     select from jsonb_each_text(rollout.target) as wanted (owner, version)
                     where coalesce((tenant.schema_versions ->> wanted.owner)::int, 0)
                         < wanted.version::int
                 ) then 'pending' else 'skipped' end as state
         ) placed
         where rollout.id = $1 and tenant.id = any($2) and tenant.cluster is not null
             and tenant.status in ('active', 'suspended')
         on conflict on constraint rollout_tenant_key do nothing",
        id.uuid(),
        &tenants,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Ends a roll-out that could not begin.
pub(crate) async fn give_up(
    connection: &mut PgConnection,
    id: OperationId,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "delete from registry.rollout_tenant where rollout_id = $1",
        id.uuid(),
    )
    .execute(&mut *connection)
    .await?;
    set_state(connection, id, RolloutState::Aborted).await?;
    finish(connection, id).await
}

/// Lets the failed tenants of a roll-out have another turn, and none of the failures count.
pub(super) async fn retry_failed(
    connection: &mut PgConnection,
    id: OperationId,
) -> Result<u64, sqlx::Error> {
    let again = sqlx::query!(
        "update registry.rollout_tenant set state = 'pending', attempts = 0, finished_at = null
         where rollout_id = $1 and state = 'failed'",
        id.uuid(),
    )
    .execute(connection)
    .await?;
    Ok(again.rows_affected())
}

/// Ends a roll-out again whose failed tenants could not have their other turn.
pub(crate) async fn end_again(
    connection: &mut PgConnection,
    id: OperationId,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update registry.rollout_tenant set state = 'failed', finished_at = now()
         where rollout_id = $1 and state = 'pending'",
        id.uuid(),
    )
    .execute(&mut *connection)
    .await?;
    finish(connection, id).await
}

/// Deletes roll-outs that are over for this long, with what became of their tenants, at most `most` of them.
pub(crate) async fn prune(
    connection: &mut PgConnection,
    retention: Duration,
    most: i64,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "delete from registry.rollout where id in (
             select id from registry.rollout
             where finished_at < now() - $1::interval
                 and not exists (
                     select from registry.operation
                     where operation.id = rollout.operation_id and operation.finished_at is null)
             order by finished_at limit $2
             for update skip locked)",
        interval(retention)?,
        most,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Whether a roll-out has halted, which holds back all migrations that are not needed to serve.
pub(crate) async fn is_halted(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select exists (select from registry.rollout where state = 'halted') as "halted!""#
    )
    .fetch_one(connection)
    .await
}
