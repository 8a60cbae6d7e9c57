//! The SQL of selections: the tenants that are listed, and the ids of those that an operation over many
//! is about.
//!
//! Deliberately page by page, and for work ids alone: who works on a tenant reads its row then. Invariants:
//! what a list shows is what the same words choose for an operation; in the order of the ids, so that a long
//! work goes on after the last one that it did.

use contract::operator::fleet::{SchemaAge, Selection};
use contract::{ClusterName, TenantId, TenantStatus};
use sqlx::PgConnection;

use super::{Columns, TenantRow};
use crate::registry::{parsed, to_json};

/// Ids that are read at once.
const PAGE: i64 = 1_000;

/// Whom a selection means that asks for no status.
#[derive(Debug, Clone, Copy)]
enum Unsaid {
    /// Those that are active or suspended.
    Living,
    /// All; where it is asked how old schemas are, those that are active or suspended: nobody migrates others.
    Everybody,
}

/// The one meaning of a selection: what is read of its tenants after one of them, in the order of the ids.
macro_rules! selected {
    ($query:ident!($($row:ident,)? $columns:literal), $selection:expr, $unsaid:expr, $after:expr, $limit:expr) => {{
        let selection: &Selection = $selection;
        let after: Option<&TenantId> = $after;
        let ids: Vec<String> = selection.ids.iter().map(ToString::to_string).collect();
        sqlx::$query!(
            $($row,)?
            $columns + " from registry.tenant
             where ($1::text is null or id > $1)
                 and (cardinality($2::text[]) = 0 or id = any($2))
                 and (cardinality($3::text[]) = 0 or status = any($3))
                 and ($4::text is null or tier = $4)
                 and ($5::text is null or cluster = $5)
                 and ($6::text is null or region = $6)
                 and ($7::text is null or id like $7 or slug like $7 or company ilike $7
                     or contact_email ilike $7)
                 and labels @> $8
                 and ($9::text is null or ($9 = 'behind') = exists (
                     select from registry.schema_owner owner
                     where coalesce((schema_versions ->> owner.name)::integer, 0) < owner.newest))
             order by id limit $10",
            after.map(TenantId::as_str),
            &ids,
            &statuses(selection, $unsaid),
            selection.tier.as_deref(),
            selection.cluster.as_ref().map(ClusterName::as_str),
            selection.region.as_deref(),
            selection.text.as_deref().map(containing),
            to_json(&selection.labels)?,
            selection.schema.map(SchemaAge::as_str),
            $limit,
        )
    }};
}

/// Up to `limit` ids of the selected tenants after `after`. Where no status is asked for: those that
/// are active or suspended.
pub(crate) async fn select_ids(
    connection: &mut PgConnection,
    selection: &Selection,
    after: Option<&TenantId>,
    limit: i64,
) -> Result<Vec<TenantId>, sqlx::Error> {
    selected!(
        query_scalar!("select id"),
        selection,
        Unsaid::Living,
        after,
        limit
    )
    .fetch_all(connection)
    .await?
    .iter()
    .map(|id| parsed("tenant.id", id))
    .collect()
}

/// Up to `limit` of the selected tenants after `after`. Where neither a status nor the age of schemas is
/// asked for: all, and those whose data is destroyed.
pub(crate) async fn list(
    connection: &mut PgConnection,
    selection: &Selection,
    after: Option<&TenantId>,
    limit: i64,
) -> Result<Vec<TenantRow>, sqlx::Error> {
    selected!(
        query_as!(
            Columns,
            "select id, slug, company, contact_email, status, tier, overrides, region, time_zone,
             cluster, copy, generation, schema_versions, created_at, activated_at,
             updated_at, wall, suspended_reason, suspended_until, held_until, deleted_at,
             purge_after, purged_at, kept_name, labels, final_backup"
        ),
        selection,
        Unsaid::Everybody,
        after,
        limit
    )
    .fetch_all(connection)
    .await?
    .into_iter()
    .map(Columns::parse)
    .collect()
}

/// The statuses that are asked for; none for all.
fn statuses(selection: &Selection, unsaid: Unsaid) -> Vec<String> {
    let asked = match (selection.status, unsaid, selection.schema) {
        (Some(status), ..) => vec![status],
        (None, Unsaid::Everybody, None) => Vec::new(),
        (None, Unsaid::Living, _) | (None, Unsaid::Everybody, Some(_)) => {
            vec![TenantStatus::Active, TenantStatus::Suspended]
        }
    };
    let words = asked.into_iter().map(TenantStatus::as_str);
    words.map(ToOwned::to_owned).collect()
}

/// The pattern of what has a text in it.
fn containing(text: &str) -> String {
    // Ids and slugs have small letters alone; the rest is compared whatever its case.
    let escaped = text
        .to_lowercase()
        .replace('\\', "\\\\")
        .replace('%', "\\%")
        .replace('_', "\\_");
    format!("%{escaped}%")
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
