//! The SQL of the work on a roll-out's tenants: whose turn it is, and what came of it.
//!
//! Deliberately in batches: a transaction per tenant would cost more than its migration. Invariants:
//! what is recorded of a tenant's schema is of the copy that was migrated; the feed comes last.

use contract::internal::FailedMigration;
use contract::operator::rollout::{RolloutState, TenantProgress};
use contract::{ClusterName, OperationId, SchemaVersions, TenantId};
use serde_json::Value;
use sqlx::PgConnection;

use crate::feed::Unannounced;
use crate::registry::{bigint, int, json, number, parsed, to_json};

/// A tenant whose turn it is.
#[derive(Debug)]
pub(in crate::rollouts) struct Turn {
    pub(in crate::rollouts) tenant: TenantId,
    pub(in crate::rollouts) cluster: ClusterName,
    pub(in crate::rollouts) copy: u32,
    pub(in crate::rollouts) versions: SchemaVersions,
    /// How often it was tried in vain.
    pub(in crate::rollouts) attempts: u32,
    /// It was in a call with others that gave no answer, maybe because of it.
    pub(in crate::rollouts) alone: bool,
}

/// Lets those have their turn again whose turn did not begin or was broken off: all of them, or these.
pub(in crate::rollouts) async fn give_back(
    connection: &mut PgConnection,
    id: OperationId,
    tenants: Option<&[TenantId]>,
) -> Result<(), sqlx::Error> {
    let tenants: Option<Vec<String>> =
        tenants.map(|tenants| tenants.iter().map(ToString::to_string).collect());
    sqlx::query!(
        "update registry.rollout_tenant set state = 'pending'
         where rollout_id = $1 and state = 'running'
             and ($2::text[] is null or tenant_id = any($2))",
        id.uuid(),
        tenants.as_deref(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The clusters on which tenants of a wave wait for their turn.
pub(in crate::rollouts) async fn clusters(
    connection: &mut PgConnection,
    id: OperationId,
    wave: usize,
) -> Result<Vec<ClusterName>, sqlx::Error> {
    sqlx::query_scalar!(
        "select distinct cluster from registry.rollout_tenant
         where rollout_id = $1 and wave = $2 and state = 'pending'",
        id.uuid(),
        int(wave)?,
    )
    .fetch_all(connection)
    .await?
    .iter()
    .map(|cluster| parsed("rollout_tenant.cluster", cluster))
    .collect()
}

/// Gives up to `limit` tenants their turn: those that were tried least first; nobody where the roll-out
/// does not run. Who is not served any more is skipped; who is held or being moved waits, because a move keeps
/// migrations out for as long as it copies. One that has switched only tidies up behind the tenant.
pub(in crate::rollouts) async fn take(
    connection: &mut PgConnection,
    id: OperationId,
    (wave, cluster): (usize, &ClusterName),
    limit: usize,
) -> Result<Vec<Turn>, sqlx::Error> {
    sqlx::query!(
        r#"with next as (
               select entry.tenant_id, tenant.cluster, tenant.copy, tenant.schema_versions,
                   case when tenant.status in ('active', 'suspended') then 'running'
                       else 'skipped' end as state
               from registry.rollout_tenant entry
               join registry.tenant on tenant.id = entry.tenant_id
               where entry.rollout_id = $1 and entry.wave = $2 and entry.cluster = $3
                   and entry.state = 'pending'
                   and (tenant.held_until is null or tenant.held_until <= now())
                   and not exists (select from registry.operation
                       where tenant_id = entry.tenant_id and kind = 'move'
                           and state in ('running', 'unwinding') and step <> 'leave')
                   and exists (select from registry.rollout where id = $1 and state = $5)
               order by entry.attempts, entry.tenant_id limit $4
               for update of entry skip locked
           )
           update registry.rollout_tenant entry
           set state = next.state, started_at = now(),
               finished_at = case when next.state = 'skipped' then now() end
           from next where entry.rollout_id = $1 and entry.tenant_id = next.tenant_id
           returning entry.tenant_id, entry.state, entry.attempts, next.cluster as "cluster?",
               next.copy, next.schema_versions"#,
        id.uuid(),
        int(wave)?,
        cluster.as_str(),
        bigint(limit)?,
        RolloutState::Running.as_str(),
    )
    .fetch_all(connection)
    .await?
    .into_iter()
    .filter(|row| row.state == TenantProgress::Running.as_str())
    .map(|row| {
        let placed = row.cluster.as_deref().unwrap_or(cluster.as_str());
        Ok(Turn {
            tenant: parsed("rollout_tenant.tenant_id", &row.tenant_id)?,
            cluster: parsed("tenant.cluster", placed)?,
            copy: number("tenant.copy", row.copy)?,
            versions: json("tenant.schema_versions", row.schema_versions)?,
            attempts: number("rollout_tenant.attempts", row.attempts)?,
            alone: false,
        })
    })
    .collect()
}

/// What came of a tenant's turn.
#[derive(Debug)]
pub(in crate::rollouts) struct Ended {
    pub(in crate::rollouts) tenant: TenantId,
    /// The copy of its database that was migrated.
    pub(in crate::rollouts) copy: u32,
    /// The versions that were reached, of the owners that were tried.
    pub(in crate::rollouts) reached: SchemaVersions,
    pub(in crate::rollouts) end: End,
}

impl Ended {
    /// Whether the tenant has the newest schema.
    pub(in crate::rollouts) fn is_done(&self) -> bool {
        matches!(self.end, End::Done)
    }
}

/// How a turn ended.
#[derive(Debug)]
pub(in crate::rollouts) enum End {
    /// It has the newest schema.
    Done,
    /// A migration failed.
    Failed(FailedMigration),
    /// Its database could not be worked with, for good.
    Unreachable(String),
    /// Its database could not be worked with; it has another turn after the others.
    Later(String),
}

impl End {
    fn state(&self) -> TenantProgress {
        match self {
            Self::Done => TenantProgress::Done,
            Self::Failed(_) | Self::Unreachable(_) => TenantProgress::Failed,
            Self::Later(_) => TenantProgress::Pending,
        }
    }

    fn failed(&self) -> Option<&FailedMigration> {
        match self {
            Self::Failed(failed) => Some(failed),
            Self::Done | Self::Unreachable(_) | Self::Later(_) => None,
        }
    }

    fn message(&self) -> Option<&str> {
        match self {
            Self::Done => None,
            Self::Failed(failed) => Some(&failed.message),
            Self::Unreachable(message) | Self::Later(message) => Some(message),
        }
    }
}

/// Characters of a server's words that are kept.
const MAX_MESSAGE_CHARS: usize = 1000;
/// Characters of a statement that are kept.
const MAX_STATEMENT_CHARS: usize = 300;

/// Writes what came of some turns: to the roll-out, to the tenants, to their failures and, last, to the
/// feed. Rows of tenants are locked in the order of their ids.
pub(in crate::rollouts) async fn write(
    connection: &mut PgConnection,
    id: OperationId,
    ended: &[Ended],
) -> Result<(), sqlx::Error> {
    let tenants: Vec<String> = ended.iter().map(|ended| ended.tenant.to_string()).collect();
    let copies: Vec<i32> = ended
        .iter()
        .map(|ended| int(ended.copy))
        .collect::<Result<_, _>>()?;
    // Before what else there is of them, as who reports a migration does.
    sqlx::query!(
        r#"select id as "id!" from registry.tenant where id = any($1) order by id for no key update"#,
        &tenants,
    )
    .fetch_all(&mut *connection)
    .await?;
    write_ends(connection, id, (&tenants, &copies), ended).await?;
    write_failures(connection, &tenants, ended).await?;
    let versions: Vec<Value> = ended
        .iter()
        .map(|ended| to_json(&ended.reached))
        .collect::<Result<_, _>>()?;
    let changed = sqlx::query!(
        "with ended as (
             select tenant.id, ended.versions
             from unnest($1::text[], $2::int[], $3::jsonb[]) as ended (tenant_id, copy, versions)
             join registry.tenant on tenant.id = ended.tenant_id and tenant.copy = ended.copy
             where not tenant.schema_versions @> ended.versions
             order by tenant.id for update of tenant
         )
         update registry.tenant
         set schema_versions = tenant.schema_versions || ended.versions,
             generation = tenant.generation + 1, updated_at = now()
         from ended where tenant.id = ended.id
         returning tenant.id, tenant.generation",
        &tenants,
        &copies,
        &versions,
    )
    .fetch_all(&mut *connection)
    .await?;
    let changed = changed.into_iter().map(|row| (row.id, row.generation));
    Unannounced::many(changed)?.announce(connection).await?;
    Ok(())
}

/// Where the tenants stand in the roll-out; who got another database meanwhile has another turn.
async fn write_ends(
    connection: &mut PgConnection,
    id: OperationId,
    (tenants, copies): (&[String], &[i32]),
    ended: &[Ended],
) -> Result<(), sqlx::Error> {
    let states: Vec<String> = ended
        .iter()
        .map(|ended| ended.end.state().as_str().to_owned())
        .collect();
    let failed = || ended.iter().map(|ended| ended.end.failed());
    let owners: Vec<Option<String>> = failed()
        .map(|failed| failed.map(|failed| failed.owner.to_string()))
        .collect();
    let migrations: Vec<Option<String>> = failed()
        .map(|failed| failed.map(|failed| failed.migration.clone()))
        .collect();
    let sqlstates: Vec<Option<String>> = failed()
        .map(|failed| failed.and_then(|failed| failed.sqlstate.clone()))
        .collect();
    let statements: Vec<Option<String>> = failed()
        .map(|failed| failed.and_then(|failed| failed.statement.as_deref().map(cut)))
        .collect();
    let messages: Vec<Option<String>> = ended
        .iter()
        .map(|ended| ended.end.message().map(shortened))
        .collect();
    sqlx::query!(
        "update registry.rollout_tenant entry
         set state = case when tenant.copy = ended.copy then ended.state else 'pending' end,
             owner = ended.owner, migration = ended.migration, sqlstate = ended.sqlstate,
             message = ended.message, statement = ended.statement,
             attempts = entry.attempts + case when ended.state = 'done' then 0 else 1 end,
             finished_at = case when tenant.copy = ended.copy and ended.state <> 'pending'
                 then now() end
         from unnest($2::text[], $3::int[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
                     $9::text[])
             as ended (tenant_id, copy, state, owner, migration, sqlstate, message, statement)
         join registry.tenant on tenant.id = ended.tenant_id
         where entry.rollout_id = $1 and entry.tenant_id = ended.tenant_id
             and entry.state = 'running'",
        id.uuid(),
        tenants,
        copies,
        &states,
        &owners as &[Option<String>],
        &migrations as &[Option<String>],
        &sqlstates as &[Option<String>],
        &messages as &[Option<String>],
        &statements as &[Option<String>],
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// What fails in the tenants' databases, and what does not fail any more.
async fn write_failures(
    connection: &mut PgConnection,
    tenants: &[String],
    ended: &[Ended],
) -> Result<(), sqlx::Error> {
    let reached: Vec<Value> = ended
        .iter()
        .map(|ended| to_json(&ended.reached))
        .collect::<Result<_, _>>()?;
    sqlx::query!(
        "delete from registry.migration_failure failure
         using unnest($1::text[], $2::jsonb[]) as ended (tenant_id, versions)
         where failure.tenant_id = ended.tenant_id and ended.versions ? failure.owner",
        tenants,
        &reached,
    )
    .execute(&mut *connection)
    .await?;
    for ended in ended {
        if let Some(failed) = ended.end.failed() {
            let statement = failed.statement.as_deref().map(cut);
            let failed = crate::tenants::store::Failed {
                owner: &failed.owner,
                migration: &failed.migration,
                sqlstate: failed.sqlstate.as_deref(),
                message: &shortened(&failed.message),
                statement: statement.as_deref(),
            };
            crate::tenants::store::report_failed(connection, &ended.tenant, &failed).await?;
        }
    }
    Ok(())
}

fn shortened(message: &str) -> String {
    message.chars().take(MAX_MESSAGE_CHARS).collect()
}

/// A statement, as far as it is kept.
fn cut(statement: &str) -> String {
    statement.chars().take(MAX_STATEMENT_CHARS).collect()
}
