//! The audit's SQL: what was done is added, and read.
//!
//! Deliberately planned anew for each reader: which index serves a page depends on what is asked for. Invariant:
//! no row is changed.

use contract::TenantId;
use serde_json::Value;
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::{Action, Actor};
use crate::registry::parsed;

/// Records an action; `detail` is a JSON object without secrets.
pub(crate) async fn record(
    connection: &mut PgConnection,
    actor: Actor,
    action: Action,
    tenant: Option<&TenantId>,
    detail: Value,
) -> Result<(), sqlx::Error> {
    let action = action.text();
    sqlx::query!(
        "insert into registry.audit (actor, action, tenant_id, detail) values ($1, $2, $3, $4)",
        actor.to_string(),
        action.as_ref(),
        tenant.map(TenantId::as_str),
        detail,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Which entries to list.
#[derive(Debug, Default)]
pub(super) struct Filter {
    pub(super) tenant: Option<TenantId>,
    pub(super) actor: Option<Actor>,
    pub(super) action: Option<Action>,
    pub(super) since: Option<OffsetDateTime>,
    /// Itself not.
    pub(super) until: Option<OffsetDateTime>,
}

/// An entry as it is stored.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) number: i64,
    pub(super) at: OffsetDateTime,
    pub(super) actor: String,
    /// Of an operator's key.
    pub(super) actor_name: Option<String>,
    pub(super) action: String,
    pub(super) tenant: Option<TenantId>,
    pub(super) detail: Value,
}

/// Up to `limit` entries, newest first, that are older than `starting_after`. Needs a transaction.
pub(super) async fn list(
    connection: &mut PgConnection,
    filter: &Filter,
    starting_after: Option<i64>,
    limit: i64,
) -> Result<Vec<Entry>, sqlx::Error> {
    sqlx::query!("set local plan_cache_mode = force_custom_plan")
        .execute(&mut *connection)
        .await?;
    let action = filter.action.map(Action::text);
    sqlx::query!(
        r#"
        select page.number as "number!", page.at as "at!", page.actor as "actor!",
            key.name as "actor_name?", page.action as "action!", page.tenant_id,
            page.detail as "detail!"
        from (
            select number, at, actor, action, tenant_id, detail from registry.audit
            where ($1::bigint is null or (at, number) < (
                    select after.at, after.number from registry.audit after
                    where after.number = $1))
                and ($2::text is null or tenant_id = $2)
                and ($3::text is null or actor = $3)
                and ($4::text is null or action = $4)
                and ($5::timestamptz is null or at >= $5)
                and ($6::timestamptz is null or at < $6)
            order by at desc, number desc limit $7
        ) page
        left join registry.operator_key key
            on page.actor = 'operator/opr_' || replace(key.id::text, '-', '')
        order by page.at desc, page.number desc
        "#,
        starting_after,
        filter.tenant.as_ref().map(TenantId::as_str),
        filter.actor.map(|actor| actor.to_string()),
        action.as_deref(),
        filter.since,
        filter.until,
        limit,
    )
    .fetch_all(connection)
    .await?
    .into_iter()
    .map(|row| {
        let tenant = row
            .tenant_id
            .as_deref()
            .map(|id| parsed("audit.tenant_id", id));
        Ok(Entry {
            number: row.number,
            at: row.at,
            actor: row.actor,
            actor_name: row.actor_name,
            action: row.action,
            tenant: tenant.transpose()?,
            detail: row.detail,
        })
    })
    .collect()
}
