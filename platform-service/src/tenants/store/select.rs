//! The SQL of selections: the ids of the tenants that an operation over many is about.
//!
//! Deliberately ids alone and page by page: who works on a tenant reads its row then. Invariant: in
//! the order of the ids, so that a long work goes on after the last one that it did.

use contract::operator::fleet::{SchemaAge, Selection};
use contract::{ClusterName, TenantId, TenantStatus};
use sqlx::PgConnection;

use super::like_escaped;
use crate::registry::{parsed, to_json};

/// Ids that are read at once.
const PAGE: i64 = 1_000;

/// Up to `limit` ids of the selected tenants after `after`. Where no status is asked for: those that
/// are active or suspended.
pub(crate) async fn select_ids(
    connection: &mut PgConnection,
    selection: &Selection,
    after: Option<&TenantId>,
    limit: i64,
) -> Result<Vec<TenantId>, sqlx::Error> {
    let ids: Vec<String> = selection.ids.iter().map(ToString::to_string).collect();
    let text = selection
        .text
        .as_deref()
        .map(|text| format!("%{}%", like_escaped(&text.to_lowercase())));
    sqlx::query_scalar!(
        "select id from registry.tenant
         where ($1::text is null or id > $1)
             and (cardinality($2::text[]) = 0 or id = any($2))
             and (status = $3 or ($3 is null and status in ('active', 'suspended')))
             and ($4::text is null or tier = $4)
             and ($5::text is null or cluster = $5)
             and ($6::text is null or region = $6)
             and ($7::text is null or id like $7 or slug like $7 or company ilike $7)
             and labels @> $8
             and ($9::text is null or ($9 = 'behind') = exists (
                 select from registry.schema_owner owner
                 where coalesce((schema_versions ->> owner.name)::integer, 0) < owner.newest))
         order by id limit $10",
        after.map(TenantId::as_str),
        &ids,
        selection.status.map(TenantStatus::as_str),
        selection.tier.as_deref(),
        selection.cluster.as_ref().map(ClusterName::as_str),
        selection.region.as_deref(),
        text,
        to_json(&selection.labels)?,
        selection.schema.map(SchemaAge::as_str),
        limit,
    )
    .fetch_all(connection)
    .await?
    .iter()
    .map(|id| parsed("tenant.id", id))
    .collect()
}

/// Of these ids, the first one that no tenant has whose data is still there.
pub(crate) async fn first_unknown(
    connection: &mut PgConnection,
    ids: &[TenantId],
) -> Result<Option<usize>, sqlx::Error> {
    let texts: Vec<String> = ids.iter().map(ToString::to_string).collect();
    let known = sqlx::query_scalar!(
        "select id from registry.tenant where id = any($1) and purged_at is null",
        &texts
    )
    .fetch_all(connection)
    .await?;
    Ok(texts.iter().position(|id| !known.contains(id)))
}

/// The ids of all selected tenants.
pub(crate) async fn select_all(
    connection: &mut PgConnection,
    selection: &Selection,
) -> Result<Vec<TenantId>, sqlx::Error> {
    let mut all: Vec<TenantId> = Vec::new();
    loop {
        let page = select_ids(&mut *connection, selection, all.last(), PAGE).await?;
        let is_last = (page.len() as i64) < PAGE;
        all.extend(page);
        if is_last {
            return Ok(all);
        }
    }
}
