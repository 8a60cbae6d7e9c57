//! The SQL of boxes: which key seals how many, and which ones an older key sealed.
//!
//! Deliberately by their text, which names the key. Invariants: every column of the registry that holds
//! a box is counted here; a box is replaced only where it is still the one that was read.

use std::collections::{BTreeMap, HashMap};

use adapters::secret_store::ClusterRole;
use contract::secret::SecretRef;
use contract::{ClusterName, OperationId, TenantId};
use serde_json::Value;
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::reseal::CLUSTER_ROLES;
use crate::feed::Unannounced;
use crate::registry::{number, parsed};

/// Boxes in the registry, by the id of their key.
pub(crate) async fn sealed(
    connection: &mut PgConnection,
) -> Result<BTreeMap<String, u64>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        with box (reference) as (
            select unnest(credentials) from registry.tenant
            union all select platform_credential from registry.cluster
            union all select schema_credential from registry.cluster
            union all select query_credential from registry.cluster
            union all select private_key from registry.signing_key
            union all select key from registry.tenant_data_key
            union all select found[1] from registry.operation,
                regexp_matches(plan::text, '"(sealed:v1:[a-z0-9-]+:)', 'g') found
                where state in ('running', 'unwinding', 'stuck')
            union all select found[1] from registry.bulk_row,
                regexp_matches(request::text, '"(sealed:v1:[a-z0-9-]+:)', 'g') found
                where state = 'pending'
        )
        select split_part(reference, ':', 3) as "key!", count(*) as "boxes!"
        from box where reference like 'sealed:v1:%' group by 1 order by 1
        "#
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| Ok((row.key, number("count", row.boxes)?)))
        .collect()
}

/// Since when sealing keys are known, by their ids.
pub(super) async fn known_since(
    connection: &mut PgConnection,
) -> Result<BTreeMap<String, OffsetDateTime>, sqlx::Error> {
    let rows = sqlx::query!("select id, known_since from registry.sealing_key")
        .fetch_all(connection)
        .await?;
    Ok(rows
        .into_iter()
        .map(|row| (row.id, row.known_since))
        .collect())
}

/// Stores the keys of a ring that are new.
pub(super) async fn note(
    connection: &mut PgConnection,
    ring: &[String],
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into registry.sealing_key (id)
         select id from unnest($1::text[]) as ring (id)
         where not exists (select from registry.sealing_key known where known.id = ring.id)
         on conflict on constraint sealing_key_key do nothing",
        ring,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The references of a tenant of which one at least is a box of an older key.
#[derive(Debug)]
pub(super) struct TenantBoxes {
    pub(super) tenant: TenantId,
    pub(super) references: Vec<SecretRef>,
}

/// The next tenants with a box that another key than this one sealed.
pub(super) async fn tenants_behind(
    connection: &mut PgConnection,
    key: &str,
    after: Option<&TenantId>,
    most: i64,
) -> Result<Vec<TenantBoxes>, sqlx::Error> {
    let rows = sqlx::query!(
        "select id, credentials from registry.tenant
         where ($2::text is null or id > $2) and exists (
             select from unnest(credentials) reference
             where reference like 'sealed:v1:%' and split_part(reference, ':', 3) <> $1)
         order by id limit $3",
        key,
        after.map(TenantId::as_str),
        most,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(TenantBoxes {
                tenant: parsed("tenant.id", &row.id)?,
                references: row.credentials.into_iter().map(SecretRef).collect(),
            })
        })
        .collect()
}

/// Replaces a tenant's references, if they are still those that were read.
pub(super) async fn replace_tenant(
    connection: &mut PgConnection,
    held: &TenantBoxes,
    anew: &[SecretRef],
) -> Result<Unannounced, sqlx::Error> {
    let texts = |references: &[SecretRef]| -> Vec<String> {
        let each = references.iter();
        each.map(|SecretRef(text)| text.clone()).collect()
    };
    let generation = sqlx::query_scalar!(
        "update registry.tenant
         set credentials = $3, generation = generation + 1, updated_at = now()
         where id = $1 and credentials = $2 returning generation",
        held.tenant.as_str(),
        &texts(&held.references),
        &texts(anew),
    )
    .fetch_optional(connection)
    .await?;
    Unannounced::if_changed(&held.tenant, generation)
}

/// A box that is not a tenant's password.
#[derive(Debug)]
pub(super) struct HeldBox {
    pub(super) keeper: Keeper,
    pub(super) reference: SecretRef,
}

/// Whose row a box is in.
#[derive(Debug)]
pub(super) enum Keeper {
    Cluster(ClusterName, ClusterRole),
    SigningKey(String),
    DataKey(TenantId),
}

/// The boxes of clusters, signing keys and data keys that another key than this one sealed; as many
/// data keys as fit in one batch.
pub(super) async fn others_behind(
    connection: &mut PgConnection,
    key: &str,
) -> Result<Vec<HeldBox>, sqlx::Error> {
    let clusters = sqlx::query!(
        "select name, platform_credential, schema_credential, query_credential
         from registry.cluster order by name"
    )
    .fetch_all(&mut *connection)
    .await?;
    let mut held = Vec::new();
    for row in clusters {
        let cluster: ClusterName = parsed("cluster.name", &row.name)?;
        let references = [
            Some(row.platform_credential),
            Some(row.schema_credential),
            row.query_credential,
        ];
        for (role, reference) in CLUSTER_ROLES.into_iter().zip(references) {
            held.extend(reference.map(|reference| HeldBox {
                keeper: Keeper::Cluster(cluster.clone(), role),
                reference: SecretRef(reference),
            }));
        }
    }
    let signing = sqlx::query!("select kid, private_key from registry.signing_key order by kid")
        .fetch_all(&mut *connection)
        .await?;
    held.extend(signing.into_iter().map(|row| HeldBox {
        keeper: Keeper::SigningKey(row.kid),
        reference: SecretRef(row.private_key),
    }));
    held.retain(|one| is_behind(&one.reference, key));
    let data = sqlx::query!(
        "select tenant_id, key from registry.tenant_data_key
         where key like 'sealed:v1:%' and split_part(key, ':', 3) <> $1
         order by tenant_id limit $2",
        key,
        super::reseal::BATCH,
    )
    .fetch_all(connection)
    .await?;
    for row in data {
        held.push(HeldBox {
            keeper: Keeper::DataKey(parsed("tenant_data_key.tenant_id", &row.tenant_id)?),
            reference: SecretRef(row.key),
        });
    }
    Ok(held)
}

fn is_behind(reference: &SecretRef, key: &str) -> bool {
    let mut parts = reference.0.split(':');
    parts.next() == Some("sealed") && parts.nth(1).is_some_and(|sealed| sealed != key)
}

/// Replaces a box, if it is still the one that was read; says whether it was.
pub(super) async fn replace_held(
    connection: &mut PgConnection,
    held: &HeldBox,
    anew: &SecretRef,
) -> Result<bool, sqlx::Error> {
    let (SecretRef(old), SecretRef(new)) = (&held.reference, anew);
    let query = match &held.keeper {
        Keeper::Cluster(cluster, ClusterRole::Platform) => sqlx::query!(
            "update registry.cluster set platform_credential = $3, updated_at = now()
             where name = $1 and platform_credential = $2",
            cluster.as_str(),
            old,
            new,
        ),
        Keeper::Cluster(cluster, ClusterRole::Schema) => sqlx::query!(
            "update registry.cluster set schema_credential = $3, updated_at = now()
             where name = $1 and schema_credential = $2",
            cluster.as_str(),
            old,
            new,
        ),
        Keeper::Cluster(cluster, ClusterRole::Query) => sqlx::query!(
            "update registry.cluster set query_credential = $3, updated_at = now()
             where name = $1 and query_credential = $2",
            cluster.as_str(),
            old,
            new,
        ),
        Keeper::SigningKey(kid) => sqlx::query!(
            "update registry.signing_key set private_key = $3 where kid = $1 and private_key = $2",
            kid,
            old,
            new,
        ),
        Keeper::DataKey(tenant) => sqlx::query!(
            "update registry.tenant_data_key set key = $3 where tenant_id = $1 and key = $2",
            tenant.as_str(),
            old,
            new,
        ),
    };
    Ok(query.execute(connection).await?.rows_affected() > 0)
}

/// The plan of an operation that nobody runs at the moment, locked.
#[derive(Debug)]
pub(super) struct HeldPlan {
    pub(super) operation: OperationId,
    pub(super) tenant: Option<TenantId>,
    pub(super) plan: Value,
}

/// Plans that hold a box that another key than this one sealed, of operations that nobody runs.
pub(super) async fn plans_behind(
    connection: &mut PgConnection,
    key: &str,
    most: i64,
) -> Result<Vec<HeldPlan>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        select id, tenant_id, plan from registry.operation
        where state in ('running', 'unwinding', 'stuck')
            and (leased_until is null or leased_until < now())
            and exists (
                select from regexp_matches(plan::text, '"sealed:v1:([a-z0-9-]+):', 'g') found
                where found[1] <> $1)
        order by id limit $2
        for no key update skip locked
        "#,
        key,
        most,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let tenant = row.tenant_id.as_deref();
            Ok(HeldPlan {
                operation: OperationId::from_uuid(row.id),
                tenant: tenant
                    .map(|id| parsed("operation.tenant_id", id))
                    .transpose()?,
                plan: row.plan,
            })
        })
        .collect()
}

/// Stores a plan whose row is locked.
pub(super) async fn replace_plan(
    connection: &mut PgConnection,
    operation: OperationId,
    plan: &Value,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update registry.operation set plan = $2 where id = $1",
        operation.uuid(),
        plan,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A row of a file of tenants that waits for its turn, locked.
#[derive(Debug)]
pub(super) struct HeldRow {
    pub(super) operation: OperationId,
    pub(super) number: i32,
    pub(super) request: Value,
}

/// Rows that wait and hold a box that another key than this one sealed, after this one. Those that are
/// being begun just now are left out.
pub(super) async fn rows_behind(
    connection: &mut PgConnection,
    key: &str,
    after: Option<(OperationId, i32)>,
    most: i64,
) -> Result<Vec<HeldRow>, sqlx::Error> {
    let rows = sqlx::query!(
        r#"
        select operation_id, number, request from registry.bulk_row
        where state = 'pending'
            and ($2::uuid is null or (operation_id, number) > ($2, $3::int))
            and exists (
                select from regexp_matches(request::text, '"sealed:v1:([a-z0-9-]+):', 'g') found
                where found[1] <> $1)
        order by operation_id, number limit $4
        for no key update skip locked
        "#,
        key,
        after.map(|(operation, _)| operation.uuid()),
        after.map(|(_, number)| number),
        most,
    )
    .fetch_all(connection)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| HeldRow {
            operation: OperationId::from_uuid(row.operation_id),
            number: row.number,
            request: row.request,
        })
        .collect())
}

/// Stores what a row asks for; the row is locked.
pub(super) async fn replace_row(
    connection: &mut PgConnection,
    row: &HeldRow,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update registry.bulk_row set request = $3 where operation_id = $1 and number = $2",
        row.operation.uuid(),
        row.number,
        row.request,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Whether a tenant can have its turn in an operation that is made of one for each tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    Free,
    /// It has had it, or has it.
    Had,
    /// Another operation works on it and will be over.
    Busy,
    /// A stuck operation holds it.
    Barred,
}

/// The turns of those of the tenants that are not free.
pub(crate) async fn turns(
    connection: &mut PgConnection,
    parent: OperationId,
    tenants: &[TenantId],
) -> Result<HashMap<TenantId, Turn>, sqlx::Error> {
    let ids: Vec<String> = tenants.iter().map(ToString::to_string).collect();
    let rows = sqlx::query!(
        r#"
        select tenant_id as "tenant!", bool_or(coalesce(parent_id = $1, false)) as "had!",
            bool_or(state = 'stuck') as "stuck!"
        from registry.operation
        where tenant_id = any($2)
            and (parent_id = $1 or state in ('running', 'unwinding', 'stuck'))
        group by tenant_id
        "#,
        parent.uuid(),
        &ids,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            let turn = match (row.had, row.stuck) {
                (true, _) => Turn::Had,
                (false, true) => Turn::Barred,
                (false, false) => Turn::Busy,
            };
            Ok((parsed("operation.tenant_id", &row.tenant)?, turn))
        })
        .collect()
}
