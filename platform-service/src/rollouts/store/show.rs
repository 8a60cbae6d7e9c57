//! What is shown of roll-outs and their tenants: SQL.
//!
//! Deliberately counts tenants where it lists roll-outs, so that a page is one statement. Invariant: nothing is
//! changed.

use contract::internal::FailedMigration;
use contract::operator::rollout::{
    RolloutState, RolloutTally, RolloutTenantView, RolloutView, TenantFailure, TenantProgress,
};
use contract::{OperationId, TenantId};
use serde_json::Value;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::registry::{json, number, parsed};

struct Columns {
    id: Uuid,
    title: String,
    state: String,
    operation_id: Option<Uuid>,
    target: Value,
    filter: Value,
    waves: Value,
    concurrency: i32,
    halt_share: f64,
    current_wave: i32,
    halted_reason: Option<String>,
    created_by: String,
    created_at: OffsetDateTime,
    finished_at: Option<OffsetDateTime>,
    tally: Value,
}

impl Columns {
    fn parse(self) -> Result<RolloutView, sqlx::Error> {
        Ok(RolloutView {
            id: OperationId::from_uuid(self.id),
            title: self.title,
            state: parsed("rollout.state", &self.state)?,
            operation: OperationId::from_uuid(self.operation_id.unwrap_or(self.id)),
            target: json("rollout.target", self.target)?,
            filter: json("rollout.filter", self.filter)?,
            waves: json("rollout.waves", self.waves)?,
            current_wave: number("rollout.current_wave", self.current_wave)?,
            concurrency: number("rollout.concurrency", self.concurrency)?,
            halt_share: self.halt_share,
            halted_reason: self.halted_reason,
            created_by: self.created_by,
            created_at: self.created_at,
            finished_at: self.finished_at,
            tally: tally(&self.tally),
        })
    }
}

/// Of `{state: count}`.
pub(super) fn tally(counts: &Value) -> RolloutTally {
    let count = |state: TenantProgress| counts[state.as_str()].as_u64().unwrap_or(0);
    RolloutTally {
        pending: count(TenantProgress::Pending),
        running: count(TenantProgress::Running),
        done: count(TenantProgress::Done),
        failed: count(TenantProgress::Failed),
        skipped: count(TenantProgress::Skipped),
    }
}

/// Which roll-outs to list.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::rollouts) struct Filter {
    pub(in crate::rollouts) id: Option<OperationId>,
    pub(in crate::rollouts) state: Option<RolloutState>,
    /// Those that began before it.
    pub(in crate::rollouts) before: Option<OperationId>,
}

/// Roll-outs, newest first.
pub(in crate::rollouts) async fn list(
    connection: &mut PgConnection,
    filter: &Filter,
    limit: i64,
) -> Result<Vec<RolloutView>, sqlx::Error> {
    sqlx::query_as!(
        Columns,
        r#"select rollout.id, title, state, operation_id, target, filter, waves, concurrency,
               halt_share, current_wave, halted_reason, created_by, created_at, finished_at,
               coalesce(counted.tally, '{}') as "tally!"
           from registry.rollout
           left join lateral (
               select jsonb_object_agg(state, number) as tally
               from (select state, count(*) as number from registry.rollout_tenant
                     where rollout_id = rollout.id group by state) states
           ) counted on true
           where ($1::uuid is null or rollout.id = $1) and ($2::uuid is null or rollout.id < $2)
               and ($3::text is null or rollout.state = $3)
           order by rollout.id desc limit $4"#,
        filter.id.map(OperationId::uuid),
        filter.before.map(OperationId::uuid),
        filter.state.map(RolloutState::as_str),
        limit,
    )
    .fetch_all(connection)
    .await?
    .into_iter()
    .map(Columns::parse)
    .collect()
}

/// A roll-out.
pub(in crate::rollouts) async fn find(
    connection: &mut PgConnection,
    id: OperationId,
) -> Result<Option<RolloutView>, sqlx::Error> {
    let filter = Filter {
        id: Some(id),
        ..Filter::default()
    };
    Ok(list(connection, &filter, 1).await?.pop())
}

/// Which tenants of a roll-out to show.
#[derive(Debug)]
pub(in crate::rollouts) struct TenantsFilter {
    pub(in crate::rollouts) state: Option<TenantProgress>,
    pub(in crate::rollouts) wave: Option<u16>,
    pub(in crate::rollouts) after: Option<TenantId>,
}

/// Tenants of a roll-out, in the order of their ids.
pub(in crate::rollouts) async fn tenants(
    connection: &mut PgConnection,
    id: OperationId,
    filter: &TenantsFilter,
    limit: i64,
) -> Result<Vec<RolloutTenantView>, sqlx::Error> {
    sqlx::query!(
        "select tenant_id, wave, cluster, state, owner, migration, sqlstate, message, statement, attempts,
             started_at, finished_at
         from registry.rollout_tenant
         where rollout_id = $1 and ($2::text is null or state = $2)
             and ($3::int is null or wave = $3) and ($4::text is null or tenant_id > $4)
         order by tenant_id limit $5",
        id.uuid(),
        filter.state.map(TenantProgress::as_str),
        filter.wave.map(i32::from),
        filter.after.as_ref().map(TenantId::as_str),
        limit,
    )
    .fetch_all(connection)
    .await?
    .into_iter()
    .map(|row| {
        let failure = match (row.owner, row.migration, row.message) {
            (Some(owner), Some(migration), Some(message)) => {
                Some(TenantFailure::Migration(FailedMigration {
                    owner: parsed("rollout_tenant.owner", &owner)?,
                    migration,
                    sqlstate: row.sqlstate,
                    message,
                    statement: row.statement,
                }))
            }
            (_, _, message) => message.map(|message| TenantFailure::Other { message }),
        };
        Ok(RolloutTenantView {
            tenant: parsed("rollout_tenant.tenant_id", &row.tenant_id)?,
            wave: number("rollout_tenant.wave", row.wave)?,
            cluster: parsed("rollout_tenant.cluster", &row.cluster)?,
            state: parsed("rollout_tenant.state", &row.state)?,
            failure,
            attempts: number("rollout_tenant.attempts", row.attempts)?,
            started_at: row.started_at,
            finished_at: row.finished_at,
        })
    })
    .collect()
}
