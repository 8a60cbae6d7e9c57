//! Who claims what: SQL.
//!
//! Deliberately everything at once: what is held against it is looked at elsewhere. Invariant: nothing is changed.

use std::collections::HashSet;

use contract::secret::SecretRef;
use contract::{ClusterName, TenantId};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::registry::parsed;
use crate::sweep::claims::Claims;

/// Who claims what on a cluster, but for copies and logins.
pub(in crate::sweep) async fn claims(
    connection: &mut PgConnection,
    cluster: &ClusterName,
) -> Result<Claims, sqlx::Error> {
    let here = sqlx::query_scalar!(
        "select id from registry.tenant where cluster = $1 and status <> 'deleted'",
        cluster.as_str(),
    )
    .fetch_all(&mut *connection)
    .await?;
    let purged = sqlx::query_scalar!("select id from registry.tenant where purged_at is not null")
        .fetch_all(&mut *connection)
        .await?;
    let kept = sqlx::query_scalar!(
        r#"
        select kept_name as "name!" from registry.tenant
        where kept_name is not null and purged_at is null
        union all
        select name from registry.kept_database
        where cluster = $1 and (drop_after is not null or exists (
            select from registry.operation
            where operation.id = kept_database.operation_id
                and state in ('running', 'unwinding', 'stuck')))
        "#,
        cluster.as_str(),
    )
    .fetch_all(&mut *connection)
    .await?;
    let operations = sqlx::query_scalar!(
        "select id from registry.operation where state in ('running', 'unwinding', 'stuck')"
    )
    .fetch_all(&mut *connection)
    .await?;
    let taken_over = sqlx::query_scalar!(
        r#"select plan #>> '{found,name}' as "name!" from registry.operation
           where kind = 'adopt' and state in ('running', 'unwinding', 'stuck')
               and plan ->> 'cluster' = $1 and plan #>> '{found,name}' is not null"#,
        cluster.as_str(),
    )
    .fetch_all(&mut *connection)
    .await?;
    Ok(Claims {
        tenants: ids(&here)?,
        purged: ids(&purged)?,
        busy: busy(connection).await?,
        operations: operations.into_iter().collect::<HashSet<Uuid>>(),
        // What cannot be read as a name claims nothing that has one.
        names: kept.iter().filter_map(|name| name.parse().ok()).collect(),
        logins: HashSet::new(),
        taken_over: taken_over.into_iter().collect(),
    })
}

/// The tenants that an operation works on.
pub(in crate::sweep) async fn busy(
    connection: &mut PgConnection,
) -> Result<HashSet<TenantId>, sqlx::Error> {
    let busy = sqlx::query_scalar!(
        r#"select tenant_id as "id!" from registry.operation
           where tenant_id is not null and state in ('running', 'unwinding', 'stuck')"#
    )
    .fetch_all(connection)
    .await?;
    ids(&busy)
}

fn ids(texts: &[String]) -> Result<HashSet<TenantId>, sqlx::Error> {
    texts.iter().map(|id| parsed("tenant.id", id)).collect()
}

/// Every tenant that there is or was.
pub(in crate::sweep) async fn tenants(
    connection: &mut PgConnection,
) -> Result<HashSet<TenantId>, sqlx::Error> {
    let all = sqlx::query_scalar!("select id from registry.tenant")
        .fetch_all(connection)
        .await?;
    ids(&all)
}

/// The paths of backups and exports.
pub(in crate::sweep) async fn objects(
    connection: &mut PgConnection,
) -> Result<HashSet<String>, sqlx::Error> {
    let paths = sqlx::query_scalar!("select object from registry.backup")
        .fetch_all(connection)
        .await?;
    Ok(paths.into_iter().collect())
}

/// The references to tenants' secrets.
pub(in crate::sweep) async fn credentials(
    connection: &mut PgConnection,
) -> Result<HashSet<SecretRef>, sqlx::Error> {
    let known =
        sqlx::query_scalar!(r#"select unnest(credentials) as "reference!" from registry.tenant"#)
            .fetch_all(connection)
            .await?;
    Ok(known.into_iter().map(SecretRef).collect())
}
