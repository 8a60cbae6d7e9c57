//! The SQL of operators' logins.
//!
//! Deliberately keeps a login that is over as long as its cluster is there: the audit's reader finds who had
//! which role. Invariant: a role `psql:` without a living row here is an orphan.

use contract::operator::upkeep::PsqlAccess;
use contract::{ClusterName, TenantId};
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::registry::parsed;

/// A login as it is stored.
#[derive(Debug, Clone)]
pub(super) struct LoginRow {
    pub(super) id: Uuid,
    pub(super) tenant: TenantId,
    pub(super) cluster: ClusterName,
    pub(super) access: PsqlAccess,
    pub(super) reason: String,
    pub(super) issued_to: String,
    pub(super) expires_at: OffsetDateTime,
}

/// Records a login that is to be made.
pub(super) async fn insert(
    connection: &mut PgConnection,
    login: &LoginRow,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into registry.psql_login
             (id, tenant_id, cluster, access, reason, issued_to, expires_at)
         values ($1, $2, $3, $4, $5, $6, $7)",
        login.id,
        login.tenant.as_str(),
        login.cluster.as_str(),
        login.access.as_str(),
        login.reason,
        login.issued_to,
        login.expires_at,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// How many logins of a tenant are not over.
pub(super) async fn living(
    connection: &mut PgConnection,
    tenant: &TenantId,
) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(
        r#"select count(*) as "living!" from registry.psql_login
           where tenant_id = $1 and dropped_at is null"#,
        tenant.as_str(),
    )
    .fetch_one(connection)
    .await
}

/// Logins whose time is over: up to `per_cluster` of each, the oldest first, and the clusters in turns.
pub(super) async fn due(
    connection: &mut PgConnection,
    per_cluster: i64,
) -> Result<Vec<LoginRow>, sqlx::Error> {
    let rows = sqlx::query!(
        "select id, tenant_id, cluster, access, reason, issued_to, expires_at
         from (
             select id, tenant_id, cluster, access, reason, issued_to, expires_at,
                 row_number() over (partition by cluster order by expires_at, id) as place
             from registry.psql_login where dropped_at is null and expires_at <= now()
         ) due
         where place <= $1
         order by place, expires_at",
        per_cluster,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(LoginRow {
                id: row.id,
                tenant: parsed("psql_login.tenant_id", &row.tenant_id)?,
                cluster: parsed("psql_login.cluster", &row.cluster)?,
                access: parsed("psql_login.access", &row.access)?,
                reason: row.reason,
                issued_to: row.issued_to,
                expires_at: row.expires_at,
            })
        })
        .collect()
}

/// A login is over.
pub(super) async fn set_dropped(
    connection: &mut PgConnection,
    id: Uuid,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update registry.psql_login set dropped_at = now() where id = $1 and dropped_at is null",
        id,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The logins of a cluster that are not over.
pub(crate) async fn on_cluster(
    connection: &mut PgConnection,
    cluster: &ClusterName,
) -> Result<Vec<Uuid>, sqlx::Error> {
    sqlx::query_scalar!(
        "select id from registry.psql_login where cluster = $1 and dropped_at is null",
        cluster.as_str(),
    )
    .fetch_all(connection)
    .await
}

/// Forgets the logins of a cluster.
pub(crate) async fn forget_cluster(
    connection: &mut PgConnection,
    cluster: &ClusterName,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "delete from registry.psql_login where cluster = $1",
        cluster.as_str(),
    )
    .execute(connection)
    .await?;
    Ok(())
}
