//! Tenants' SQL: their life, their lists; below it their routes and what services report.
//!
//! Deliberately decides nothing: statuses come from [`contract::TenantStatus::after`]. Invariant:
//! whatever changes the route of a tenant that has been served raises the generation in the same statement, and
//! gives what the feed is to say.

mod hold;
pub(crate) mod life;
pub(crate) mod purge;
mod renewal;
mod reports;
mod route;
mod select;

use contract::secret::SecretRef;
use contract::tenant_status::TenantEvent;
use contract::{ClusterName, SchemaVersions, TenantId, TenantStatus};
use serde_json::Value;
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::overrides::Overrides;
use super::{NewTenant, TenantRow};
use crate::feed::Unannounced;
use crate::registry::{json, number, parsed, to_json};

pub(crate) use hold::{hold, moved, release};
pub(crate) use renewal::{Renewed, renew};
pub(crate) use reports::{
    Failed, MigrationFailureRow, migration_failures, report_failed, report_migrated,
};
pub(crate) use route::route;
pub(crate) use select::{first_unknown, list, select_all, select_ids};

/// The columns of a tenant as they come.
struct Columns {
    id: String,
    slug: String,
    company: String,
    contact_email: String,
    status: String,
    tier: String,
    overrides: Value,
    region: String,
    time_zone: String,
    cluster: Option<String>,
    copy: i32,
    generation: i64,
    schema_versions: Value,
    created_at: OffsetDateTime,
    activated_at: Option<OffsetDateTime>,
    updated_at: OffsetDateTime,
    wall: Option<String>,
    suspended_reason: Option<String>,
    suspended_until: Option<OffsetDateTime>,
    held_until: Option<OffsetDateTime>,
    deleted_at: Option<OffsetDateTime>,
    purge_after: Option<OffsetDateTime>,
    purged_at: Option<OffsetDateTime>,
    kept_name: Option<String>,
    labels: Value,
    final_backup: String,
}

impl Columns {
    fn parse(self) -> Result<TenantRow, sqlx::Error> {
        Ok(TenantRow {
            id: parsed("tenant.id", &self.id)?,
            slug: parsed("tenant.slug", &self.slug)?,
            company: self.company,
            contact_email: self.contact_email,
            status: parsed("tenant.status", &self.status)?,
            tier: self.tier,
            overrides: json("tenant.overrides", self.overrides)?,
            region: self.region,
            time_zone: self.time_zone,
            cluster: self
                .cluster
                .map(|name| parsed("tenant.cluster", &name))
                .transpose()?,
            copy: number("tenant.copy", self.copy)?,
            generation: number("tenant.generation", self.generation)?,
            schema_versions: json("tenant.schema_versions", self.schema_versions)?,
            created_at: self.created_at,
            activated_at: self.activated_at,
            updated_at: self.updated_at,
            wall: self
                .wall
                .map(|word| parsed("tenant.wall", &word))
                .transpose()?,
            suspended_reason: self.suspended_reason,
            suspended_until: self.suspended_until,
            held_until: self.held_until,
            deleted_at: self.deleted_at,
            purge_after: self.purge_after,
            purged_at: self.purged_at,
            kept_name: self.kept_name,
            labels: json("tenant.labels", self.labels)?,
            final_backup: parsed("tenant.final_backup", &self.final_backup)?,
        })
    }
}

/// Reserves a tenant's id and slug, with its credentials where they are known already. Breaks `tenant_key`
/// or `tenant_slug_key` where they are taken.
pub(crate) async fn insert_provisioning(
    connection: &mut PgConnection,
    tenant: &NewTenant,
    credentials: &[SecretRef],
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "insert into registry.tenant
             (id, slug, company, contact_email, status, tier, region, time_zone, labels, credentials)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
        tenant.id.as_str(),
        tenant.slug.as_str(),
        tenant.company,
        tenant.contact_email,
        TenantStatus::Provisioning.as_str(),
        tenant.tier,
        tenant.region,
        tenant.time_zone,
        to_json(&tenant.labels)?,
        &texts(credentials),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Places a tenant that is being made.
pub(crate) async fn set_cluster(
    connection: &mut PgConnection,
    id: &TenantId,
    cluster: &ClusterName,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update registry.tenant
         set cluster = $2, generation = generation + 1, updated_at = now()
         where id = $1 and status = 'provisioning' and cluster is distinct from $2",
        id.as_str(),
        cluster.as_str(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Stores the references to the passwords of a tenant's role, newest first.
pub(crate) async fn set_credentials(
    connection: &mut PgConnection,
    id: &TenantId,
    credentials: &[SecretRef],
) -> Result<Unannounced, sqlx::Error> {
    let generation = sqlx::query_scalar!(
        "update registry.tenant
         set credentials = $2, generation = generation + 1, updated_at = now()
         where id = $1 and credentials is distinct from $2 returning generation",
        id.as_str(),
        &texts(credentials),
    )
    .fetch_optional(connection)
    .await?;
    Unannounced::if_changed(id, generation)
}

fn texts(credentials: &[SecretRef]) -> Vec<String> {
    credentials
        .iter()
        .map(|SecretRef(text)| text.clone())
        .collect()
}

/// A tenant whose status does not allow what was tried.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ActivateError {
    /// There is no such tenant.
    #[error("there is no such tenant")]
    Unknown,
    /// Its life does not allow it.
    #[error(transparent)]
    NotAllowed(#[from] contract::tenant_status::NotAllowed),
    /// The registry did not answer as it should.
    #[error(transparent)]
    Registry(#[from] sqlx::Error),
}

/// Makes a tenant active with these schema versions. Said again it changes nothing.
pub(crate) async fn activate(
    connection: &mut PgConnection,
    id: &TenantId,
    schema_versions: &SchemaVersions,
) -> Result<Unannounced, ActivateError> {
    let leads_there = |status: &TenantStatus| {
        *status != TenantStatus::Active
            && status.after(TenantEvent::Activated) == Ok(TenantStatus::Active)
    };
    let before = TenantStatus::ALL.into_iter().filter(leads_there);
    let before: Vec<String> = before.map(|status| status.as_str().to_owned()).collect();
    let activated = sqlx::query_scalar!(
        "update registry.tenant
         set status = $2, schema_versions = $3, generation = generation + 1,
             activated_at = coalesce(activated_at, now()), updated_at = now()
         where id = $1 and status = any($4) returning generation",
        id.as_str(),
        TenantStatus::Active.as_str(),
        to_json(schema_versions)?,
        &before,
    )
    .fetch_optional(&mut *connection)
    .await?;
    if let Some(generation) = activated {
        return Ok(Unannounced::one(id, generation)?);
    }
    let row = find(connection, id).await?.ok_or(ActivateError::Unknown)?;
    row.status.after(TenantEvent::Activated)?;
    Ok(Unannounced::none())
}

/// Frees the id of a tenant that never became active. Says whether there was one.
pub(crate) async fn delete_unborn(
    connection: &mut PgConnection,
    id: &TenantId,
) -> Result<Unborn, sqlx::Error> {
    let done = sqlx::query!(
        "delete from registry.tenant where id = $1 and status = 'provisioning'",
        id.as_str(),
    )
    .execute(connection)
    .await?;
    Ok(match done.rows_affected() {
        0 => Unborn::None,
        _ => Unborn::Freed,
    })
}

/// What [`delete_unborn`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unborn {
    /// The id is free again.
    Freed,
    /// There was no tenant of this id that was being made.
    None,
}

/// A tenant.
pub(crate) async fn find(
    connection: &mut PgConnection,
    id: &TenantId,
) -> Result<Option<TenantRow>, sqlx::Error> {
    sqlx::query_as!(
        Columns,
        "select id, slug, company, contact_email, status, tier, overrides, region, time_zone,
             cluster, copy, generation, schema_versions, created_at, activated_at,
             updated_at, wall, suspended_reason, suspended_until, held_until, deleted_at,
             purge_after, purged_at, kept_name, labels, final_backup
         from registry.tenant where id = $1",
        id.as_str(),
    )
    .fetch_optional(connection)
    .await?
    .map(Columns::parse)
    .transpose()
}

/// A tenant, locked until the transaction ends.
pub(crate) async fn find_for_update(
    connection: &mut PgConnection,
    id: &TenantId,
) -> Result<Option<TenantRow>, sqlx::Error> {
    sqlx::query_as!(
        Columns,
        "select id, slug, company, contact_email, status, tier, overrides, region, time_zone,
             cluster, copy, generation, schema_versions, created_at, activated_at,
             updated_at, wall, suspended_reason, suspended_until, held_until, deleted_at,
             purge_after, purged_at, kept_name, labels, final_backup
         from registry.tenant where id = $1 for no key update",
        id.as_str(),
    )
    .fetch_optional(connection)
    .await?
    .map(Columns::parse)
    .transpose()
}

/// Which of these slugs, or the ids that they give, somebody has.
pub(crate) async fn find_taken(
    connection: &mut PgConnection,
    slugs: &[String],
    ids: &[String],
) -> Result<Vec<Taken>, sqlx::Error> {
    sqlx::query_as!(
        Taken,
        "select slug, id from registry.tenant where slug = any($1) or id = any($2)",
        slugs,
        ids,
    )
    .fetch_all(connection)
    .await
}

/// A slug and an id that somebody has.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) slug: String,
    pub(crate) id: String,
}

/// Stores what an operator may change. The row must be locked.
pub(crate) async fn update(
    connection: &mut PgConnection,
    tenant: &TenantRow,
) -> Result<Unannounced, sqlx::Error> {
    let generation = sqlx::query_scalar!(
        "update registry.tenant
         set company = $2, contact_email = $3, tier = $4, time_zone = $5, overrides = $6,
             slug = $7, labels = $8,
             generation = generation + 1, updated_at = now()
         where id = $1 returning generation",
        tenant.id.as_str(),
        tenant.company,
        tenant.contact_email,
        tenant.tier,
        tenant.time_zone,
        to_json(&tenant.overrides)?,
        tenant.slug.as_str(),
        to_json(&tenant.labels)?,
    )
    .fetch_one(connection)
    .await?;
    Unannounced::one(&tenant.id, generation)
}

/// Gives a tenant that is being made its overrides.
pub(crate) async fn set_overrides(
    connection: &mut PgConnection,
    id: &TenantId,
    overrides: &Overrides,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "update registry.tenant set overrides = $2, generation = generation + 1 where id = $1",
        id.as_str(),
        to_json(overrides)?,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The regions that an active cluster has, the first one first.
pub(crate) async fn regions(connection: &mut PgConnection) -> Result<Vec<String>, sqlx::Error> {
    sqlx::query_scalar!(
        "select region from registry.cluster where status = 'active'
         group by region order by min(created_at), region"
    )
    .fetch_all(connection)
    .await
}
